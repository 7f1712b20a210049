"""The worker does what the API queues: it ends cleanly, survives bad jobs, and takes over from the dead."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from indexer import failures, jobs
from indexer.catalog import Catalog, media_root
from indexer.config import IndexSettings
from indexer.errors import CatalogUnusable
from indexer.tables import Job, JobState, VideoState
from indexer.worker import run_worker
from model import Retriever
from tests import processes
from tests.indexer.library_files import seen


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "media"
    folder.mkdir()
    return folder


@pytest.fixture
def known(settings: IndexSettings, root: Path) -> Iterator[Catalog]:
    """A catalog that has `root` as a media root."""
    with closing(Catalog.open(settings)) as catalog:
        with catalog.transaction() as session:
            media_root(session, root)
        yield catalog


def wait_for(condition: Callable[[], bool], seconds: float = 600.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def test_jobs_are_done_in_order_and_a_hopeless_one_ends_nothing(
    settings: IndexSettings, known: Catalog, root: Path, tmp_path: Path, tiny_checkpoint: Path
) -> None:
    seen(root / "a.mp4")
    outside = seen(tmp_path / "outside.mp4", shade=9)
    stranger = jobs.submit(known, [outside])
    honest = jobs.submit(known, [root])
    again = jobs.submit(known, [root / "a.mp4"])
    reports = run_worker(settings, once=True, load=lambda _: Retriever.from_pretrained(tiny_checkpoint))
    assert [report.job_id for report in reports] == [honest, again]
    assert [report.counts.encoded for report in reports] == [1, 0]
    refused = jobs.get(known, stranger)
    assert (refused.state, refused.code) == (JobState.FAILED, "outside_media_root")
    assert jobs.get(known, honest).state is JobState.DONE
    (file,) = jobs.files(known, honest)
    assert (file.path, file.state, file.progress) == ("a.mp4", VideoState.READY, 1.0)


def test_a_model_that_cannot_be_loaded_gives_the_job_back(settings: IndexSettings, known: Catalog, root: Path) -> None:
    job = jobs.submit(known, [root])

    def load(_: IndexSettings) -> Retriever:
        raise FileNotFoundError("model.safetensors")

    with pytest.raises(FileNotFoundError):
        run_worker(settings, once=True, load=load)
    assert jobs.get(known, job).state is JobState.QUEUED


def test_a_job_is_kept_while_its_model_loads(
    settings: IndexSettings, known: Catalog, root: Path, retriever: Retriever
) -> None:
    seen(root / "a.mp4")
    jobs.submit(known, [root])
    settings, claims = settings.model_copy(update={"lease_s": 2.0}), []

    def load(_: IndexSettings) -> Retriever:
        time.sleep(3.0)
        claims.append(jobs.claim(known, settings))
        return retriever

    (report,) = run_worker(settings, once=True, load=load)
    assert report.counts.encoded == 1 and claims == [None]


def test_a_catalog_that_is_gone_ends_the_worker(
    settings: IndexSettings, known: Catalog, root: Path, retriever: Retriever, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job left as it is would lie until its lease runs out; a worker that is started again has none in hand."""
    seen(root / "a.mp4")
    jobs.submit(known, [root])

    def gone(*_: object) -> None:
        raise CatalogUnusable("The catalog does not answer.")

    monkeypatch.setattr("indexer.worker.run_job", gone)
    with pytest.raises(CatalogUnusable):
        run_worker(settings, once=True, load=lambda _: retriever)


def test_a_file_that_kills_its_workers_ends_a_retry_too(
    settings: IndexSettings, known: Catalog, root: Path, retriever: Retriever, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it had cost before is forgotten when the job begins, and not again each time it is taken over."""
    path = seen(root / "poison.mp4")
    status = path.stat()
    with known.transaction() as session:
        folder = media_root(session, root).id
        failures.record(session, folder, path.name, "damaged", "", size=status.st_size, mtime_ns=status.st_mtime_ns)
    job = jobs.submit(known, [root], retry=True)
    tried: list[object] = []

    def stopped(_: Retriever, clips: object) -> None:
        tried.append(clips)
        raise KeyboardInterrupt

    monkeypatch.setattr(Retriever, "encode_clips", stopped)
    run_worker(settings, once=True, load=lambda _: retriever)
    assert len(tried) == 1 and jobs.get(known, job).state is JobState.QUEUED
    (file,) = jobs.files(known, job)
    for _ in range(settings.max_attempts + 1):  # the first death lays nothing at its door
        processes.start(processes.claim_take_die, settings, [file.id]).join()
    run_worker(settings, once=True, load=lambda _: retriever)
    assert len(tried) == 1 and jobs.get(known, job).state is JobState.DONE_WITH_FAILURES
    assert [row.code for row in failures.failed_files(known)] == ["worker_died"]


def start(settings: IndexSettings, checkpoint: Path) -> subprocess.Popen[bytes]:
    environment = os.environ | {
        "HTAV_DATA_DIR": str(settings.data_dir), "HTAV_MODEL": str(checkpoint), "HTAV_MIN_FREE_BYTES": "0",
        "HTAV_BATCH_CLIPS": "1",
    }  # fmt: skip
    return subprocess.Popen([sys.executable, "-m", "indexer.cli", "worker"], env=environment, stderr=subprocess.PIPE)


@pytest.mark.timeout(1800)  # real processes, on machines that may be busy
def test_a_killed_worker_is_replaced_and_the_job_done_once(
    settings: IndexSettings, known: Catalog, root: Path, tiny_checkpoint: Path
) -> None:
    """First SIGKILL in the middle of the job, then a second worker, stopped with SIGTERM when it is done."""
    for shade in range(3):
        seen(root / f"{shade}.mp4", seconds=30.0, shade=shade, fps=4)
    job = jobs.submit(known, [root])

    def settled() -> int:
        return sum(file.state is VideoState.READY for file in jobs.files(known, job))

    with start(settings, tiny_checkpoint) as first:
        wait_for(lambda: settled() >= 1 or first.poll() is not None)
        assert first.poll() is None, "it ended by itself"
        first.send_signal(signal.SIGKILL)
    with start(settings, tiny_checkpoint) as second:
        wait_for(lambda: jobs.get(known, job).state is JobState.DONE or second.poll() is not None)
        second.send_signal(signal.SIGTERM)
        assert second.wait(200) == 0
    row: Job = jobs.get(known, job)
    assert row.state is JobState.DONE and settled() == 3
    assert row.lease_token is None
