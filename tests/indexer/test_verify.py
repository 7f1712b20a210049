"""`verify` finds every damaged byte and mends what can be mended; `gc` frees space and touches nothing else."""

import os
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, text

from indexer import jobs
from indexer.catalog import Catalog, Clip, Job, Segment, SegmentState, Video, VideoState, now
from indexer.config import IndexSettings
from indexer.errors import NothingIndexed
from indexer.gc import collect_garbage
from indexer.segments import SegmentFile, SegmentReader, segment_path, segments_dir
from indexer.snapshot import open_current
from indexer.snapshot_files import COARSE, MANIFEST, pointer_path, read_pointer, snapshot_dir, snapshot_folders
from indexer.verify import verify
from tests.index_samples import (
    FINGERPRINT,
    add_videos,
    clip_id,
    clips,
    coarse,
    fill,
    ident,
    release,
    set_state,
    tokens,
    writer,
)


@pytest.fixture
def indexed(settings: IndexSettings, catalog: Catalog) -> str:
    fill(settings, catalog, range(4))
    return release(settings, catalog)


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def only_segment(settings: IndexSettings) -> Path:
    (path,) = segments_dir(settings.data_dir).iterdir()
    return path


def problems(settings: IndexSettings, catalog: Catalog, *, repair: bool = True) -> list[tuple[str, str, bool]]:
    report = verify(settings, catalog, repair=repair)
    assert report.ok is (not report.problems)
    return [(problem.kind, problem.code, problem.repaired) for problem in report.problems]


def refill(settings: IndexSettings, catalog: Catalog, number: int) -> None:
    """What the pipeline does with a video that was queued again."""
    with writer(settings, catalog) as open_writer:
        open_writer.commit(ident(number), clips(number))
    set_state(catalog, number, VideoState.READY)


def assert_whole(settings: IndexSettings, catalog: Catalog, numbers: range) -> None:
    """Everything can be found and read, and verify has nothing to say."""
    assert problems(settings, catalog) == []
    release(settings, catalog)
    snapshot = open_current(settings.data_dir, catalog)
    assert set(snapshot.video_ids) == {ident(number) for number in numbers}
    for number in numbers:
        _, ids = snapshot.search(coarse(number, 1), 1)
        fetched = snapshot.fetch(ids)[0]
        assert fetched is not None and fetched.to_bytes() == tokens(number, 1).to_bytes()


@pytest.mark.usefixtures("indexed")
def test_a_sound_index_has_no_problems(settings: IndexSettings, catalog: Catalog) -> None:
    heard: list[str] = []
    report = verify(settings, catalog, on_progress=lambda what, _: heard.append(what))
    assert report.to_json() == {
        "ok": True,
        "checked": {"catalog": 1, "segments": 1, "clips": 12, "videos": 4, "snapshots": 1},
        "problems": [],
    }
    assert heard == list(report.checked)


@pytest.mark.usefixtures("indexed")
@pytest.mark.parametrize("record", ["offset", "coarse_offset"])
def test_a_damaged_record_is_found_and_its_video_indexed_again(
    settings: IndexSettings, catalog: Catalog, record: str
) -> None:
    damaged = clip_id(catalog, 2, 1)
    with catalog.session() as session:
        flip(only_segment(settings), getattr(session.get_one(Clip, damaged), record) + 9)
    report = verify(settings, catalog)
    assert report.to_json()["problems"] == [
        {"kind": "clip", "id": str(damaged), "code": "corrupt_record", "repaired": True}
    ]
    assert [job.paths for job in jobs.list_jobs(catalog)] == [["/media/2.mp4"]]
    refill(settings, catalog, 2)
    assert_whole(settings, catalog, range(4))


@pytest.mark.usefixtures("indexed")
def test_looking_only_changes_nothing(settings: IndexSettings, catalog: Catalog) -> None:
    flip(only_segment(settings), 100)
    flip(pointer_path(settings.data_dir), 5)
    expected = [("clip", "corrupt_record", False), ("pointer", "corrupt_pointer", False)]
    assert problems(settings, catalog, repair=False) == expected
    assert problems(settings, catalog, repair=False) == expected
    assert not jobs.list_jobs(catalog)


@pytest.mark.usefixtures("indexed")
def test_a_damaged_header_is_written_anew(settings: IndexSettings, catalog: Catalog) -> None:
    flip(only_segment(settings), 3)
    assert problems(settings, catalog) == [("segment", "corrupt_header", True)]
    assert_whole(settings, catalog, range(4))


