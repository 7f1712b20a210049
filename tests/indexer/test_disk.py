"""What a disk does to an index: one that is away takes nothing with it, a block that cannot be read costs its clips."""

import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from indexer import jobs
from indexer.catalog import Catalog
from indexer.config import IndexSettings
from indexer.errors import IndexCorrupt
from indexer.gc import collect_garbage
from indexer.recovery import recover, require_segments
from indexer.sealed import check_blocks, read_sealed
from indexer.segments import is_readable, segment_path, segments_dir
from indexer.snapshot import Snapshot, open_current
from indexer.snapshot_files import MANIFEST, pointer_path, snapshot_dir, snapshot_folders
from indexer.tables import Clip, JobState, Segment, Video, VideoState
from indexer.verify import verify
from tests.index_samples import add_videos, clip_id, clips, coarse, fill, ident, release, set_state, writer
from tests.indexer.library_files import Bench, seen

UNREADABLE = Path("/proc/self/mem")  # its first block gives EIO, as a broken disk does


def everything(catalog: Catalog) -> tuple[int, ...]:
    """How many segments, clips and searchable videos the catalog knows."""
    with catalog.session() as session:
        ready = select(func.count()).select_from(Video).where(Video.state == VideoState.READY)
        counted = (select(func.count()).select_from(table) for table in (Segment, Clip))
        return tuple(session.scalar(query) or 0 for query in (*counted, ready))


# A disk that is away


def mount_point(segments: Path) -> None:
    segments.mkdir()


def link_to_nowhere(segments: Path) -> None:
    segments.symlink_to(segments.with_name("no such disk"))


def search(settings: IndexSettings, catalog: Catalog, snapshot: Snapshot) -> Any:  # noqa: ARG001
    return snapshot.fetch(snapshot.search(coarse(1, 0), 3)[1])


def search_alike(settings: IndexSettings, catalog: Catalog, snapshot: Snapshot) -> Any:  # noqa: ARG001
    return snapshot.coarse_vectors(snapshot.clips_of([ident(1)]))


def publication(settings: IndexSettings, catalog: Catalog, snapshot: Snapshot) -> Any:  # noqa: ARG001
    return release(settings, catalog)


def collection(settings: IndexSettings, catalog: Catalog, snapshot: Snapshot) -> Any:  # noqa: ARG001
    return collect_garbage(settings, catalog)


def first_write(settings: IndexSettings, catalog: Catalog, snapshot: Snapshot) -> Any:  # noqa: ARG001
    with writer(settings, catalog) as open_writer:
        return open_writer.commit(ident(9), clips(9))


def compaction_begun_before(settings: IndexSettings, catalog: Catalog, snapshot: Snapshot) -> Any:  # noqa: ARG001
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("indexer.gc.COMPACT_BELOW", 2.0)
        patch.setattr("indexer.gc.recover", lambda *_: 0)
        patch.setattr("indexer.gc.republish", lambda *_: "")
        return collect_garbage(settings, catalog)


@pytest.mark.parametrize("left", [mount_point, link_to_nowhere])
@pytest.mark.parametrize(
    "attempt", [search, search_alike, publication, collection, first_write, compaction_begun_before]
)
def test_while_the_segments_disk_is_away_nothing_is_given_up(
    settings: IndexSettings,
    catalog: Catalog,
    attempt: Callable[[IndexSettings, Catalog, Snapshot], Any],
    left: Callable[[Path], None],
) -> None:
    fill(settings, catalog, range(4))
    release(settings, catalog)
    add_videos(catalog, [9], VideoState.QUEUED)
    snapshot, pointer = open_current(settings.data_dir, catalog), pointer_path(settings.data_dir)
    before, pointed = everything(catalog), pointer.read_bytes()
    segments, elsewhere = segments_dir(settings.data_dir), settings.data_dir / "elsewhere"
    segments.rename(elsewhere)
    left(segments)
    with pytest.raises(IndexCorrupt, match="mounted"):
        attempt(settings, catalog, snapshot)
    assert everything(catalog) == before and pointer.read_bytes() == pointed
    assert not segments.is_dir() or not list(segments.iterdir()), "what is written there vanishes under the mount"
    segments.rmdir() if segments.is_dir() else segments.unlink()
    elsewhere.rename(segments)
    assert recover(settings.data_dir, catalog) == 0
    assert None not in snapshot.fetch(snapshot.clip_ids) and verify(settings, catalog).ok


def test_a_run_that_finds_no_disk_ends_its_job(bench: Bench, tmp_path: Path) -> None:
    library = tmp_path / "library"
    library.mkdir()
    seen(library / "a.mp4")
    bench.index(library)
    segments_dir(bench.settings.data_dir).rename(tmp_path / "elsewhere")
    seen(library / "b.mp4", shade=1)
    with pytest.raises(IndexCorrupt, match="mounted"):
        bench.index(library)
    with closing(Catalog.open(bench.settings)) as catalog:
        job = jobs.list_jobs(catalog)[0]
    assert (job.state, job.code) == (JobState.FAILED, "index_corrupt")
    (tmp_path / "elsewhere").rename(segments_dir(bench.settings.data_dir))
    assert bench.index(library).counts.encoded == 1


