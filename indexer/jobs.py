"""Jobs: what was asked for, who does it, and how far it is. Leases have their rules in `lease`, the work is `pipeline`.

Asking (CLI, API):    submit, get, list_jobs, files, events, cancel, retry
Doing (worker, CLI):  lease = claim(catalog, settings)   # None: nothing to do; claim(..., job_id=...) for one's own job
    lease.add_files([(root_id, path), ...])   # idempotent: a job taken over knows its files already
    lease.files(VideoState.QUEUED)            # what is left
    lease.take(file.id)                       # in hand from now on: a death is laid at its door
    lease.move(file.id, VideoState.DECODING, progress=0.5)
    lease.settle(file.id, VideoState.READY, video_id)      # or PARTIAL, FAILED...: no longer in hand
    with lease.kept(): ...                    # renewed in the background: without, it ends lease_s after a heartbeat
    lease.heartbeat()                         # False = cancellation was asked for
    lease.finish(counts, snapshot_id) | lease.cancelled(counts) | lease.abort(code, message) | lease.give_back()
Every method of a lease raises LeaseLost once another worker has taken the job, and then has written nothing.
`move`, `settle` and `event` take an optional open session, to be part of a larger transaction (ClipWriter's `also`).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from indexer import failures
from indexer.catalog import Catalog
from indexer.errors import UnknownJob
from indexer.holder import Holder
from indexer.lease import Lease, claim, end, note
from indexer.tables import Job, JobEvent, JobFile, JobState, VideoState, stored_name
from indexer.ulid import new_ulid

__all__ = [
    "FINISHED", "Lease", "cancel", "claim", "enqueue", "events", "file_states", "files", "get", "list_jobs", "retry",
    "submit",
]  # fmt: skip

FINISHED = (JobState.DONE, JobState.DONE_WITH_FAILURES, JobState.FAILED, JobState.CANCELLED)


def submit(
    catalog: Catalog,
    paths: Sequence[str | Path],
    *,
    kind: str = "index",
    retry: bool = False,
    options: Mapping[str, Any] | None = None,
) -> str:
    """Queue a job for these files and folders; `retry` tries failed files again, whatever they have cost until then."""
    with catalog.transaction() as session:
        return enqueue(session, paths, kind=kind, options={**(options or {}), "retry": retry})


def enqueue(session: Session, paths: Sequence[str | Path], *, kind: str, options: Mapping[str, Any]) -> str:
    """`submit` as part of a larger transaction."""
    job = Job(id=new_ulid(), kind=kind, paths=[stored_name(path) for path in paths], options=dict(options))
    session.add(job)
    session.flush()
    note(session, job.id, "state", {"state": JobState.QUEUED})
    return job.id


def get(catalog: Catalog, job_id: str) -> Job:
    with catalog.session() as session:
        return _get(session, job_id)


def list_jobs(
    catalog: Catalog, *, limit: int = 50, before: str | None = None, state: JobState | None = None
) -> Sequence[Job]:
    """The newest jobs first; `before` is the id of the last one already seen."""
    query = select(Job).order_by(Job.id.desc()).limit(limit)
    if before is not None:
        query = query.where(Job.id < before)
    if state is not None:
        query = query.where(Job.state == state)
    with catalog.session() as session:
        return session.scalars(query).all()


def files(catalog: Catalog, job_id: str) -> Sequence[JobFile]:
    with catalog.session() as session:
        _get(session, job_id)
        return session.scalars(select(JobFile).where(JobFile.job_id == job_id).order_by(JobFile.id)).all()


def file_states(catalog: Catalog, job_id: str) -> dict[VideoState, int]:
    """How many of the job's files are in each state."""
    query = select(JobFile.state, func.count()).where(JobFile.job_id == job_id).group_by(JobFile.state)
    with catalog.session() as session:
        return {row[0]: row[1] for row in session.execute(query)}


def events(catalog: Catalog, job_id: str, *, after: int = 0, limit: int = 500) -> Sequence[JobEvent]:
    """The job's history behind event `after`; kinds are `state`, `cancel_requested` and what the pipeline adds."""
    with catalog.session() as session:
        _get(session, job_id)
        query = select(JobEvent).where(JobEvent.job_id == job_id, JobEvent.id > after)
        return session.scalars(query.order_by(JobEvent.id).limit(limit)).all()


def cancel(catalog: Catalog, job_id: str) -> JobState:
    """Cancel at once what nobody works on; ask the worker otherwise. A finished job stays as it is."""
    with catalog.transaction() as session:
        job = _get(session, job_id, lock=True)  # or a worker takes it, unseen, between this and the end of it
        holder = Holder.of(job)
        if job.state is JobState.QUEUED or (job.state is JobState.RUNNING and (holder is None or holder.is_dead())):
            end(session, job, JobState.CANCELLED)
        elif job.state is JobState.RUNNING and not job.cancel_requested:
            job.cancel_requested = True
            note(session, job_id, "cancel_requested", {})
        return job.state


def retry(catalog: Catalog, job_id: str) -> str:
    """A new job for what this one left undone: its failed files, or everything if it never got to its files."""
    with catalog.transaction() as session:
        job = _get(session, job_id)
        query = select(JobFile).where(JobFile.job_id == job_id)
        known = session.scalars(query).all()
        done = (VideoState.READY, VideoState.PARTIAL, VideoState.DELETED)
        failed = [file for file in known if file.state not in done]
        for file in failed:
            failures.clear(session, file.root_id, file.path)
        whole = job.state in (JobState.FAILED, JobState.CANCELLED) or not known
        paths: Sequence[str | Path] = job.paths if whole else [file.file_path for file in failed]
        # what was asked for was asked for by the first of them: a video that was deleted since stays deleted
        first = {"asked_at": job.created_at.isoformat(), **job.options}
        return enqueue(session, paths, kind=job.kind, options={**first, "retry": True, "retry_of": job_id})


def asked_at(job: Job) -> datetime | None:
    """When the files that the job names were asked for; None where only a program names them."""
    if not job.options.get("revive", True):
        return None
    first = job.options.get("asked_at")  # by the job that this one retries
    return datetime.fromisoformat(first) if first else job.created_at


def _get(session: Session, job_id: str, *, lock: bool = False) -> Job:
    job = session.get(Job, job_id, with_for_update=lock)
    if job is None:
        raise UnknownJob(f"There is no job {job_id}.", "GET /v1/index-jobs lists the jobs.")
    return job