@pytest.mark.usefixtures("indexed")
def test_a_truncated_segment_costs_only_what_it_lost(settings: IndexSettings, catalog: Catalog) -> None:
    path = only_segment(settings)
    os.truncate(path, path.stat().st_size - 10)
    assert problems(settings, catalog) == [("segment", "truncated_segment", True), ("clip", "corrupt_record", True)]
    refill(settings, catalog, 3)
    assert problems(settings, catalog) == [("segment", "truncated_segment", True)]  # until gc moves the rest away
    collect_garbage(settings, catalog)


@pytest.mark.usefixtures("indexed")
def test_a_lost_segment_queues_all_its_videos(settings: IndexSettings, catalog: Catalog) -> None:
    only_segment(settings).unlink()
    found = problems(settings, catalog)
    assert found[0] == ("segment", "missing_segment", True) and len(found) == 1 + 12
    for number in range(4):
        refill(settings, catalog, number)
    collect_garbage(settings, catalog)
    assert_whole(settings, catalog, range(4))


@pytest.mark.parametrize("name", [COARSE, MANIFEST])
def test_a_damaged_snapshot_is_rebuilt(settings: IndexSettings, catalog: Catalog, indexed: str, name: str) -> None:
    flip(snapshot_dir(settings.data_dir, indexed) / name, 60)
    assert problems(settings, catalog) == [("snapshot", "corrupt_snapshot", True)]
    assert open_current(settings.data_dir, catalog).id != indexed
    assert_whole(settings, catalog, range(4))


def test_a_lost_snapshot_is_rebuilt(settings: IndexSettings, catalog: Catalog, indexed: str) -> None:
    shutil.rmtree(snapshot_dir(settings.data_dir, indexed))
    assert problems(settings, catalog) == [("snapshot", "missing_snapshot", True)]
    assert_whole(settings, catalog, range(4))


def test_a_damaged_older_snapshot_is_dropped(settings: IndexSettings, catalog: Catalog, indexed: str) -> None:
    fill(settings, catalog, [4])
    newest = release(settings, catalog)
    flip(snapshot_dir(settings.data_dir, indexed) / COARSE, 60)
    assert problems(settings, catalog) == [("snapshot", "corrupt_snapshot", True)]
    assert snapshot_folders(settings.data_dir) == [newest]
    assert_whole(settings, catalog, range(5))


def test_a_damaged_pointer_is_rebuilt(settings: IndexSettings, catalog: Catalog, indexed: str) -> None:
    flip(pointer_path(settings.data_dir), 30)
    assert problems(settings, catalog) == [("pointer", "corrupt_pointer", True)]
    assert read_pointer(settings.data_dir).latest == indexed
    assert_whole(settings, catalog, range(4))


@pytest.mark.usefixtures("indexed")
def test_a_ready_video_without_clips_is_queued(settings: IndexSettings, catalog: Catalog) -> None:
    add_videos(catalog, [7])
    assert problems(settings, catalog) == [("video", "no_clips", True)]
    with catalog.session() as session:
        assert session.get_one(Video, ident(7)).state is VideoState.QUEUED


@pytest.mark.usefixtures("indexed")
def test_a_dangling_row_is_reported(settings: IndexSettings, catalog: Catalog) -> None:
    with catalog.engine.connect() as connection:
        raw = connection.connection.cursor()
        raw.execute("PRAGMA foreign_keys=OFF")
        raw.execute("DELETE FROM media_root")
        raw.execute("PRAGMA foreign_keys=ON")
    found = problems(settings, catalog)
    assert found and {problem[:2] for problem in found} == {("catalog", "dangling_row")}


def test_verify_works_on_either_database(any_settings: IndexSettings, any_catalog: Catalog) -> None:
    fill(any_settings, any_catalog, [0, 1])
    release(any_settings, any_catalog)
    flip(only_segment(any_settings), 100)
    assert problems(any_settings, any_catalog) == [("clip", "corrupt_record", True)]
    refill(any_settings, any_catalog, 0)
    assert_whole(any_settings, any_catalog, range(2))


def test_gc_of_a_tidy_index_frees_nothing(settings: IndexSettings, catalog: Catalog, indexed: str) -> None:
    assert set(collect_garbage(settings, catalog).to_json().values()) == {0}
    assert open_current(settings.data_dir, catalog).id == indexed


