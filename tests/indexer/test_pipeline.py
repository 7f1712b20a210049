"""The run from files to a snapshot: what is encoded, what is left alone, what is told."""

import json
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from indexer import failures, jobs
from indexer.catalog import Catalog
from indexer.tables import JobState, VideoState
from model import Retriever
from model.media import clip_windows
from tests.indexer.library_files import Bench, counts, heard, searchable, seen, seen_and_heard, stored


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


def test_looking_for_what_is_gone_keeps_nobody_from_writing(
    bench: Bench, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (library / "bad.mp4").write_bytes(b"no media" * 100)
    bench.index(library)
    looked: list[str] = []
    lexists = os.path.lexists

    def looking(path: Path) -> bool:
        with closing(sqlite3.connect(bench.settings.data_dir / "catalog.db", timeout=0)) as other:
            other.execute("BEGIN IMMEDIATE")
        looked.append(path.name)
        return lexists(path)

    (library / "both.mp4").unlink()
    (library / "bad.mp4").unlink()
    monkeypatch.setattr("indexer.library.os.path.lexists", looking)
    assert vars(bench.index(library).counts) == counts(found=2, unchanged=2, missing=2)
    assert set(looked) == {"bad.mp4", "both.mp4", "long.mp4", "voice.wav"}
    with closing(Catalog.open(bench.settings)) as catalog:
        assert failures.failed_files(catalog) == []


def test_indexing_another_folder_hides_nothing(bench: Bench, library: Path, tmp_path: Path) -> None:
    bench.index(library)
    shutil.rmtree(library)
    other = tmp_path / "other"
    other.mkdir()
    seen(other / "x.mp4", shade=5)
    assert bench.index(other).counts.missing == 0
    assert bench.videos()["both.mp4"].state is VideoState.READY
    assert bench.index(library).counts.missing == 3


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
