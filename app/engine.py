"""Admission and execution of searches: one inference thread, a short queue, and a deadline for everybody.

    submit -> [queue, at most `depth`] -> lane: prepare (up to `batch` waiting requests together) -> serve (one by one)

- Full queue: refused at once with 503 and Retry-After. Above 70 % of it: admitted, but told to do half the work.
- A request whose client left or whose deadline passed while it waited is never computed.
- One poisoned request fails alone: when preparing a batch fails, each of it is prepared by itself.
The lane is a thread of its own, so that the thread budget of the linear algebra belongs to it and file or catalog
work can never take its place. What "prepare" and "serve" mean is the business of `search`; this module knows no
torch.
"""

import asyncio
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from app.problems import Unavailable
from app.telemetry import Metrics

DEGRADE_ABOVE = 0.7
logger = logging.getLogger("htav.engine")

P = TypeVar("P")
S = TypeVar("S")
R = TypeVar("R")
P_contra = TypeVar("P_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)


@dataclass(frozen=True)
class Terms:
    """Under which terms one request is served: when to stop (`time.monotonic`), and whether to do half the work."""

    deadline: float
    reduced: bool = False


class Work(Protocol[P_contra, S, R_co]):
    """The computation. `prepare` answers in the order of its arguments."""

    def prepare(self, payloads: Sequence[P_contra]) -> Sequence[S]: ...

    def serve(self, payload: P_contra, prepared: S, terms: Terms) -> R_co: ...


@dataclass(eq=False)
class _Ticket(Generic[P, S, R]):
    payload: P
    future: asyncio.Future[R]
    loop: asyncio.AbstractEventLoop
    terms: Terms
    prepared: S | None = None
    error: Exception | None = None
    started: bool = False
    gone: bool = field(default=False)

    def resolve(self, result: R | None, error: BaseException | None) -> None:
        """Called in the lane; the future belongs to the event loop."""

        def settle() -> None:
            if self.future.done():
                return
            if error is not None:
                self.future.set_exception(error)
            else:
                self.future.set_result(result)  # type: ignore[arg-type]

        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(settle)


class Engine(Generic[P, S, R]):
    """Runs `work` for requests of an event loop.

    `on_start` runs once in the lane, for the thread budget and a warm-up; `warm` is set after it.
    """

    def __init__(
        self,
        work: Work[P, S, R],
        metrics: Metrics,
        *,
        depth: int = 8,
        batch: int = 4,
        deadline_s: float = 5.0,
        on_start: Callable[[], None] = lambda: None,
    ) -> None:
        self._work = work
        self._metrics = metrics
        self._depth = depth
        self._batch = batch
        self._deadline_s = deadline_s
        self._on_start = on_start
        self._waiting: deque[_Ticket[P, S, R]] = deque()
        self._ready = threading.Condition()
        self._draining = False
        self._mean_s = 0.1
        self.warm = threading.Event()
        self._thread = threading.Thread(target=self._lane, name="htav-inference", daemon=True)
        self._thread.start()

    @property
    def draining(self) -> bool:
        return self._draining

    async def submit(self, payload: P) -> R:
        """The result for `payload`. Cancelling the caller takes a waiting request out of the queue."""
        ticket = self._admit(payload)
        loop = asyncio.get_running_loop()
        timer = loop.call_later(self._deadline_s, self._expire, ticket)
        try:
            return await ticket.future
        except asyncio.CancelledError:
            self._leave(ticket, "disconnected")
            raise
        finally:
            timer.cancel()

    def _admit(self, payload: P) -> _Ticket[P, S, R]:
        loop = asyncio.get_running_loop()
        with self._ready:
            if self._draining:
                raise self._refuse("draining", "The service is shutting down.", "Ask again in a moment.")
            waiting = len(self._waiting)
            if waiting >= self._depth:
                raise self._refuse(
                    "queue_full", "Too many searches wait already.", "Ask again after Retry-After seconds."
                )
            busy = waiting > 0 and waiting + 1 > DEGRADE_ABOVE * self._depth  # who waits alone does not fill a queue
            terms = Terms(time.monotonic() + self._deadline_s, reduced=busy)
            ticket = _Ticket[P, S, R](payload, loop.create_future(), loop, terms)
            self._waiting.append(ticket)
            self._metrics.queue_depth.set(len(self._waiting))
            self._ready.notify()
        return ticket

    def _refuse(self, reason: str, message: str, hint: str) -> Unavailable:
        self._metrics.rejected.labels(reason).inc()
        wait_s = math.ceil((len(self._waiting) + 1) * self._mean_s)
        return Unavailable(message, hint, code=reason, retry_after_s=max(1, min(wait_s, 60)))

    def _expire(self, ticket: _Ticket[P, S, R]) -> None:
        """At the deadline: a request that still waits is told so; one in service answers with what it has by itself."""
        if self._leave(ticket, "deadline") and not ticket.future.done():
            ticket.future.set_exception(self._late())

    def _leave(self, ticket: _Ticket[P, S, R], reason: str) -> bool:
        """Take a ticket out before it is computed; False when that came too late."""
        with self._ready:
            if ticket.started or ticket.gone:
                return False
            ticket.gone = True
            if ticket in self._waiting:
                self._waiting.remove(ticket)
            self._metrics.queue_depth.set(len(self._waiting))
        self._metrics.dropped.labels(reason).inc()
        return True

    def _lane(self) -> None:
        """The lane's start is a boundary too: without a warm-up it is slow once, without a lane it is dead."""
        try:
            self._on_start()
        except Exception as error:
            logger.error("the warm-up failed", exc_info=error)
        self.warm.set()
        while (ticket := self._next()) is not None:
            started = time.monotonic()
            with self._metrics.inflight.track_inprogress():
                self._serve(ticket)
            self._mean_s += 0.1 * (time.monotonic() - started - self._mean_s)

    def _next(self) -> _Ticket[P, S, R] | None:
        """The oldest ticket, prepared; texts of those behind it are prepared along with it. None ends the lane."""
        with self._ready:
            while (ticket := self._oldest()) is None:
                if self._draining:
                    return None
                self._ready.wait()
            ticket.started = True
            self._metrics.queue_depth.set(len(self._waiting))
            unprepared = [ticket, *self._waiting][: self._batch] if ticket.prepared is None and not ticket.error else []
            unprepared = [member for member in unprepared if member.prepared is None and member.error is None]
        if unprepared:
            self._prepare(unprepared)
        return ticket

    def _oldest(self) -> _Ticket[P, S, R] | None:
        """The next ticket worth computing; those past their deadline are told so, should the event loop be late."""
        while self._waiting:
            ticket = self._waiting.popleft()
            if time.monotonic() < ticket.terms.deadline:
                return ticket
            ticket.gone = True
            self._metrics.dropped.labels("deadline").inc()
            ticket.resolve(None, self._late())
        return None

    def _late(self) -> Unavailable:
        return self._refuse("deadline_exceeded", "The search waited longer than its deadline.", "Ask again.")

    def _prepare(self, tickets: list[_Ticket[P, S, R]]) -> None:
        """The per-batch boundary: whatever a batch raises, its members are tried one by one."""
        try:
            prepared = self._work.prepare([ticket.payload for ticket in tickets])
            for ticket, result in zip(tickets, prepared, strict=True):
                ticket.prepared = result
        except Exception as error:
            if len(tickets) == 1:
                tickets[0].error = error
                return
            logger.warning("a batch failed, trying its members alone", extra={"error": type(error).__name__})
            for ticket in tickets:
                self._prepare([ticket])

    def _serve(self, ticket: _Ticket[P, S, R]) -> None:
        """The per-request boundary of the lane: an error belongs to its request; the lane lives on."""
        if ticket.error is not None or ticket.prepared is None:
            ticket.resolve(None, ticket.error)
            return
        try:
            result = self._work.serve(ticket.payload, ticket.prepared, ticket.terms)
        except Exception as error:
            ticket.resolve(None, error)
        else:
            ticket.resolve(result, None)

    def drain(self) -> None:
        """Refuse new requests; those admitted are served."""
        with self._ready:
            self._draining = True
            self._ready.notify_all()

    def close(self, timeout_s: float) -> bool:
        """Drain and wait for the lane to end. True when it did."""
        self.drain()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()
