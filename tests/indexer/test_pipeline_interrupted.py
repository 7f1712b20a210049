"""Runs that are killed, cancelled, resumed, or meet another run: nothing is lost and nothing is there twice."""

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from indexer import failures, jobs, run
from indexer.catalog import Catalog
from indexer.config import IndexSettings
from indexer.lease import Lease
from indexer.pipeline import index_paths, run_job
from indexer.progress import IndexReport
from indexer.tables import Job, JobState
from indexer.worker import run_worker
from model import Retriever
from model.media import clip_windows
from tests.indexer.library_files import Bench, counts, ends_after, searchable, seen, stored, wait_for


def test_a_long_file_is_resumed_in_its_middle(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = seen(tmp_path / "film.mp4", seconds=60.0, fps=4)
    bench.settings = bench.settings.model_copy(update={"batch_clips": 1})
    monkeypatch.setattr(Retriever, "encode_clips", ends_after(3))
    with pytest.raises(SystemExit):
        bench.index(path)
    before = bench.clips()
    assert len(before) == 3
    monkeypatch.undo()
    report = bench.index(path)
    assert vars(report.counts) == counts(found=1, encoded=1)
    assert report.media_s < 40
    after = bench.clips()
    assert after[:3] == before and len(after) == len(clip_windows(bench.videos()["film.mp4"].duration_s or 0))


def test_a_run_that_is_stopped_stays_stopped(bench: Bench, library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that waits beside it finds nothing to go on with; the same command does."""

    def ctrl_c(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Retriever, "encode_clips", ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        bench.index(library)
    monkeypatch.undo()
    assert run_worker(bench.settings, once=True, load=lambda _: bench.retriever) == []
    with closing(Catalog.open(bench.settings)) as catalog:
        (job,) = jobs.list_jobs(catalog)
        assert (job.state, job.code) == (JobState.FAILED, "interrupted")
        assert not failures.failed_files(catalog)
    assert vars(bench.index(library).counts) == counts(found=3, encoded=3)


def test_stopping_a_run_that_waits_for_a_worker_stops_the_worker(
    bench: Bench, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[Lease | None] = []

    def beaten(catalog: Catalog, settings: IndexSettings, job_id: str) -> None:
        held.append(claim(catalog, settings, job_id))

    def ctrl_c(_: float) -> None:
        raise KeyboardInterrupt

    claim = jobs.claim
    monkeypatch.setattr("indexer.pipeline.jobs.claim", beaten)
    monkeypatch.setattr("indexer.pipeline.time.sleep", ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        bench.index(library)
    monkeypatch.undo()
    (lease,) = held
    assert lease is not None
    with closing(Catalog.open(bench.settings)) as catalog:
        assert jobs.get(catalog, lease.job_id).cancel_requested


def test_parts_of_a_long_file_come_from_several_children(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = seen(tmp_path / "film.mp4", seconds=60.0, fps=4)
    whole = Bench(bench.settings.model_copy(update={"data_dir": tmp_path / "whole"}), bench.retriever)
    whole.index(path)
    pairs = lambda windows: [windows[start : start + 2] for start in range(0, len(windows), 2)]  # noqa: E731
    monkeypatch.setattr("indexer.feed.parts", pairs)
    monkeypatch.setattr("indexer.decode.PART_S", 20.0)
    bench.index(path)
    assert bench.clips() == whole.clips()
    assert stored(bench) == stored(whole)


def test_a_job_that_is_cancelled_stops_and_keeps_what_it_has(
    bench: Bench, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Lease, "heartbeat", lambda lease: False)
    report = bench.index(library)
    assert report.cancelled
    with closing(Catalog.open(bench.settings)) as catalog:
        assert jobs.get(catalog, report.job_id).state is JobState.CANCELLED
    monkeypatch.undo()
    assert vars(bench.index(library).counts) == counts(found=3, encoded=3)


def test_two_runs_wait_for_each_other(bench: Bench, library: Path, retriever: Retriever) -> None:
    with closing(Catalog.open(bench.settings)):
        pass
    lock = (bench.settings.data_dir / "indexing.lock").open("a")
    fcntl.flock(lock, fcntl.LOCK_EX)
    results = []
    thread = threading.Thread(
        target=lambda: results.append(index_paths([library], bench.settings, retriever, bench.heard))
    )
    thread.start()
    wait_for(lambda: any("waiting" in note for note in bench.heard.notes))
    assert not results
    lock.close()
    thread.join(200)
    assert vars(results[0].counts) == counts(found=3, encoded=3)


def test_a_job_that_is_cancelled_while_it_waits_for_another_run_ends(bench: Bench, library: Path) -> None:
    reports: list[IndexReport] = []

    def wait(lease: Lease) -> None:
        reports.append(run_job(lease, bench.settings, catalog, bench.retriever, bench.heard))

    with closing(Catalog.open(bench.settings)) as catalog:
        job_id = jobs.submit(catalog, [library], options={"owner": True})
        lease = jobs.claim(catalog, bench.settings, job_id)
        assert lease is not None
        with (bench.settings.data_dir / "indexing.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            thread = threading.Thread(target=wait, args=(lease,))
            thread.start()
            wait_for(lambda: bench.heard.notes != [])
            assert jobs.cancel(catalog, job_id) is JobState.RUNNING
            thread.join(20)
            assert not thread.is_alive(), "it waits for the other run"
        assert jobs.get(catalog, job_id).state is JobState.CANCELLED
    assert [(report.job_id, report.cancelled) for report in reports] == [(job_id, True)]
    assert bench.heard.reports == reports


@pytest.mark.parametrize("step", ["scan", "publish"])
def test_no_worker_takes_a_job_whose_holder_scans_or_publishes_for_long(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    bench.settings = bench.settings.model_copy(update={"lease_s": 2.0})
    usual, claims = getattr(run, step), []

    def slow(*arguments: Any, **named: Any) -> Any:
        time.sleep(3.0)
        with closing(Catalog.open(bench.settings)) as catalog:
            claims.append(jobs.claim(catalog, bench.settings))
        return usual(*arguments, **named)

    monkeypatch.setattr(run, step, slow)
    assert vars(bench.index(seen(tmp_path / "a.mp4")).counts) == counts(found=1, encoded=1)
    assert set(claims) == {None}


def test_a_job_that_a_worker_took_first_is_waited_for(
    bench: Bench, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (library / "bad.mp4").write_bytes(b"no media" * 100)

    def beaten(catalog: Catalog, settings: IndexSettings, job_id: str) -> Lease | None:
        monkeypatch.undo()
        run_worker(settings, once=True, load=lambda _: bench.retriever)
        return jobs.claim(catalog, settings, job_id)

    monkeypatch.setattr("indexer.pipeline.jobs.claim", beaten)
    report = bench.index(library)
    assert vars(report.counts) == counts(found=4, encoded=3, failed=1)
    assert [failure.code for failure in report.failed] == ["damaged"] and report.took_s > 0 and report.snapshot


@pytest.mark.timeout(1800)  # three real processes, on machines that may be busy
def test_a_killed_run_is_completed_by_the_next_without_loss_or_duplicate(
    bench: Bench, tmp_path: Path, tiny_checkpoint: Path
) -> None:
    """SIGKILL for real, at three moments; the control is a run that was never killed."""
    folder = tmp_path / "library"
    folder.mkdir()
    for shade in range(6):
        seen(folder / f"{shade}.mp4", seconds=20.0, shade=shade, fps=4)
    for number in (1, 4, 9):
        kill_after(number, bench, folder, tiny_checkpoint)
    report = bench.index(folder)
    assert report.counts.found == 6 and report.counts.failed == 0
    control = Bench(bench.settings.model_copy(update={"data_dir": tmp_path / "control"}), bench.retriever)
    control.index(folder)
    assert bench.clips() == control.clips() and len(set(bench.clips())) == 18
    assert stored(bench) == stored(control)
    assert searchable(bench) == searchable(control)
    with closing(Catalog.open(bench.settings)) as catalog, catalog.session() as session:
        assert JobState.RUNNING not in set(session.scalars(select(Job.state)))


def kill_after(clips: int, bench: Bench, folder: Path, checkpoint: Path) -> None:
    """Start a run in a process of its own and kill it once so many clips are committed."""
    environment = os.environ | {
        "HTAV_DATA_DIR": str(bench.settings.data_dir), "HTAV_MODEL": str(checkpoint), "HTAV_MIN_FREE_BYTES": "0",
        "HTAV_BATCH_CLIPS": "1",
    }  # fmt: skip
    command = [sys.executable, "-m", "indexer.cli", "index", str(folder)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait_for(lambda: process.poll() is not None or len(committed(bench)) >= clips, 600)
        assert process.poll() is None, "the run ended before it could be killed"
        process.send_signal(signal.SIGKILL)


def committed(bench: Bench) -> list[Any]:
    import sqlite3

    path = bench.settings.data_dir / "catalog.db"
    if not path.exists():
        return []
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        try:
            return connection.execute("SELECT id FROM clip").fetchall()
        except sqlite3.OperationalError:
            return []
