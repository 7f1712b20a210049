"""A search runs on exactly one published state; what is hidden stays hidden; damage is noticed and survived."""

import operator
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import indexer.snapshot
from indexer.catalog import Catalog, Clip, SnapshotRow, Video, VideoState
from indexer.config import IndexSettings
from indexer.errors import IndexCorrupt, NothingIndexed
from indexer.jobs import list_jobs
from indexer.sealed import read_sealed, replace_durable, seal
from indexer.segments import segments_dir
from indexer.snapshot import CurrentSnapshot, Snapshot, open_current, open_snapshot
from indexer.snapshot_files import (
    CLIPS,
    COARSE,
    MANIFEST,
    READINGS,
    VIDEOS,
    pointer_path,
    snapshot_dir,
    snapshot_folders,
)
from tests.index_samples import (
    FINGERPRINT,
    MODEL,
    add_videos,
    clip_id,
    coarse,
    fill,
    ident,
    reading,
    release,
    set_state,
    tokens,
    writer,
)


@pytest.fixture
def snapshot(settings: IndexSettings, catalog: Catalog) -> Snapshot:
    fill(settings, catalog, range(6))
    release(settings, catalog)
    return open_current(settings.data_dir, catalog)


def found_videos(snapshot: Snapshot, k: int = 100) -> set[str]:
    _, ids = snapshot.search(coarse(0, 0), k)
    return {row.video_id for row in snapshot.clip_rows(ids)}


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position % len(data)] ^= 1
    path.write_bytes(data)


def test_it_says_what_it_is(snapshot: Snapshot) -> None:
    assert (snapshot.model, snapshot.fingerprint, snapshot.videos, snapshot.clips) == (MODEL, FINGERPRINT, 6, 18)
    assert snapshot.seconds == 6 * 26.0
    assert snapshot.describe()["kind"] == "flat"


def test_a_clip_finds_itself_and_brings_its_tokens(snapshot: Snapshot, catalog: Catalog) -> None:
    for number, ordinal in ((0, 0), (3, 2)):
        scores, ids = snapshot.search(coarse(number, ordinal), 5)
        assert ids[0] == clip_id(catalog, number, ordinal)
        assert scores[0] == pytest.approx(3, abs=0.01) and (np.diff(scores) <= 0).all()
        row = snapshot.clip_rows(ids[:1])[0]
        assert (row.video_id, row.start_s, row.end_s) == (ident(number), 8.0 * ordinal, 8.0 * ordinal + 10)
        fetched = snapshot.fetch(ids[:1])[0]
        assert fetched is not None and fetched.to_bytes() == tokens(number, ordinal).to_bytes()


def test_tokens_come_in_the_order_asked(snapshot: Snapshot, catalog: Catalog) -> None:
    pairs = [(5, 1), (0, 2), (3, 0), (0, 0)]
    fetched = snapshot.fetch([clip_id(catalog, *pair) for pair in pairs])
    assert [part and part.to_bytes() for part in fetched] == [tokens(*pair).to_bytes() for pair in pairs]


def test_a_filter_limits_the_search(snapshot: Snapshot) -> None:
    allow = snapshot.clips_of([ident(2), ident(4), "unknown"])
    assert len(allow) == 6
    _, ids = snapshot.search(coarse(0, 0), 100, allow)
    assert set(ids) == set(allow)
    assert len(snapshot.search(coarse(0, 0), 100, np.empty(0, np.int64))[1]) == 0
    assert len(snapshot.search(coarse(0, 0), 100, np.array([10**6]))[1]) == 0


def test_coarse_vectors_come_back(snapshot: Snapshot, catalog: Catalog) -> None:
    wanted = clip_id(catalog, 4, 1)
    np.testing.assert_allclose(snapshot.coarse_vectors([wanted])[wanted], coarse(4, 1), atol=1e-3)


