"""Working on a job: the lease, its heartbeat, and what happens to the files of a worker that died. See `jobs`.

A lease that expired or whose holder is dead goes to whoever claims next. The dead holder's files in hand are counted
against them (`failures`), half-done ones are queued again; settled ones stay settled.
"""

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select, update
from sqlalchemy.orm import Session, defer

from indexer import failures
from indexer.catalog import Catalog
from indexer.config import IndexSettings
from indexer.errors import CatalogUnusable, LeaseLost, StorageError
from indexer.holder import Holder
from indexer.tables import Job, JobEvent, JobFile, JobState, VideoState, now
from indexer.ulid import new_ulid

log = logging.getLogger(__name__)


def claim(catalog: Catalog, settings: IndexSettings, job_id: str | None = None) -> "Lease | None":
    """Take the oldest job that waits, or whose holder is dead or silent; None when there is none.

    Two workers never get the same job: the UPDATE names the lease that was seen, and only one finds it still so.
    """
    with catalog.transaction() as session:
        query = select(Job).where(Job.state.in_((JobState.QUEUED, JobState.RUNNING))).order_by(Job.id)
        if job_id is not None:
            query = query.where(Job.id == job_id)
        for job in session.scalars(query):
            if job.state is JobState.RUNNING and not _abandoned(job):
                continue
            lease = _take(session, job, settings)
            if lease is not None:
                return Lease(catalog, settings, job.id, lease)
    return None


class Lease:
    """The right to work on one job, until `lease_s` after the last heartbeat."""

    def __init__(self, catalog: Catalog, settings: IndexSettings, job_id: str, token: str) -> None:
        self.job_id = job_id
        self._catalog = catalog
        self._settings = settings
        self._token = token

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Renew the lease until the end of the block, whatever takes its holder so long: a disk, a model, a file."""
        over = threading.Event()
        heart = threading.Thread(target=self._beat, args=[over], name="htav-lease", daemon=True)
        heart.start()
        try:
            yield
        finally:
            over.set()
            heart.join()

    def _beat(self, over: threading.Event) -> None:
        while not over.wait(self._settings.lease_s / 4):
            try:
                self.heartbeat()
            except LeaseLost:  # the holder hears of it when he next writes
                return
            except (CatalogUnusable, StorageError) as err:  # it may answer again before the lease ends
                log.warning("the lease of job %s cannot be renewed: %s", self.job_id, err)

    def heartbeat(self) -> bool:
        """Stay the holder; False when the job should be cancelled."""
        with self._owned() as (_, job):
            job.lease_until = now() + timedelta(seconds=self._settings.lease_s)
            return not job.cancel_requested

    def add_files(self, found: Sequence[tuple[int, str]]) -> None:
        """Make (root id, path) pairs part of the job, unless they are already."""
        with self._owned() as (session, job):
            rows = session.execute(select(JobFile.root_id, JobFile.path).where(JobFile.job_id == job.id))
            known = {(root_id, path) for root_id, path in rows}
            fresh = [JobFile(job_id=job.id, root_id=root_id, path=path) for root_id, path in found]
            session.add_all(file for file in fresh if (file.root_id, file.path) not in known)
            note(session, job.id, "found", {"files": len(found)})

    def files(self, *states: VideoState) -> Sequence[JobFile]:
        """The job's files, of these states or of any."""
        query = select(JobFile).where(JobFile.job_id == self.job_id).order_by(JobFile.id)
        with self._catalog.session() as session:
            return session.scalars(query.where(JobFile.state.in_(states)) if states else query).all()

    def take(self, file_id: int) -> None:
        """Have this file in hand."""
        with self._owned() as (session, _):
            session.get_one(JobFile, file_id).in_hand = True

    def move(
        self, file_id: int, state: VideoState, *, progress: float | None = None, session: Session | None = None
    ) -> None:
        """Say where the file stands."""
        with self._owned(session) as (open_session, job):
            file = open_session.get_one(JobFile, file_id)
            file.state = state
            if progress is not None:
                file.progress = progress
            note(open_session, job.id, "file", {"path": file.path, "state": state, "progress": file.progress})

    def settle(
        self,
        file_id: int,
        state: VideoState,
        video_id: str | None = None,
        *,
        detail: Mapping[str, Any] | None = None,
        session: Session | None = None,
    ) -> None:
        """The file is out of hand; `detail` (code, message...) goes into the event."""
        with self._owned(session) as (open_session, job):
            file = open_session.get_one(JobFile, file_id)
            file.state, file.in_hand, file.progress = state, False, 1.0
            file.video_id = video_id or file.video_id
            if state in (VideoState.READY, VideoState.PARTIAL, VideoState.DELETED):
                failures.clear(open_session, file.root_id, file.path)
            told = {"file_id": file.id, "path": file.path, "state": state, "video_id": file.video_id}
            note(open_session, job.id, "file", {**told, **(detail or {})})  # the id: two roots may have such a path

    def event(self, kind: str, data: Mapping[str, Any], *, session: Session | None = None) -> None:
        with self._owned(session) as (open_session, job):
            note(open_session, job.id, kind, data)

    def finish(self, counts: Mapping[str, Any], snapshot_id: str | None = None) -> JobState:
        """The work is done; whether with failures is read from the files."""
        with self._owned() as (session, job):
            failed = select(func.count()).where(JobFile.job_id == job.id, JobFile.state == VideoState.FAILED)
            job.counts, job.snapshot_id = dict(counts), snapshot_id
            end(session, job, JobState.DONE_WITH_FAILURES if session.scalar(failed) else JobState.DONE)
            return job.state

    def cancelled(self, counts: Mapping[str, Any]) -> None:
        with self._owned() as (session, job):
            job.counts = dict(counts)
            end(session, job, JobState.CANCELLED)

    def abort(self, code: str, message: str) -> None:
        """The job as a whole failed (no space, no checkpoint); no file is to blame."""
        with self._owned() as (session, job):
            job.code, job.message = code, message
            end(session, job, JobState.FAILED)

    def give_back(self) -> None:
        """Stop early and let another worker go on; files in hand are charged nothing."""
        with self._owned() as (session, job):
            job.state = JobState.QUEUED
            _release(session, job)
            note(session, job.id, "state", {"state": JobState.QUEUED})

    @contextmanager
    def _owned(self, session: Session | None = None) -> Iterator[tuple[Session, Job]]:
        if session is None:
            with self._catalog.transaction() as own:
                yield own, self._job(own)
        else:
            yield session, self._job(session)

    def _job(self, session: Session) -> Job:
        ours = Job.id == self.job_id, Job.lease_token == self._token, Job.state == JobState.RUNNING
        query = select(Job).where(*ours).with_for_update()
        job = session.scalar(query.options(defer(Job.paths)))  # they may be thousands, and each file comes by here
        if job is None:
            raise LeaseLost(f"Job {self.job_id} is no longer ours.", "Another worker goes on with it.")
        return job