def test_compaction_between_two_looks_is_no_lost_disk(
    settings: IndexSettings, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(settings, catalog, [0])
    release(settings, catalog)
    monkeypatch.setattr("indexer.gc.COMPACT_BELOW", 2.0)

    def look_late(*args: Any) -> bool:
        monkeypatch.setattr("indexer.recovery.is_readable", is_readable)
        assert collect_garbage(settings, catalog).segments_removed == 1
        return is_readable(*args)

    monkeypatch.setattr("indexer.recovery.is_readable", look_late)
    require_segments(settings.data_dir, catalog)


def test_a_catalog_without_clips_misses_no_segment(settings: IndexSettings, catalog: Catalog) -> None:
    """As docs/operations.md has it for a lost folder."""
    fill(settings, catalog, [0, 1])
    release(settings, catalog)
    segments_dir(settings.data_dir).rename(settings.data_dir / "elsewhere")
    with catalog.transaction() as session:
        session.query(Clip).delete()
    fill(settings, catalog, [0, 1])
    release(settings, catalog)
    assert open_current(settings.data_dir, catalog).clips == 6


# A block that cannot be read


def lose(path: Path) -> None:
    path.unlink()


def cannot_be_read(path: Path) -> None:
    path.unlink()
    path.symlink_to(UNREADABLE)


@pytest.fixture
def two_segments(settings: IndexSettings, catalog: Catalog) -> list[Path]:
    """Videos 0 and 1 in one, video 2 in the other; published."""
    add_videos(catalog, range(3))
    with writer(settings, catalog) as first, writer(settings, catalog) as second:
        first.commit(ident(0), clips(0))
        first.commit(ident(1), clips(1))
        second.commit(ident(2), clips(2))
    release(settings, catalog)
    with catalog.session() as session:
        owners = [session.get_one(Clip, clip_id(catalog, number)).segment_id for number in (0, 2)]
    return [segment_path(settings.data_dir, segment_id) for segment_id in owners]


def look(settings: IndexSettings, catalog: Catalog) -> None:
    snapshot = open_current(settings.data_dir, catalog)
    wanted = snapshot.clips_of([ident(1), ident(2)])
    assert [part is None for part in snapshot.fetch(wanted)] == [False] * 3 + [True] * 3


def check(settings: IndexSettings, catalog: Catalog) -> None:
    found = verify(settings, catalog).problems
    assert [problem.code for problem in found if problem.kind == "clip"] == ["corrupt_record"] * 3
    assert all(problem.repaired for problem in found)


def publish_anew(settings: IndexSettings, catalog: Catalog) -> None:
    release(settings, catalog)


def tidy(settings: IndexSettings, catalog: Catalog) -> None:
    collect_garbage(settings, catalog)


@pytest.mark.parametrize("damage", [lose, cannot_be_read])
@pytest.mark.parametrize("meet", [look, check, publish_anew, tidy])
def test_a_segment_that_cannot_be_read_costs_its_own_clips(
    settings: IndexSettings,
    catalog: Catalog,
    two_segments: list[Path],
    meet: Callable[[IndexSettings, Catalog], None],
    damage: Callable[[Path], None],
) -> None:
    damage(two_segments[1])
    meet(settings, catalog)
    with catalog.session() as session:
        video = session.get_one(Video, ident(2))
        assert (video.state, video.code) == (VideoState.QUEUED, "corrupt_record")
    release(settings, catalog)
    assert open_current(settings.data_dir, catalog).video_ids == sorted([ident(0), ident(1)])
    with writer(settings, catalog) as open_writer:
        open_writer.commit(ident(2), clips(2))
    set_state(catalog, 2, VideoState.READY)
    collect_garbage(settings, catalog)
    assert verify(settings, catalog).ok
    snapshot = open_current(settings.data_dir, catalog)
    assert snapshot.videos == 3 and None not in snapshot.fetch(snapshot.clip_ids)


def test_a_snapshot_that_cannot_be_read_gives_way_to_the_one_before(settings: IndexSettings, catalog: Catalog) -> None:
    fill(settings, catalog, [0])
    first = release(settings, catalog)
    fill(settings, catalog, [1])
    second = release(settings, catalog)
    cannot_be_read(snapshot_dir(settings.data_dir, second) / MANIFEST)
    assert open_current(settings.data_dir, catalog).id == first
    assert [problem.code for problem in verify(settings, catalog).problems] == ["corrupt_snapshot"]
    assert open_current(settings.data_dir, catalog).clips == 6
    newest = snapshot_folders(settings.data_dir)[-1]
    cannot_be_read(pointer_path(settings.data_dir))
    assert open_current(settings.data_dir, catalog).id == newest
    assert [problem.code for problem in verify(settings, catalog).problems] == ["corrupt_pointer"]
    assert verify(settings, catalog).ok


def test_only_what_the_disk_cannot_read_is_damage(tmp_path: Path, settings: IndexSettings, catalog: Catalog) -> None:
    """What is not there, or cannot be opened now, is an error of that name."""
    with pytest.raises(IndexCorrupt, match="cannot be read"):
        check_blocks(UNREADABLE, {"size": 0, "block": 64, "digests": ["0"]})
    with pytest.raises(FileNotFoundError):
        read_sealed(tmp_path / "none")
    with pytest.raises(IsADirectoryError):
        read_sealed(tmp_path)
    fill(settings, catalog, [0])
    release(settings, catalog)
    snapshot = open_current(settings.data_dir, catalog)
    (segment,) = segments_dir(settings.data_dir).iterdir()
    os.replace(segment, aside := tmp_path / "aside")
    segment.symlink_to(segment)
    with pytest.raises(OSError, match="Too many levels"):
        snapshot.fetch(snapshot.clip_ids)
    segment.unlink()
    aside.rename(segment)
    assert None not in snapshot.fetch(snapshot.clip_ids)
