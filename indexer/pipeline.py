"""From files to a published snapshot: the run that `htav index` and the worker share.

    scan -> compare with the catalog -> hash -> decode (children) -> encode (batches across files) -> commit -> publish

One thread, the caller's, encodes and writes files, clips and states; `feed` reads ahead of it. A kill at any moment
loses at most the batch in hand: the next run finds what is committed and goes on behind it. One bad file never ends a
run.
"""

import fcntl
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from indexer import failures, jobs
from indexer.catalog import Catalog
from indexer.config import IndexSettings
from indexer.errors import IndexCorrupt, PathRefused, StorageError
from indexer.jobs import Lease
from indexer.library import Library
from indexer.progress import Counts, DatabaseReporter, Failure, IndexReport, NullReporter, Reporter, Reporters
from indexer.run import Run
from indexer.scan import resolve, resolve_again
from indexer.tables import JobState, VideoState, stored_name

if TYPE_CHECKING:
    from model import Retriever

WATCH_JOB_S = 0.5


def index_paths(
    paths: Sequence[str | Path],
    settings: IndexSettings,
    retriever: "Retriever",
    reporter: Reporter | None = None,
    *,
    retry: bool = False,
    owner: bool = True,
    revive: bool = True,
) -> IndexReport:
    """Index files and folders now, as a job of its own. `owner`: the paths may become media roots.

    `revive`: naming a file asks for it, also if its video was deleted before.
    """
    catalog = Catalog.open(settings)
    try:
        named = check_paths(catalog, settings, paths, owner=owner, retry=retry)  # refuse before there is a job
        bury_the_dead(catalog, settings)
        job_id = jobs.submit(catalog, named, retry=retry, options={"owner": owner, "revive": revive})
        lease = jobs.claim(catalog, settings, job_id)
        if lease is None:  # a worker was faster
            return _watch(catalog, job_id)
        try:
            return run_job(lease, settings, catalog, retriever, reporter)
        except (KeyboardInterrupt, SystemExit):  # ended, not given back: a worker would go on with what was stopped
            _interrupted(lease)
            raise
    finally:
        catalog.close()


def run_job(
    lease: Lease, settings: IndexSettings, catalog: Catalog, retriever: "Retriever", reporter: Reporter | None = None
) -> IndexReport:
    """Do a claimed job to its end; whatever goes wrong with it, the job is left in a state that says so.

    An interruption leaves the lease to the caller, who knows whether somebody else should go on.
    """
    job = jobs.get(catalog, lease.job_id)
    listeners = Reporters([DatabaseReporter(lease), reporter or NullReporter()])
    try:
        with lease.kept(), indexing(settings.data_dir, lease, listeners) as wanted:
            if not wanted:
                return _cancelled(lease, listeners)
            run = Run(lease, settings, catalog, retriever, listeners)
            retry, owner = bool(job.options.get("retry")), bool(job.options.get("owner"))
            return run.go(job.paths, retry=retry, owner=owner, asked_at=jobs.asked_at(job))
    except (StorageError, PathRefused, IndexCorrupt) as err:
        lease.abort(err.code, str(err))
        raise


def check_paths(
    catalog: Catalog, settings: IndexSettings, paths: Sequence[str | Path], *, owner: bool = True, retry: bool = False
) -> list[Path]:
    """The paths with links resolved, but for what is tried again. Raises PathRefused for what cannot be indexed."""
    roots, find = Library(settings, catalog, "").roots(), resolve_again if retry else resolve
    return [find(path, roots, owner=owner).file_path for path in paths]


def bury_the_dead(catalog: Catalog, settings: IndexSettings) -> None:
    """End the runs of this command that were killed, so that what they had in hand is counted; the next run goes on."""
    for job in jobs.list_jobs(catalog, state=JobState.RUNNING):
        if job.options.get("owner") and (lease := jobs.claim(catalog, settings, job.id)) is not None:
            _interrupted(lease)


def _interrupted(lease: Lease) -> None:
    lease.abort("interrupted", "The run was interrupted. A later one goes on where it stopped.")


@contextmanager
def indexing(data_dir: Path, lease: Lease, reporter: Reporter) -> Iterator[bool]:
    """One run at a time for a data folder; others wait, alive. The lock ends with the process, however it ends.

    Gives whether the job is still wanted: one that is cancelled while it waits has its turn no more.
    """
    with (data_dir / "indexing.lock").open("a") as lock:
        waits, wanted = False, True
        while wanted:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not waits:
                    reporter.note("Another run is indexing into this data folder; waiting for it to end.")
                waits = True
                time.sleep(WATCH_JOB_S)
                wanted = lease.heartbeat()
        yield wanted


def _cancelled(lease: Lease, reporter: Reporter) -> IndexReport:
    """The end of a job that was cancelled before it began."""
    report = IndexReport(lease.job_id, cancelled=True)
    lease.cancelled({})
    reporter.finished(report)
    return report


def _watch(catalog: Catalog, job_id: str) -> IndexReport:
    """Wait for a job that someone else does, and report it as if it had been ours. Stopped, it stops the job."""
    try:
        while (job := jobs.get(catalog, job_id)).state not in jobs.FINISHED:
            time.sleep(WATCH_JOB_S)
    except (KeyboardInterrupt, SystemExit):
        jobs.cancel(catalog, job_id)
        raise
    known = {name: int(job.counts.get(name, 0)) for name in vars(Counts())}
    report = IndexReport(job_id, job.snapshot_id, counts=Counts(**known), cancelled=job.state is JobState.CANCELLED)
    names = {(file.root_id, file.path) for file in jobs.files(catalog, job_id) if file.state is VideoState.FAILED}
    report.failed = [
        Failure(stored_name(row.file_path), row.code or "failed", row.message, row.attempts)
        for row in failures.failed_files(catalog)
        if (row.root_id, row.path) in names
    ]
    if job.started_at is not None and job.finished_at is not None:
        report.took_s = (job.finished_at - job.started_at).total_seconds()
    return report
