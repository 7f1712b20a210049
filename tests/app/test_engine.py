"""Admission: refuse early, drop what nobody waits for, let one poisoned request fail alone (T21, T22)."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from app.engine import Engine, Terms
from app.problems import Unavailable
from app.telemetry import Metrics


@dataclass
class Recorder:
    """Work that records what it did and waits at a gate, so that a test decides when the lane is busy."""

    gate: threading.Event = field(default_factory=threading.Event)
    prepared: list[list[str]] = field(default_factory=list)
    served: list[str] = field(default_factory=list)
    terms: dict[str, Terms] = field(default_factory=dict)

    def prepare(self, payloads: Sequence[str]) -> list[str]:
        self.prepared.append(list(payloads))
        if any("poison" in payload for payload in payloads):
            raise ValueError("poisoned batch")
        return [payload.upper() for payload in payloads]

    def serve(self, payload: str, prepared: str, terms: Terms) -> str:
        assert self.gate.wait(10)
        self.served.append(payload)
        self.terms[payload] = terms
        if payload == "bad":
            raise KeyError(payload)
        return prepared


def counted(metrics: Metrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(name, labels) or 0.0


@asynccontextmanager
async def engine(work: Recorder, **options: Any) -> AsyncIterator[tuple[Engine[str, str, str], Metrics]]:
    metrics = Metrics()
    running = Engine(work, metrics, **options)
    try:
        yield running, metrics
    finally:
        work.gate.set()
        assert await asyncio.to_thread(running.close, 10)


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 20))


async def occupied(running: Engine[str, str, str], work: Recorder) -> asyncio.Task[str]:
    """Put a request into the lane, where it waits at the gate."""
    task = asyncio.create_task(running.submit("first"))
    while not work.prepared:
        await asyncio.sleep(0.005)
    return task


def test_requests_that_wait_are_prepared_together() -> None:
    async def body() -> None:
        work = Recorder()
        async with engine(work, batch=3) as (running, _):
            tasks = [await occupied(running, work)]
            tasks += [asyncio.create_task(running.submit(name)) for name in "abcd"]
            await asyncio.sleep(0.05)
            work.gate.set()
            assert await asyncio.gather(*tasks) == ["FIRST", "A", "B", "C", "D"]
        assert work.prepared == [["first"], ["a", "b", "c"], ["d"]]

    run(body)


def test_one_poisoned_request_fails_alone() -> None:
    async def body() -> None:
        work = Recorder()
        async with engine(work, batch=4) as (running, _):
            tasks = [await occupied(running, work)]
            tasks += [asyncio.create_task(running.submit(name)) for name in ("a", "poison", "b", "bad")]
            await asyncio.sleep(0.05)
            work.gate.set()
            answers = await asyncio.gather(*tasks, return_exceptions=True)
            assert [type(answer) for answer in answers] == [str, str, ValueError, str, KeyError]
            assert await running.submit("next") == "NEXT", "the lane lives on"

    run(body)


def test_a_full_queue_refuses_at_once() -> None:
    async def body() -> None:
        work = Recorder()
        async with engine(work, depth=2) as (running, metrics):
            tasks = [await occupied(running, work)]
            tasks += [asyncio.create_task(running.submit(name)) for name in "ab"]
            await asyncio.sleep(0.05)
            with pytest.raises(Unavailable) as refused:
                running.submit("c").send(None)  # its first step: a refusal waits for nothing
            assert not work.served and not any(task.done() for task in tasks)
            assert refused.value.problem_code == "queue_full"
            assert int(refused.value.headers["Retry-After"]) >= 1
            assert counted(metrics, "htav_rejected_total", reason="queue_full") == 1
            work.gate.set()
            await asyncio.gather(*tasks)
        assert "c" not in work.served

    run(body)


def test_above_seventy_per_cent_a_request_gets_half_the_work() -> None:
    async def body() -> None:
        work = Recorder()
        async with engine(work, depth=8) as (running, _):
            tasks = [await occupied(running, work)]
            tasks += [asyncio.create_task(running.submit(str(n))) for n in range(8)]
            await asyncio.sleep(0.05)
            work.gate.set()
            await asyncio.gather(*tasks)
        assert [work.terms[str(n)].reduced for n in range(8)] == [False] * 5 + [True] * 3

    run(body)


def test_in_a_queue_of_one_place_a_request_gets_all_the_work() -> None:
    async def body() -> None:
        work = Recorder()
        work.gate.set()
        async with engine(work, depth=1) as (running, _):
            await running.submit("alone")
        assert not work.terms["alone"].reduced

    run(body)


def test_a_request_whose_client_left_is_never_computed() -> None:
    async def body() -> None:
        work = Recorder()
        async with engine(work) as (running, metrics):
            first = await occupied(running, work)
            left = asyncio.create_task(running.submit("left"))
            stays = asyncio.create_task(running.submit("stays"))
            await asyncio.sleep(0.05)
            left.cancel()
            await asyncio.sleep(0.05)
            assert counted(metrics, "htav_queue_depth") == 1, "its place is free at once"
            work.gate.set()
            await asyncio.gather(first, stays)
            assert counted(metrics, "htav_dropped_total", reason="disconnected") == 1
        assert work.served == ["first", "stays"]

    run(body)


def test_a_request_past_its_deadline_is_told_so_and_never_computed() -> None:
    async def body() -> None:
        work = Recorder()
        async with engine(work, deadline_s=0.1) as (running, metrics):
            first = await occupied(running, work)
            with pytest.raises(Unavailable) as late:
                await running.submit("late")
            assert late.value.problem_code == "deadline_exceeded"
            work.gate.set()
            assert await first == "FIRST", "what is in service is not cut off"
            assert await running.submit("next") == "NEXT"
            assert counted(metrics, "htav_dropped_total", reason="deadline") == 1
        assert work.served == ["first", "next"]

    run(body)


def test_the_lane_drops_late_requests_even_when_the_event_loop_is_late() -> None:
    async def body() -> None:
        work = Recorder()
        async with engine(work, deadline_s=0.1) as (running, _):
            first = await occupied(running, work)
            late = asyncio.create_task(running.submit("late"))
            await asyncio.sleep(0.02)
            time.sleep(0.15)  # noqa: ASYNC251  # the event loop hangs: no timer can fire
            work.gate.set()
            time.sleep(0.1)  # noqa: ASYNC251
            assert await first == "FIRST"
            with pytest.raises(Unavailable):
                await late
        assert work.served == ["first"]

    run(body)


def test_draining_refuses_new_requests_and_finishes_the_admitted() -> None:
    async def body() -> None:
        work = Recorder()
        async with engine(work) as (running, _):
            tasks = [await occupied(running, work), asyncio.create_task(running.submit("admitted"))]
            await asyncio.sleep(0.05)
            running.drain()
            with pytest.raises(Unavailable) as refused:
                await running.submit("new")
            assert refused.value.problem_code == "draining"
            work.gate.set()
            assert await asyncio.gather(*tasks) == ["FIRST", "ADMITTED"]

    run(body)


def test_the_thread_budget_is_set_before_the_first_request() -> None:
    async def body() -> None:
        work, started = Recorder(), []
        work.gate.set()
        async with engine(work, on_start=lambda: started.append(threading.current_thread().name)) as (running, _):
            await running.submit("a")
            assert running.warm.is_set()
        assert started == ["htav-inference"]

    run(body)


def test_a_warm_up_that_fails_costs_nobody_a_search() -> None:
    def broken() -> None:
        raise RuntimeError("no such instruction")

    async def body() -> None:
        work = Recorder()
        work.gate.set()
        async with engine(work, on_start=broken) as (running, _):
            assert await running.submit("a") == "A", "the lane lives on"
            assert running.warm.is_set()

    run(body)
