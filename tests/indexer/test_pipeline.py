"""The run from files to a snapshot: what is encoded, what is left alone, what is told, and what survives a kill."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select

from indexer import failures, jobs
from indexer.catalog import Catalog
from indexer.config import IndexSettings
from indexer.decode import Decoder, FileFailed
from indexer.errors import InsufficientStorage, NothingToIndex, PathNotFound
from indexer.lease import Lease
from indexer.pipeline import index_paths
from indexer.snapshot import open_current
from indexer.tables import Job, JobState, VideoState
from indexer.worker import run_worker
from model import Retriever
from model.media import clip_windows
from tests.indexer.library_files import Bench, cut, heard, seen, seen_and_heard, small_library


@pytest.fixture(scope="module")
def retriever(tiny_checkpoint: Path) -> Retriever:
    return Retriever.from_pretrained(tiny_checkpoint)


@pytest.fixture
def bench(settings: IndexSettings, retriever: Retriever) -> Bench:
    return Bench(settings, retriever)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small library, made once; tests work on copies."""
    return small_library(tmp_path_factory.mktemp("made") / "library")


@pytest.fixture
def library(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "library"))


def counts(**changed: int) -> dict[str, int]:
    names = ("found", "encoded", "unchanged", "duplicate", "partial", "failed", "missing")
    return dict.fromkeys(names, 0) | changed


def searchable(bench: Bench) -> dict[str, int]:
    """Video id -> clips of the published snapshot."""
    with closing(Catalog.open(bench.settings)) as catalog:
        snapshot = open_current(bench.settings.data_dir, catalog, bench.retriever.fingerprint)
        vector = np.ones(3 * bench.retriever.config.width, np.float32)
        _, ids = snapshot.search(vector, 1000)
        rows = snapshot.clip_rows([int(one) for one in ids if one >= 0])
        assert all(tokens is not None for tokens in snapshot.fetch([row.clip_id for row in rows]))
        found: dict[str, int] = {}
        for row in rows:
            found[row.video_id] = found.get(row.video_id, 0) + 1
        return found


def test_a_library_is_indexed_whole_and_once(bench: Bench, library: Path) -> None:
    first = bench.index(library)
    assert vars(first.counts) == counts(found=3, encoded=3)
    assert first.media_s == pytest.approx(24.0, abs=0.3) and first.realtime_factor > 0 and first.failed == []
    videos = bench.videos()
    assert {name: (video.state, video.has_video, video.has_audio) for name, video in videos.items()} == {
        "long.mp4": (VideoState.READY, True, False),
        "both.mp4": (VideoState.READY, True, True),
        "below/voice.wav": (VideoState.READY, False, True),
    }
    assert videos["both.mp4"].title == "both"
    assert videos["long.mp4"].duration_s == pytest.approx(20.0, abs=0.2)
    spans = [(start, end) for video, _, start, end in bench.clips() if video == videos["long.mp4"].id]
    assert spans == clip_windows(videos["long.mp4"].duration_s or 0)
    assert searchable(bench) == {video.id: 3 if name == "long.mp4" else 1 for name, video in videos.items()}

    clips = bench.clips()
    second = bench.index(library)
    assert vars(second.counts) == counts(found=3, unchanged=3)
    assert second.snapshot == first.snapshot and bench.clips() == clips and bench.heard.events == []


def test_a_file_goes_through_the_states_in_order(bench: Bench, library: Path) -> None:
    bench.settings = bench.settings.model_copy(update={"batch_clips": 1})
    bench.index(library / "long.mp4")
    names = ["probing", "decoding", "encoding", "committing", "ready"]
    assert [state.value for state in bench.heard.states(str(library / "long.mp4"))] == names


def test_the_job_tells_the_story(bench: Bench, library: Path) -> None:
    (library / "bad.mp4").write_bytes(b"no media" * 100)
    report = bench.index(library)
    with closing(Catalog.open(bench.settings)) as catalog:
        job = jobs.get(catalog, report.job_id)
        assert (job.state, job.snapshot_id, job.counts) == (
            JobState.DONE_WITH_FAILURES, report.snapshot, vars(report.counts),
        )  # fmt: skip
        states = {file.path: (file.state, file.in_hand) for file in jobs.files(catalog, report.job_id)}
        assert states["bad.mp4"] == (VideoState.FAILED, False)
        assert states["long.mp4"] == (VideoState.READY, False)
        kinds = [event.kind for event in jobs.events(catalog, report.job_id)]
        assert kinds[0] == "state" and kinds[-1] == "state" and "scanned" in kinds and kinds.count("file") > 8


