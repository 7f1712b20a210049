"""Everything a running service holds, and the order in which it comes up and goes down.

Up: catalog, then (in a thread, so that /livez answers meanwhile) the model, the snapshot, a warm-up search; ready
only after that. Down: refuse new searches, end event streams, let what is in service finish.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

import torch
from sqlalchemy import exists, func, select

from app.config import Settings
from app.engine import Engine, Terms
from app.library import Library
from app.links import Links
from app.problems import Unavailable
from app.schemas import SearchRequest, SearchResponse
from app.search import Encoded, Searcher
from app.security import Guard
from app.telemetry import Metrics
from app.thumbnails import Thumbnails
from app.uploads import clear_leftovers
from indexer.catalog import Catalog, FileFailure, Video, VideoState
from indexer.errors import IndexUnusable, NothingIndexed
from indexer.snapshot import CurrentSnapshot, Snapshot
from model.errors import HtavError
from model.retriever import Retriever

logger = logging.getLogger("htav.service")


@dataclass(frozen=True)
class Search:
    """What answers searches, once it is there."""

    retriever: Retriever
    current: CurrentSnapshot
    searcher: Searcher
    engine: Engine[SearchRequest, Encoded, SearchResponse]


def load_retriever(settings: Settings) -> Retriever:
    """The query side of the configured checkpoint. Raises HtavError when a file of it is missing or altered."""
    if settings.model is None:
        return Retriever.embedded(query_only=True)
    return Retriever.from_pretrained(settings.model, query_only=True)


class Service:
    """The state of one application. `on_failure` hears of an error that start-up cannot recover from."""

    def __init__(self, settings: Settings, on_failure: Callable[[HtavError], None] = lambda error: None) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.catalog = Catalog.open(settings)
        self.library = Library(self.catalog)
        self.thumbnails = Thumbnails()
        self.guard = Guard(
            self.catalog, required=settings.require_api_key, requests_per_minute=settings.requests_per_minute
        )
        self.links = Links()
        self.failure: HtavError | None = None
        self._search: Search | None = None
        self._on_failure = on_failure
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    @property
    def draining(self) -> bool:
        return self._stop.is_set()

    @property
    def search(self) -> Search:
        """What answers searches; raises while it is not there (yet)."""
        if self.draining:
            raise Unavailable("The service is shutting down.", "Ask again in a moment.", code="draining")
        if self.failure is not None:
            raise self.failure
        if self._search is None:
            raise Unavailable(
                "The service is starting.", "Ask again in a few seconds.", code="starting", retry_after_s=2
            )
        return self._search

    @property
    def retriever(self) -> Retriever | None:
        return self._search.retriever if self._search else None

    def start(self) -> None:
        clear_leftovers(self.settings.uploads_dir)
        for work, name in ((self._come_up, "htav-start"), (self._follow, "htav-snapshots")):
            thread = threading.Thread(target=work, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def drain(self) -> None:
        """Refuse new work; event streams end by themselves when they see this."""
        self._stop.set()
        self.metrics.ready.set(0)
        if self._search is not None:
            self._search.engine.drain()

    async def stop(self) -> None:
        """Drain, wait for what is in service, let go of everything."""
        self.drain()
        search = self._search
        if search is not None:
            await asyncio.to_thread(search.engine.close, self.settings.drain_s)
        await asyncio.to_thread(self.thumbnails.close)
        for thread in self._threads:
            await asyncio.to_thread(thread.join, self.settings.drain_s)
        self.catalog.close()

    def check_ready(self) -> Snapshot | None:
        """The served snapshot (None: nothing was indexed yet) when searches are answered; raises what is wrong."""
        search = self.search
        with self.catalog.session() as session:
            session.execute(select(1))
        try:
            return search.current.get()
        except NothingIndexed:
            return None

    def count_files(self) -> None:
        """Bring the gauge of files by state up to date; only /metrics asks for it.

        A file that failed once its content was known is there as a failure and as a failed video; it counts once.
        """
        told = exists().where(FileFailure.video_id == Video.id, FileFailure.code.is_not(None))
        states = select(Video.state, func.count()).where(~((Video.state == VideoState.FAILED) & told))
        with self.catalog.session() as session:
            videos = session.execute(states.group_by(Video.state)).all()
            failures = session.execute(select(FileFailure.code, func.count()).group_by(FileFailure.code)).all()
        self.metrics.index_files.clear()
        for state, count in videos:
            self.metrics.index_files.labels(state.value, "").set(count)
        for code, count in failures:
            if code is not None:
                self.metrics.index_files.labels("failed", code).set(count)

    def _come_up(self) -> None:
        """Load and warm what searches need. A checkpoint that cannot be used is told, not retried."""
        settings = self.settings
        try:
            retriever = load_retriever(settings)
        except HtavError as error:
            logger.error("the model cannot be loaded", extra={"code": error.code, "reason": str(error)})
            self.failure = error
            self._on_failure(error)
            return
        current = CurrentSnapshot(
            settings.data_dir, self.catalog, retriever.fingerprint, poll_s=settings.snapshot_poll_s
        )
        searcher = Searcher(retriever, self.library, current, self.metrics)
        engine = Engine(
            searcher,
            self.metrics,
            depth=settings.queue_depth,
            batch=settings.encode_batch,
            deadline_s=settings.deadline_s,
            on_start=lambda: _prepare_lane(searcher, settings.threads),
        )
        engine.warm.wait()
        self._search = Search(retriever, current, searcher, engine)
        if self.draining:
            engine.drain()
        else:
            self.metrics.ready.set(1)
            logger.info("ready", extra={"model": retriever.name})

    def _follow(self) -> None:
        """Open what is published while we run, so that no search has to, and tell the metrics."""
        served: str | None = None
        while not self._stop.wait(self.settings.snapshot_poll_s):
            if self._search is None:
                continue
            try:
                snapshot = self._search.current.get()
            except (IndexUnusable, OSError):  # told to whoever searches; here the next look counts
                continue
            if snapshot.id != served:
                served = snapshot.id
                self.metrics.snapshot.clear()
                self.metrics.snapshot.labels(snapshot.id, snapshot.model).set(1)
                self.metrics.videos.set(snapshot.videos)
                self.metrics.clips.set(snapshot.clips)
                logger.info("serving snapshot", extra={"snapshot": snapshot.id, "videos": snapshot.videos})


def _prepare_lane(searcher: Searcher, threads: int) -> None:
    """In the inference thread: its thread budget, and a first search, so that nobody pays for lazy initialisation."""
    torch.set_num_threads(threads)
    request = SearchRequest(query="a person talks while a dog barks in the street", explain=True)
    try:
        searcher.serve(request, searcher.prepare([request])[0], Terms(deadline=float("inf")))
    except HtavError as error:
        logger.info("warm-up without a whole search", extra={"reason": error.message})