@pytest.mark.parametrize(("days", "forgotten"), [(29, 0), (31, 1)])
def test_a_missing_video_is_kept_thirty_days(
    settings: IndexSettings, catalog: Catalog, indexed: str, days: int, forgotten: int
) -> None:
    del indexed
    with catalog.transaction() as session:
        video = session.get_one(Video, ident(1))
        video.state, video.missing_since = VideoState.MISSING, now() - timedelta(days=days)
    report = collect_garbage(settings, catalog)
    assert (report.videos_forgotten, report.clips_dropped) == (forgotten, 3 * forgotten)
    with catalog.session() as session:
        assert (session.get(Video, ident(1)) is None) is bool(forgotten)
    assert open_current(settings.data_dir, catalog).videos == 3


@pytest.mark.usefixtures("indexed")
def test_a_deleted_video_leaves_its_name_and_nothing_else(settings: IndexSettings, catalog: Catalog) -> None:
    set_state(catalog, 1, VideoState.DELETED)
    assert collect_garbage(settings, catalog).clips_dropped == 3
    with catalog.session() as session:
        assert session.get_one(Video, ident(1)).state is VideoState.DELETED
        assert not session.scalars(select(Clip).where(Clip.video_id == ident(1))).all()
    assert problems(settings, catalog) == []


def test_a_half_empty_segment_is_compacted_under_a_reader(
    settings: IndexSettings, catalog: Catalog, indexed: str
) -> None:
    del indexed
    reader = open_current(settings.data_dir, catalog)
    old = only_segment(settings)
    for number in (0, 1, 3):
        set_state(catalog, number, VideoState.DELETED)
    report = collect_garbage(settings, catalog)
    assert report.segments_removed == 1 and report.bytes_freed > 0
    assert not old.exists() and only_segment(settings).stat().st_size < 2000
    kept = [clip_id(catalog, 2, ordinal) for ordinal in range(3)]
    fetched = reader.fetch(kept)
    assert [part and part.to_bytes() for part in fetched] == [tokens(2, ordinal).to_bytes() for ordinal in range(3)]
    assert reader.fetch([1]) == [None]
    assert problems(settings, catalog) == []