def test_the_report_is_the_promised_document(bench: Bench, library: Path) -> None:
    (library / "bad.mp4").write_bytes(b"no media" * 100)
    document = bench.index(library).to_json()
    assert json.loads(json.dumps(document)) == document
    assert list(document) == ["job_id", "snapshot", "took_s", "media_s", "realtime_factor", "counts", "failed"]
    assert list(document["counts"]) == ["found", "encoded", "unchanged", "duplicate", "partial", "failed", "missing"]
    (failure,) = document["failed"]
    assert list(failure) == ["uri", "code", "message", "attempts"]
    assert failure["uri"] == str(library / "bad.mp4") and failure["code"] == "damaged" and failure["attempts"] == 1


def test_one_bad_file_stops_nothing_and_is_listed_with_its_code(bench: Bench, library: Path) -> None:
    (library / "empty.mp4").write_bytes(b"")
    (library / "words.mkv").write_text("these are words, not a film " * 50)
    os.mkfifo(library / "pipe.mp4")
    report = bench.index(library)
    assert vars(report.counts) == counts(found=6, encoded=3, failed=3)
    codes = {Path(failure.uri).name: failure.code for failure in report.failed}
    assert codes == {"empty.mp4": "empty", "words.mkv": "damaged", "pipe.mp4": "not_a_file"}
    assert vars(bench.index(library).counts) == counts(found=6, unchanged=3, failed=3)
    shutil.copy(library / "both.mp4", library / "empty.mp4")  # a mended file is tried again
    assert bench.index(library).counts.failed == 2


def test_copies_are_one_video_and_renames_are_seen(bench: Bench, library: Path) -> None:
    bench.index(library)
    clips = bench.clips()
    shutil.copy(library / "both.mp4", library / "copy.mp4")
    (library / "long.mp4").rename(library / "renamed.mp4")
    report = bench.index(library)
    assert vars(report.counts) == counts(found=4, unchanged=3, duplicate=1)
    assert bench.clips() == clips
    videos = bench.videos()
    assert videos["copy.mp4"].id == videos["both.mp4"].id and len(videos["copy.mp4"].uris) == 2
    assert videos["renamed.mp4"].id == videos["long.mp4"].id
    assert videos["renamed.mp4"].state is VideoState.READY


def test_copies_in_one_run_are_encoded_once(bench: Bench, tmp_path: Path) -> None:
    folder = tmp_path / "library"
    folder.mkdir()
    seen(folder / "a.mp4")
    for name in ("b.mp4", "c.mp4"):
        shutil.copy(folder / "a.mp4", folder / name)
    assert vars(bench.index(folder).counts) == counts(found=3, encoded=1, duplicate=2)
    assert len(bench.clips()) == 1 and len(bench.videos()["a.mp4"].uris) == 3


def test_a_touched_file_is_not_encoded_and_a_changed_one_is(bench: Bench, library: Path) -> None:
    bench.index(library)
    old = bench.videos()["both.mp4"].id
    os.utime(library / "long.mp4", (1, 1))
    assert vars(bench.index(library).counts) == counts(found=3, unchanged=3)
    seen(library / "both.mp4", shade=30)
    report = bench.index(library)
    assert vars(report.counts) == counts(found=3, encoded=1, unchanged=2)
    new = bench.videos()["both.mp4"].id
    assert new != old and new in searchable(bench) and old not in searchable(bench)


def test_a_file_that_is_gone_is_missing_and_back_at_once(bench: Bench, library: Path, tmp_path: Path) -> None:
    bench.index(library)
    clips = bench.clips()
    (library / "both.mp4").rename(tmp_path / "aside.mp4")
    report = bench.index(library)
    assert vars(report.counts) == counts(found=2, unchanged=2, missing=1)
    assert bench.videos()["both.mp4"].state is VideoState.MISSING
    assert len(searchable(bench)) == 2
    (tmp_path / "aside.mp4").rename(library / "both.mp4")
    assert vars(bench.index(library).counts) == counts(found=3, unchanged=3)
    assert bench.videos()["both.mp4"].state is VideoState.READY
    assert len(searchable(bench)) == 3 and bench.clips() == clips


def test_indexing_another_folder_hides_nothing(bench: Bench, library: Path, tmp_path: Path) -> None:
    bench.index(library)
    shutil.rmtree(library)
    other = tmp_path / "other"
    other.mkdir()
    seen(other / "x.mp4", shade=5)
    assert bench.index(other).counts.missing == 0
    assert bench.videos()["both.mp4"].state is VideoState.READY
    assert bench.index(library).counts.missing == 3