def test_what_is_heard_is_found_by_its_letters(snapshot: Snapshot, catalog: Catalog) -> None:
    wanted, misheard = clip_id(catalog, 4, 1), "x" + reading(4, 1)[3:]
    assert snapshot.heard(misheard, 5)[0] == wanted
    assert wanted not in snapshot.heard(misheard, 5, snapshot.clips_of([ident(3)]))
    set_state(catalog, 4, VideoState.DELETED)
    assert wanted not in snapshot.heard(misheard, 5)


def test_another_snapshots_clip_is_an_error(snapshot: Snapshot) -> None:
    with pytest.raises(KeyError):
        snapshot.clip_rows([10**6])


@pytest.mark.parametrize("state", [VideoState.DELETED, VideoState.MISSING, VideoState.QUEUED, VideoState.FAILED])
def test_a_hidden_video_is_gone_at_once_and_back_at_once(
    snapshot: Snapshot, catalog: Catalog, state: VideoState
) -> None:
    hidden = clip_id(catalog, 2)
    assert ident(2) in found_videos(snapshot)
    set_state(catalog, 2, state)
    assert found_videos(snapshot) == {ident(number) for number in (0, 1, 3, 4, 5)}
    assert len(snapshot.search(coarse(2, 0), 15)[1]) == 15  # no place of the shortlist is lost
    assert hidden not in snapshot.search(coarse(2, 0), 5, snapshot.clips_of([ident(2), ident(3)]))[1]
    assert snapshot.fetch([hidden]) == [None] and snapshot.coarse_vectors([hidden]) == {}
    set_state(catalog, 2, VideoState.PARTIAL)
    assert ident(2) in found_videos(snapshot)