def test_a_read_that_meets_compaction_looks_again(
    settings: IndexSettings, catalog: Catalog, indexed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The records move between the look into the catalog and the read."""
    del indexed
    snapshot = open_current(settings.data_dir, catalog)
    original: Callable[..., object] = SegmentReader.read
    monkeypatch.setattr("indexer.gc.COMPACT_BELOW", 2.0)

    def read_late(self: SegmentReader, *args: object, **options: object) -> object:
        monkeypatch.setattr(SegmentReader, "read", original)
        collect_garbage(settings, catalog)
        return original(self, *args, **options)

    monkeypatch.setattr(SegmentReader, "read", read_late)
    assert None not in snapshot.fetch([clip_id(catalog, 0), clip_id(catalog, 3)])
    assert not jobs.list_jobs(catalog)


@pytest.mark.usefixtures("indexed")
def test_a_publication_that_meets_compaction_hides_nothing(
    settings: IndexSettings, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    original: Callable[..., object] = SegmentReader.read
    monkeypatch.setattr("indexer.gc.COMPACT_BELOW", 2.0)
    monkeypatch.setattr("indexer.gc.republish", lambda *_: None)  # gc is past what waits for other publishers
    monkeypatch.setattr("indexer.gc.publishing", lambda _: nullcontext())

    def read_late(self: SegmentReader, *args: object, **options: object) -> object:
        monkeypatch.setattr(SegmentReader, "read", original)
        collect_garbage(settings, catalog)
        return original(self, *args, **options)

    monkeypatch.setattr(SegmentReader, "read", read_late)
    release(settings, catalog, force=True)
    assert open_current(settings.data_dir, catalog).videos == 4
    assert not jobs.list_jobs(catalog)


@pytest.mark.usefixtures("indexed")
def test_compaction_leaves_a_busy_segment_and_quarantines_damage(settings: IndexSettings, catalog: Catalog) -> None:
    path = only_segment(settings)
    for number in (0, 1, 3):
        set_state(catalog, number, VideoState.DELETED)
    busy = SegmentFile.reopen(settings.data_dir, path.stem)
    assert busy is not None
    with busy:
        assert collect_garbage(settings, catalog).segments_removed == 0
    with catalog.session() as session:
        flip(path, session.get_one(Clip, clip_id(catalog, 2)).offset)
    collect_garbage(settings, catalog)
    with catalog.session() as session:
        assert session.get_one(Video, ident(2)).code == "corrupt_record"
    refill(settings, catalog, 2)
    assert problems(settings, catalog) == []


@pytest.mark.usefixtures("indexed")
def test_a_compaction_killed_before_the_unlink_is_finished(settings: IndexSettings, catalog: Catalog) -> None:
    with catalog.transaction() as session:
        row = session.scalars(select(Segment)).one()
        session.execute(text("DELETE FROM clip"))
        row.state = SegmentState.RETIRED
    assert collect_garbage(settings, catalog).segments_removed == 1
    assert not segment_path(settings.data_dir, row.id).exists()


@pytest.mark.usefixtures("indexed")
def test_old_models_go_only_when_asked(settings: IndexSettings, catalog: Catalog) -> None:
    fill(settings, catalog, range(4), fingerprint="new")
    release(settings, catalog, "new")
    assert collect_garbage(settings, catalog).clips_dropped == 0
    assert open_current(settings.data_dir, catalog, FINGERPRINT).clips == 12
    fill(settings, catalog, [0], fingerprint="newer")
    release(settings, catalog, "newer")
    for unfinished in ("newer", "newest"):
        with pytest.raises(NothingIndexed, match="not indexed all videos"):
            collect_garbage(settings, catalog, only=unfinished)
    release(settings, catalog, FINGERPRINT)  # as a service does that still runs the old model
    report = collect_garbage(settings, catalog, only="new")
    assert (report.clips_dropped, report.segments_removed, report.snapshots_removed) == (15, 2, 2)
    assert set(read_pointer(settings.data_dir).by_fingerprint) == {"new"}
    assert open_current(settings.data_dir, catalog, "new").clips == 12
    assert problems(settings, catalog) == []


@pytest.mark.usefixtures("indexed")
def test_housekeeping_never_takes_the_old_model_for_the_new_one(settings: IndexSettings, catalog: Catalog) -> None:
    """Only the old model's snapshot is out of date or damaged: making it anew must not make it the latest."""
    fill(settings, catalog, range(4), fingerprint="new")
    set_state(catalog, 1, VideoState.DELETED)
    newest = release(settings, catalog, "new")
    collect_garbage(settings, catalog)
    assert open_current(settings.data_dir, catalog, FINGERPRINT).videos == 3
    assert read_pointer(settings.data_dir).latest == newest
    flip(pointer_path(settings.data_dir), 30)
    assert problems(settings, catalog) == [("pointer", "corrupt_pointer", True)]
    assert read_pointer(settings.data_dir).latest == newest, "also where the pointer is made from what lies on disk"
    old = read_pointer(settings.data_dir).by_fingerprint[FINGERPRINT]
    flip(snapshot_dir(settings.data_dir, old) / COARSE, 60)
    assert problems(settings, catalog) == [("snapshot", "corrupt_snapshot", True)]
    assert read_pointer(settings.data_dir).latest == newest
    collect_garbage(settings, catalog, only="new")
    assert set(read_pointer(settings.data_dir).by_fingerprint) == {"new"}
    assert open_current(settings.data_dir, catalog, "new").clips == 9


@pytest.mark.usefixtures("indexed")
def test_who_goes_back_to_a_model_makes_it_the_latest_again(settings: IndexSettings, catalog: Catalog) -> None:
    before = read_pointer(settings.data_dir).latest
    fill(settings, catalog, range(4), fingerprint="new")
    release(settings, catalog, "new")
    assert release(settings, catalog, FINGERPRINT) == before, "nothing is made anew"
    assert read_pointer(settings.data_dir).latest == before
    collect_garbage(settings, catalog, only=FINGERPRINT)
    assert set(read_pointer(settings.data_dir).by_fingerprint) == {FINGERPRINT}


def test_old_jobs_are_forgotten(settings: IndexSettings, catalog: Catalog) -> None:
    old, fresh, waiting = (jobs.submit(catalog, ["/x"]) for _ in range(3))
    for job_id in (old, fresh):
        jobs.cancel(catalog, job_id)
    with catalog.transaction() as session:
        session.get_one(Job, old).finished_at = now() - timedelta(days=40)
    assert collect_garbage(settings, catalog).jobs_forgotten == 1
    assert {job.id for job in jobs.list_jobs(catalog)} == {fresh, waiting}