def test_a_cut_file_is_partial_above_a_half_and_failed_below(bench: Bench, tmp_path: Path) -> None:
    folder = tmp_path / "library"
    folder.mkdir()
    noise = np.random.default_rng(3)
    from tests.media_files import write_media

    for name, share in (("most.mkv", 0.7), ("little.mkv", 0.3)):
        path = write_media(
            folder / name, seconds=14.0, fps=8, size=(64, 48),
            picture=lambda _: noise.integers(0, 255, (48, 64, 3), np.uint8),
        )  # fmt: skip
        cut(path, share)
    report = bench.index(folder)
    assert vars(report.counts) == counts(found=2, partial=1, failed=1)
    most = bench.videos()["most.mkv"]
    assert (most.state, most.code) == (VideoState.PARTIAL, "truncated")
    assert most.duration_s == pytest.approx(9.8, abs=0.5)
    assert [failure.code for failure in report.failed] == ["truncated"]
    assert searchable(bench) == {most.id: 1}
    assert vars(bench.index(folder).counts)["unchanged"] == 1


def test_a_file_that_kills_its_decoder_costs_three_attempts_and_no_more(
    bench: Bench, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []
    probe = Decoder.probe

    def deadly(decoder: Decoder, path: Path) -> Any:
        tried.append(path.name)
        if path.name == "both.mp4":
            raise FileFailed("decoder_crashed", "The decoder died (SIGSEGV).")
        return probe(decoder, path)

    monkeypatch.setattr(Decoder, "probe", deadly)
    report = bench.index(library)
    assert vars(report.counts) == counts(found=3, encoded=2, failed=1)
    assert report.failed[0].attempts == 3 and tried.count("both.mp4") == 3
    assert bench.videos()["both.mp4"].state is VideoState.FAILED
    bench.index(library)
    assert tried.count("both.mp4") == 3
    monkeypatch.undo()
    assert vars(bench.index(library, retry=True).counts) == counts(found=3, encoded=1, unchanged=2)


def test_copies_of_a_bad_file_fail_alike(bench: Bench, tmp_path: Path) -> None:
    folder = tmp_path / "library"
    folder.mkdir()
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        (folder / name).write_bytes(b"no media" * 100)
    report = bench.index(folder)
    assert vars(report.counts) == counts(found=3, failed=3)
    assert {(Path(failure.uri).name, failure.code) for failure in report.failed} == {
        ("a.mp4", "damaged"), ("b.mp4", "damaged"), ("c.mp4", "damaged"),
    }  # fmt: skip


def test_a_file_that_goes_while_it_waits_is_missing_not_failed(
    bench: Bench, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = Decoder.probe

    def too_late(decoder: Decoder, path: Path) -> Any:
        (library / "both.mp4").unlink(missing_ok=True)
        return probe(decoder, path)

    monkeypatch.setattr(Decoder, "probe", too_late)
    report = bench.index(library)
    assert vars(report.counts) == counts(found=2, encoded=2, missing=1) and report.failed == []
    assert bench.videos()["both.mp4"].state is VideoState.MISSING


def test_a_file_that_changes_while_it_is_read_is_not_taken_for_what_it_was(
    bench: Bench, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = Decoder.probe

    def swapped(decoder: Decoder, path: Path) -> Any:
        if path.name == "both.mp4":
            seen(path, shade=40)
        return probe(decoder, path)

    monkeypatch.setattr(Decoder, "probe", swapped)
    report = bench.index(library)
    assert vars(report.counts) == counts(found=3, encoded=2, failed=1)
    assert (report.failed[0].code, report.failed[0].attempts) == ("changed", 0)
    assert bench.videos()["both.mp4"].id not in searchable(bench)
    monkeypatch.undo()
    assert vars(bench.index(library).counts) == counts(found=3, encoded=1, unchanged=2)


def test_a_clip_that_cannot_be_encoded_fails_its_own_file_alone(
    bench: Bench, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.settings = bench.settings.model_copy(update={"batch_clips": 8})
    encode = Retriever.encode_clips

    def poisoned(retriever: Retriever, clips: list[Any]) -> Any:
        if any(clip.frames is None for clip in clips):
            raise RuntimeError("a poisoned clip")
        return encode(retriever, clips)

    monkeypatch.setattr(Retriever, "encode_clips", poisoned)
    report = bench.index(library)
    assert vars(report.counts) == counts(found=3, encoded=2, failed=1)
    assert (report.failed[0].code, Path(report.failed[0].uri).name) == ("encode_failed", "voice.wav")


def test_a_long_file_is_resumed_in_its_middle(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = seen(tmp_path / "film.mp4", seconds=60.0, fps=4)
    bench.settings = bench.settings.model_copy(update={"batch_clips": 1})
    encode, done = Retriever.encode_clips, []

    def dying(retriever: Retriever, clips: list[Any]) -> Any:
        if len(done) == 3:
            raise SystemExit
        done.append(clips[0].audio_start_s)
        return encode(retriever, clips)

    monkeypatch.setattr(Retriever, "encode_clips", dying)
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


def stored(bench: Bench) -> list[bytes]:
    """The token records of all clips, in the order of the files."""
    with closing(Catalog.open(bench.settings)) as catalog:
        snapshot = open_current(bench.settings.data_dir, catalog, bench.retriever.fingerprint)
        _, ids = snapshot.search(np.ones(3 * bench.retriever.config.width, np.float32), 1000)
        rows = sorted(
            snapshot.clip_rows([int(one) for one in ids if one >= 0]), key=lambda row: (row.video_id, row.start_s)
        )
        sets = snapshot.fetch([row.clip_id for row in rows])
        return [tokens.to_bytes() for tokens in sets if tokens is not None]


def test_names_titles_and_texts_change_nothing_that_is_scored(bench: Bench, made: Path, tmp_path: Path) -> None:
    """Pixels and sound alone: a renamed copy, without its manifest, gives the same bytes."""
    renamed = tmp_path / "renamed"
    renamed.mkdir()
    for index, path in enumerate(sorted(made.rglob("*.*"))):
        if path.suffix in (".mp4", ".wav"):
            shutil.copy(path, renamed / f"{index}{path.suffix}")
    # one clip at a time: the order of files, and so who shares a batch, moves the last bits of a float
    bench = Bench(bench.settings.model_copy(update={"batch_clips": 1}), bench.retriever)
    other = Bench(bench.settings.model_copy(update={"data_dir": tmp_path / "other"}), bench.retriever)
    bench.index(made)
    other.index(renamed)
    assert stored(bench) == stored(other) and len(stored(bench)) == 5


def test_a_new_model_is_indexed_beside_the_old(bench: Bench, library: Path) -> None:
    bench.index(library)
    old, before = searchable(bench), len(bench.clips())
    newer = Bench(bench.settings, Retriever.from_preset("tiny", seed=11))
    report = newer.index(library)
    assert vars(report.counts) == counts(found=3, encoded=3)
    assert searchable(newer) == old == searchable(bench) and len(bench.clips()) == 2 * before


def test_no_room_on_the_disk_fails_the_run_and_no_file(bench: Bench, library: Path) -> None:
    full = bench.settings.model_copy(update={"min_free_bytes": 1 << 60})
    with pytest.raises(InsufficientStorage):
        bench.index(library, settings=full)
    with closing(Catalog.open(bench.settings)) as catalog:
        assert [job.code for job in jobs.list_jobs(catalog)] == ["insufficient_storage"]
        assert failures.failed_files(catalog) == []
    assert vars(bench.index(library).counts) == counts(found=3, encoded=3)


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


def test_a_folder_without_media_and_a_path_that_is_not_there_are_errors(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "notes.txt").write_text("nothing to see")
    with pytest.raises(NothingToIndex):
        bench.index(tmp_path / "bare")
    with pytest.raises(PathNotFound):
        bench.index(tmp_path / "nowhere")


def test_a_deleted_video_stays_deleted_until_its_file_is_asked_for(bench: Bench, library: Path) -> None:
    bench.index(library)
    with closing(Catalog.open(bench.settings)) as catalog, catalog.transaction() as session:
        from indexer.tables import Video

        video = session.get_one(Video, bench.videos()["both.mp4"].id)
        video.state = VideoState.DELETED
    assert vars(bench.index(library).counts) == counts(found=3, unchanged=3)
    assert bench.videos()["both.mp4"].state is VideoState.DELETED
    bench.index(library / "both.mp4")
    assert bench.videos()["both.mp4"].state is VideoState.READY


def test_two_runs_wait_for_each_other(bench: Bench, library: Path, retriever: Retriever) -> None:
    import fcntl
    import threading

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


def wait_for(condition: Callable[[], bool], seconds: float = 200.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


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


def test_heard_and_seen_share_a_batch_without_mixing(bench: Bench, tmp_path: Path) -> None:
    folder = tmp_path / "library"
    folder.mkdir()
    seen(folder / "a.mp4")
    heard(folder / "b.wav")
    seen_and_heard(folder / "c.mp4", hertz=880.0)
    together = bench.index(folder)
    alone = Bench(bench.settings.model_copy(update={"data_dir": tmp_path / "alone", "batch_clips": 1}), bench.retriever)
    alone.index(folder)
    assert together.counts.encoded == 3
    for left, right in zip(tokens(bench), tokens(alone), strict=True):
        assert left.video.shape == right.video.shape and left.audio.shape == right.audio.shape
        assert np.abs(left.video.astype(int) - right.video).max(initial=0) <= 1
        assert np.abs(left.audio.astype(int) - right.audio).max(initial=0) <= 1


def tokens(bench: Bench) -> list[Any]:
    from model.tokens import TokenSet

    return [TokenSet.from_bytes(record) for record in stored(bench)]