def _abandoned(job: Job) -> bool:
    holder = Holder.of(job)
    expired = job.lease_until is None or job.lease_until < now()
    return expired or holder is None or holder.is_dead()


def _take(session: Session, job: Job, settings: IndexSettings) -> str | None:
    """Move the lease to this process; None when someone was faster."""
    me, token, before = Holder.me(), new_ulid(), job.lease_token
    seen: ColumnElement[bool] = Job.lease_token.is_(None) if before is None else Job.lease_token == before
    taken = session.execute(
        update(Job)
        .where(and_(Job.id == job.id, seen, or_(Job.state == JobState.QUEUED, Job.state == JobState.RUNNING)))
        .values(
            state=JobState.RUNNING,
            lease_token=token,
            lease_host=me.host,
            lease_boot=me.boot,
            lease_pid=me.pid,
            lease_pid_start=me.pid_start,
            lease_until=now() + timedelta(seconds=settings.lease_s),
            started_at=func.coalesce(Job.started_at, now()),
        )
        .returning(Job.id)
    ).first()
    if taken is None:
        return None
    if before is not None:
        _bury(session, job.id)
    note(session, job.id, "state", {"state": JobState.RUNNING})
    return token


def _bury(session: Session, job_id: str) -> None:
    """The last holder died: count the death for what he had in hand, and queue what was half done."""
    for file in session.scalars(select(JobFile).where(JobFile.job_id == job_id, JobFile.in_hand)):
        failures.record_death(session, file)
        file.in_hand = False
    _requeue(session, job_id)


def _requeue(session: Session, job_id: str) -> None:
    for file in session.scalars(select(JobFile).where(JobFile.job_id == job_id)):
        if not failures.is_settled(file.state):
            file.state = VideoState.QUEUED


def end(session: Session, job: Job, state: JobState) -> None:
    job.state, job.finished_at = state, now()
    _release(session, job)
    note(session, job.id, "state", {"state": state, "counts": job.counts, "snapshot": job.snapshot_id})


def _release(session: Session, job: Job) -> None:
    session.execute(update(JobFile).where(JobFile.job_id == job.id, JobFile.in_hand).values(in_hand=False))
    _requeue(session, job.id)
    job.lease_token = job.lease_host = job.lease_boot = None
    job.lease_pid = job.lease_pid_start = job.lease_until = None


def note(session: Session, job_id: str, kind: str, data: Mapping[str, Any]) -> None:
    session.add(JobEvent(job_id=job_id, kind=kind, data=dict(data)))
