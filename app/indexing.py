"""Index jobs as clients ask for them and see them. The work itself is the worker's; this process only writes rows."""

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session

from app.config import Settings
from app.problems import Conflict
from app.schemas import FileProblem, JobOut
from indexer import jobs
from indexer.catalog import (
    Catalog,
    FileFailure,
    Job,
    JobEvent,
    JobFile,
    JobState,
    MediaRoot,
    VideoState,
    VideoUri,
    file_path,
)
from indexer.errors import PathNotFound
from indexer.failures import is_settled
from indexer.scan import Scope, deepest_root, resolve
from indexer.tables import stored_name

FAILED_SHOWN = 200


def media_roots(catalog: Catalog, settings: Settings) -> list[Path]:
    """The folders that may be indexed: those set, and those the owner has indexed on the command line."""
    with catalog.session() as session:
        known = [file_path(path, "") for path in session.scalars(select(MediaRoot.path).order_by(MediaRoot.id))]
    wanted = [*(root.resolve() for root in settings.media_roots), *known, settings.uploads_dir.resolve()]
    return list(dict.fromkeys(wanted))


def submit(catalog: Catalog, settings: Settings, paths: Sequence[str]) -> str:
    """Queue a job for paths inside the media roots. Raises OutsideMediaRoot or PathNotFound and then queues nothing."""
    roots = media_roots(catalog, settings)
    wanted: list[Path] = []
    for path in paths:
        if path == ".":
            wanted += roots
        else:
            scope = resolve(path, roots, owner=False)
            known = [scope.root] if scope.exists else _remembered(catalog, scope, Path(path).is_absolute())
            if not known:
                raise PathNotFound(f"There is nothing at {path[:200]}.", "Give a path inside a media root.")
            wanted += [file_path(str(root), scope.path) for root in known]
    return jobs.submit(catalog, list(dict.fromkeys(wanted)))


def retry(catalog: Catalog, job_id: str) -> str:
    """Queue a job for what a finished one left undone. Raises Conflict when there is nothing to try again."""
    job = jobs.get(catalog, job_id)
    if job.state not in jobs.FINISHED:
        raise Conflict(f"The job is {job.state}.", "Wait for its end, or cancel it first.")
    if job.state is JobState.DONE:
        raise Conflict("No file of this job failed.", "To look for changed files, POST /v1/index-jobs again.")
    return jobs.retry(catalog, job_id)


def _remembered(catalog: Catalog, scope: Scope, absolute: bool) -> list[Path]:
    """The roots below which the catalog knows a file there: one that is gone may be asked for, to be marked missing."""
    query = select(MediaRoot.path).join(VideoUri, VideoUri.root_id == MediaRoot.id).distinct()
    if scope.path:  # else it is the root itself, which all of its files are below
        start = func.substr(VideoUri.path, 1, len(scope.path) + 1)
        query = query.where(or_(VideoUri.path == scope.path, start == f"{scope.path}/"))
    if absolute:
        query = query.where(MediaRoot.path == stored_name(scope.root))
    with catalog.session() as session:
        return [file_path(root, "") for root in session.scalars(query)]


def job_out(catalog: Catalog, job_id: str) -> JobOut:
    return jobs_out(catalog, [jobs.get(catalog, job_id)])[0]


def jobs_out(catalog: Catalog, rows: Sequence[Job]) -> list[JobOut]:
    """Jobs with their progress and the files that failed in them."""
    with catalog.session() as session:  # once: a job may have thousands of paths
        roots = {Path(root) for root in session.scalars(select(MediaRoot.path))}
    return [_out(catalog, job, roots) for job in rows]


def _out(catalog: Catalog, job: Job, roots: Collection[Path]) -> JobOut:
    states = jobs.file_states(catalog, job.id)
    total, settled = sum(states.values()), sum(count for state, count in states.items() if is_settled(state))
    finished = job.state in jobs.FINISHED
    return JobOut(
        id=job.id,
        kind=job.kind,
        state=job.state.value,
        paths=[_relative(Path(path), roots) for path in job.paths],
        counts=job.counts,
        progress=1.0 if finished else round(settled / total, 4) if total else 0.0,
        snapshot=job.snapshot_id,
        code=job.code,
        message=job.message,
        failed=_failed(catalog, job.id) if states.get(VideoState.FAILED) else [],
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
    )


def event_json(event: JobEvent) -> str:
    return json.dumps({"at": event.at.isoformat(), **event.data}, default=str)


def _failed(catalog: Catalog, job_id: str) -> list[FileProblem]:
    match = and_(FileFailure.root_id == JobFile.root_id, FileFailure.path == JobFile.path)
    query = select(JobFile, FileFailure).outerjoin(FileFailure, match).order_by(JobFile.path).limit(FAILED_SHOWN)
    query = query.where(JobFile.job_id == job_id, JobFile.state == VideoState.FAILED)
    with catalog.session() as session:
        rows = session.execute(query).all()
        said = _said(session, job_id, [file.id for file, _ in rows])
        return [_problem(file, said.get(file.id, {}), failure) for file, failure in rows]


def _said(session: Session, job_id: str, files: Sequence[int]) -> dict[int, dict[str, Any]]:
    """What the job said last of each of these files that failed, by their ids."""
    state, file = JobEvent.data["state"].as_string(), JobEvent.data["file_id"].as_integer()
    query = select(JobEvent.data).where(JobEvent.job_id == job_id, JobEvent.kind == "file")
    query = query.where(state == VideoState.FAILED.value, file.in_(files)).order_by(JobEvent.id)
    return {data["file_id"]: data for data in session.scalars(query)}


def _problem(file: JobFile, said: Mapping[str, Any], failure: FileFailure | None) -> FileProblem:
    """By the job's own account: what is known of the file now is another job's, or nothing once it is indexed."""
    if not said.get("code") and failure is not None:
        said = {"code": failure.code, "message": failure.message, "attempts": failure.attempts}
    return FileProblem(
        uri=file.path,
        code=said.get("code") or "unknown",
        message=said.get("message") or "",
        attempts=said.get("attempts") or 0,
    )


def _relative(path: Path, roots: Collection[Path]) -> str:
    """Absolute paths are the owner's business: clients see them relative to their media root."""
    root = deepest_root(path, roots)
    return path.relative_to(root).as_posix() if root else path.name or "."