def test_a_long_list_of_hidden_videos_is_kept_a_while(
    snapshot: Snapshot, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexer.snapshot.HIDDEN_MANY", -1)
    monkeypatch.setattr("indexer.snapshot.HIDDEN_KEPT_S", 1e6)
    found_videos(snapshot)
    set_state(catalog, 2, VideoState.DELETED)
    assert ident(2) in found_videos(snapshot)
    assert snapshot.fetch([clip_id(catalog, 2)]) == [None]  # and yet it is never shown


def test_nothing_indexed_says_so(settings: IndexSettings, catalog: Catalog) -> None:
    with pytest.raises(NothingIndexed, match="Nothing has been indexed") as caught:
        open_current(settings.data_dir, catalog)
    assert caught.value.exit_code == 3
    release(settings, catalog)
    empty = open_current(settings.data_dir, catalog)
    assert (empty.clips, len(empty.search(coarse(0, 0), 5)[1])) == (0, 0)
    with pytest.raises(NothingIndexed):
        open_current(settings.data_dir, catalog, "another fingerprint")


def test_old_snapshots_are_pruned_and_their_readers_do_not_notice(settings: IndexSettings, catalog: Catalog) -> None:
    fill(settings, catalog, [0])
    first = open_snapshot(settings.data_dir, catalog, release(settings, catalog))
    published = []
    for number in range(1, 5):
        fill(settings, catalog, [number])
        published.append(release(settings, catalog))
    assert snapshot_folders(settings.data_dir) == published[-settings.keep_snapshots :]
    assert found_videos(first) == {ident(0)}
    assert None not in first.fetch(first.clip_ids)
    with catalog.session() as session:
        kept = [row.id for row in session.query(SnapshotRow).filter_by(state="published").order_by(SnapshotRow.id)]
    assert kept == published[-settings.keep_snapshots :]


@pytest.mark.parametrize("step", ["read_manifest", "check_blocks", "Readings.open", "open_coarse"])
def test_a_snapshot_pruned_while_it_is_opened_gives_way_to_the_newest(
    settings: IndexSettings, catalog: Catalog, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    fill(settings, catalog, [0])
    pruned, newest = release(settings, catalog), ""
    real = operator.attrgetter(step)(indexer.snapshot)

    def late(*args: Any) -> Any:
        nonlocal newest
        if not newest:
            for number in range(1, settings.keep_snapshots + 1):
                fill(settings, catalog, [number])
                newest = release(settings, catalog)
        return real(*args)

    monkeypatch.setattr(f"indexer.snapshot.{step}", late)
    assert open_current(settings.data_dir, catalog).id == newest
    assert pruned not in snapshot_folders(settings.data_dir)


def test_a_new_fingerprint_grows_beside_the_old(settings: IndexSettings, catalog: Catalog) -> None:
    fill(settings, catalog, [0, 1])
    green = CurrentSnapshot(settings.data_dir, catalog, FINGERPRINT, poll_s=0)
    release(settings, catalog)
    fill(settings, catalog, [0], fingerprint="blue")
    blue = release(settings, catalog, "blue")
    assert (green.get().fingerprint, green.get().clips) == (FINGERPRINT, 6)
    assert open_current(settings.data_dir, catalog).id == blue
    fill(settings, catalog, [2])
    release(settings, catalog)
    assert green.get().clips == 9
    assert open_current(settings.data_dir, catalog, "blue").clips == 3


def test_current_follows_publications(settings: IndexSettings, catalog: Catalog) -> None:
    fill(settings, catalog, [0])
    current = CurrentSnapshot(settings.data_dir, catalog, FINGERPRINT, poll_s=0)
    with pytest.raises(NothingIndexed):
        current.get()
    first = release(settings, catalog)
    held = current.get()
    assert held.id == first and current.get() is held
    fill(settings, catalog, [1])
    assert current.get() is held
    second = release(settings, catalog)
    assert current.get().id == second
    assert held.clips == 3


@pytest.mark.parametrize("name", [COARSE, CLIPS, READINGS, VIDEOS, MANIFEST])
def test_a_damaged_snapshot_is_not_served_and_the_one_before_is(
    settings: IndexSettings, catalog: Catalog, name: str
) -> None:
    fill(settings, catalog, [0])
    first = release(settings, catalog)
    fill(settings, catalog, [1])
    second = release(settings, catalog)
    flip(snapshot_dir(settings.data_dir, second) / name, 77)
    assert open_current(settings.data_dir, catalog).id == first
    flip(snapshot_dir(settings.data_dir, first) / name, 77)
    with pytest.raises(IndexCorrupt, match="htav verify"):
        open_current(settings.data_dir, catalog)


def test_a_snapshot_of_another_format_is_refused(settings: IndexSettings, catalog: Catalog) -> None:
    fill(settings, catalog, [0])
    path = snapshot_dir(settings.data_dir, release(settings, catalog)) / MANIFEST
    replace_durable(path, seal(read_sealed(path) | {"format": 99}))
    with pytest.raises(IndexCorrupt):
        open_current(settings.data_dir, catalog)


def in_service(settings: IndexSettings, catalog: Catalog) -> tuple[CurrentSnapshot, str]:
    """A first snapshot and who serves it."""
    fill(settings, catalog, [0])
    first = release(settings, catalog)
    current = CurrentSnapshot(settings.data_dir, catalog, poll_s=0)
    assert current.get().id == first
    return current, first


def test_a_damaged_successor_does_not_replace_the_snapshot_in_service(
    settings: IndexSettings, catalog: Catalog, caplog: pytest.LogCaptureFixture
) -> None:
    current, first = in_service(settings, catalog)
    fill(settings, catalog, [1])
    second = release(settings, catalog)
    shutil.rmtree(snapshot_dir(settings.data_dir, first))
    flip(snapshot_dir(settings.data_dir, second) / COARSE, 200)
    assert current.get().id == first
    assert "still serving" in caplog.text


def test_a_disk_that_does_not_answer_stops_no_search(
    settings: IndexSettings, catalog: Catalog, caplog: pytest.LogCaptureFixture
) -> None:
    """A pointer that is a loop of links cannot be looked at, whoever looks."""
    current, first = in_service(settings, catalog)
    pointer = pointer_path(settings.data_dir)
    aside = pointer.with_suffix(".aside")
    pointer.rename(aside)
    pointer.symlink_to(pointer)
    assert current.get().id == first
    assert "still serving" in caplog.text
    pointer.unlink()
    aside.rename(pointer)
    fill(settings, catalog, [1])
    second = release(settings, catalog)
    assert current.get().id == second


def test_a_damaged_pointer_is_read_around(settings: IndexSettings, catalog: Catalog) -> None:
    fill(settings, catalog, [0])
    release(settings, catalog)
    fill(settings, catalog, [1])
    newest = release(settings, catalog)
    flip(pointer_path(settings.data_dir), 20)
    assert open_current(settings.data_dir, catalog).id == newest
    fill(settings, catalog, [2])
    assert open_current(settings.data_dir, catalog).id != release(settings, catalog)
    assert open_current(settings.data_dir, catalog).clips == 9


def test_damaged_tokens_hide_their_video_and_queue_it(
    snapshot: Snapshot, catalog: Catalog, settings: IndexSettings
) -> None:
    wanted = clip_id(catalog, 3, 1)
    with catalog.session() as session:
        row = session.get_one(Clip, wanted)
    flip(next(segments_dir(settings.data_dir).iterdir()), row.offset + 20)
    others = [clip_id(catalog, 3, 0), clip_id(catalog, 4, 0)]
    fetched = snapshot.fetch([others[0], wanted, others[1]])
    assert [part is None for part in fetched] == [False, True, False]
    with catalog.session() as session:
        video = session.get_one(Video, ident(3))
        assert (video.state, video.code) == (VideoState.QUEUED, "corrupt_record")
    assert ident(3) not in found_videos(snapshot)
    assert [job.paths for job in list_jobs(catalog)] == [["/media/3.mp4"]]
    with writer(settings, catalog) as open_writer:
        assert open_writer.committed(ident(3)) == {0, 2}  # only what is damaged is encoded again


def test_a_record_that_no_one_can_parse_counts_as_damaged(settings: IndexSettings, catalog: Catalog) -> None:
    add_videos(catalog, [1])
    from tests.index_samples import clips

    odd = clips(1, 1)[0]
    with writer(settings, catalog) as open_writer:
        open_writer.commit(ident(1), [type(odd)(0, 0.0, 1.0, b"\xff" * 40, odd.coarse)])
    release(settings, catalog)
    snapshot = open_current(settings.data_dir, catalog)
    assert snapshot.fetch(snapshot.clip_ids) == [None]
    assert list_jobs(catalog)


def test_damaged_coarse_vectors_keep_their_video_out(settings: IndexSettings, catalog: Catalog) -> None:
    fill(settings, catalog, [0, 1])
    with catalog.session() as session:
        row = session.get_one(Clip, clip_id(catalog, 1, 2))
    flip(next(segments_dir(settings.data_dir).iterdir()), row.coarse_offset + 3)
    release(settings, catalog)
    assert open_current(settings.data_dir, catalog).video_ids == [ident(0)]
    assert len(list_jobs(catalog)) == 1


def test_an_ivf_snapshot_answers_like_a_flat_one(settings: IndexSettings, catalog: Catalog) -> None:
    fill(settings, catalog, range(30))
    flat = open_snapshot(settings.data_dir, catalog, release(settings, catalog))
    ivf = open_snapshot(settings.data_dir, catalog, release(settings, catalog, force=True, flat_limit=10))
    assert (flat.describe()["kind"], ivf.describe()["kind"]) == ("flat", "ivf")
    for number in range(30):
        assert flat.search(coarse(number, 0), 1)[1][0] == ivf.search(coarse(number, 0), 1)[1][0]


@pytest.mark.parametrize("position", range(0, 60, 7))
def test_any_flipped_bit_of_a_sealed_document_is_noticed(tmp_path: Path, position: int) -> None:
    path = tmp_path / "document"
    replace_durable(path, seal({"latest": "x", "numbers": [1, 2]}))
    assert read_sealed(path) == {"latest": "x", "numbers": [1, 2]}
    flip(path, position)
    with pytest.raises(IndexCorrupt):
        read_sealed(path)
