"""T19: at twice the load it can bear, the service answers as many as ever, and nearly as fast.

Time is simulated, so that a busy machine counts for nothing: the engine is the real one, its work takes simulated
seconds. `benchmarks/service.py` measures the same over HTTP.
"""

import asyncio
import math
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from queue import Queue
from threading import Semaphore

import numpy as np

from app.config import Settings
from app.engine import Engine, Terms
from app.problems import Unavailable
from app.telemetry import Metrics

SERVICE_S = 0.2
REDUCED = 0.67  # of the work of a search is left when half as many clips are reranked
LOAD_S = 300.0
PATIENCE_S = 60.0
DEPTH = Settings.model_fields["queue_depth"].default


@dataclass
class SimulatedWork:
    """A request of the lane ends when all that arrive before its end have arrived, and no sooner."""

    arrivals: Sequence[float]
    free_at: float = 0.0
    took: dict[int, float] = field(default_factory=dict)
    ends: Queue[float] = field(default_factory=Queue)
    may_end: Semaphore = field(default_factory=lambda: Semaphore(0))

    def prepare(self, payloads: Sequence[int]) -> Sequence[int]:
        return payloads

    def serve(self, payload: int, prepared: int, terms: Terms) -> int:
        end = max(self.free_at, self.arrivals[payload]) + SERVICE_S * (REDUCED if terms.reduced else 1.0)
        self.ends.put(end)
        assert self.may_end.acquire(timeout=PATIENCE_S)
        self.free_at, self.took[payload] = end, end - self.arrivals[payload]
        return prepared


@dataclass
class Load:
    """What came of a load: seconds that the accepted took, answers a second, refusals, and when the last one ended."""

    took: list[float]
    goodput: float
    refused: list[Unavailable]
    settled_s: float

    @property
    def p99(self) -> float:
        return float(np.percentile(self.took, 99))


def poisson(share: float) -> list[float]:
    """Arrivals that do not wait for answers, at `share` of the capacity."""
    chance, time_s, arrivals = random.Random(0), 0.0, []
    while (time_s := time_s + chance.expovariate(share / SERVICE_S)) < LOAD_S:
        arrivals.append(time_s)
    return arrivals


async def simulate(share: float, depth: int) -> Load:
    arrivals = poisson(share)
    work, refused = SimulatedWork(arrivals), []
    engine = Engine(work, Metrics(), depth=depth, deadline_s=1e6)
    to_come, tasks, inside = deque(range(len(arrivals))), [], 0
    while to_come or inside:
        end = work.ends.get(timeout=PATIENCE_S) if inside else math.inf
        while to_come and arrivals[to_come[0]] < end:
            task = asyncio.create_task(engine.submit(to_come.popleft()))
            await asyncio.sleep(0)  # it is admitted or refused now
            if task.done():
                error = task.exception()
                assert isinstance(error, Unavailable)
                refused.append(error)
                continue
            tasks.append(task)
            inside += 1
            if end == math.inf:  # the lane was idle and begins with this one
                end = work.ends.get(timeout=PATIENCE_S)
        inside -= 1
        work.may_end.release()
    await asyncio.gather(*tasks)
    assert engine.close(PATIENCE_S)
    return Load(list(work.took.values()), len(work.took) / work.free_at, refused, work.free_at - arrivals[-1])


def under(share: float, depth: int = DEPTH) -> Load:
    return asyncio.run(simulate(share, depth))


def test_at_twice_the_capacity_the_accepted_are_served_as_fast_and_as_many() -> None:
    usual, over = under(0.7), under(2.0)
    assert over.p99 <= 1.5 * usual.p99
    assert over.goodput >= 0.9 * max(under(share).goodput for share in (0.9, 1.0, 1.2))
    assert over.settled_s < 5.0, "seconds after the overload it is itself again"
    assert len(over.refused) > 100 and len(usual.refused) <= 0.02 * len(usual.took)
    for error in over.refused:
        assert error.status == 503 and error.problem_code == "queue_full"
        assert 1 <= int(error.headers["Retry-After"]) <= 60


def test_control_a_longer_queue_only_makes_late_answers() -> None:
    assert under(2.0, depth=8 * DEPTH).p99 > 1.5 * under(0.7, depth=8 * DEPTH).p99
