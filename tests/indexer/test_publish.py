"""Publishing: what a snapshot holds, step by step, beside other publishers, after an interruption, on a full disk."""

import os
import resource
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from indexer import publish as publishing_module
from indexer.catalog import Catalog, VideoState
from indexer.coarse import FlatIndex
from indexer.config import IndexSettings
from indexer.errors import InsufficientStorage
from indexer.snapshot import open_current
from indexer.snapshot_files import COARSE, snapshot_folders
from tests.index_samples import add_videos, fill, ident, release, set_state


def test_only_searchable_videos_are_published(settings: IndexSettings, catalog: Catalog) -> None:
    fill(settings, catalog, range(4))
    set_state(catalog, 1, VideoState.MISSING)
    set_state(catalog, 2, VideoState.PARTIAL)
    add_videos(catalog, [9])
    release(settings, catalog)
    snapshot = open_current(settings.data_dir, catalog)
    assert set(snapshot.video_ids) == {ident(0), ident(2), ident(3)}


def test_publishing_the_same_clips_again_is_the_same_snapshot(settings: IndexSettings, catalog: Catalog) -> None:
    fill(settings, catalog, [1])
    first = release(settings, catalog)
    assert release(settings, catalog) == first
    assert release(settings, catalog, force=True) != first
    fill(settings, catalog, [2])
    assert release(settings, catalog) > first


def test_leftovers_of_an_interrupted_publication_are_removed(
    settings: IndexSettings, catalog: Catalog, caplog: pytest.LogCaptureFixture
) -> None:
    fill(settings, catalog, [0])
    release(settings, catalog)
    folder = settings.data_dir / "snapshots"
    (folder / ".tmp-half").mkdir()
    (folder / ".tmp-half" / COARSE).write_bytes(b"half")
    (folder / ".tmp-current.json-1").write_text("{")
    (folder / "notes").mkdir()
    assert open_current(settings.data_dir, catalog).clips == 3
    release(settings, catalog)
    assert not list(folder.glob(".tmp-*")) and (folder / "notes").is_dir()
    assert "left behind" in caplog.text


def test_below_the_floor_no_snapshot_is_begun(settings: IndexSettings, catalog: Catalog) -> None:
    fill(settings, catalog, [0])
    first = release(settings, catalog)
    fill(settings, catalog, [1])
    tight = settings.model_copy(update={"min_free_bytes": 1 << 60})
    before = sorted(os.listdir(settings.data_dir / "snapshots"))
    with pytest.raises(InsufficientStorage):
        release(tight, catalog)
    assert sorted(os.listdir(settings.data_dir / "snapshots")) == before
    assert open_current(settings.data_dir, catalog).id == first


@pytest.mark.parametrize("videos", [1, 40], ids=["less than a buffer", "more than a buffer"])
def test_a_disk_that_is_full_when_faiss_writes_publishes_nothing(
    settings: IndexSettings, catalog: Catalog, monkeypatch: pytest.MonkeyPatch, videos: int
) -> None:
    """FAISS itself tells of a full disk by an error of its own, or not at all."""
    fill(settings, catalog, [0])
    first = release(settings, catalog)
    fill(settings, catalog, range(1, 1 + videos))
    save = FlatIndex.save

    def save_without_room(index: FlatIndex, path: Path) -> None:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50, before[1]))
        try:
            save(index, path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    monkeypatch.setattr(FlatIndex, "save", save_without_room)
    with pytest.raises(InsufficientStorage, match=COARSE):
        release(settings, catalog)
    assert snapshot_folders(settings.data_dir) == [first] and open_current(settings.data_dir, catalog).id == first
    monkeypatch.undo()
    assert release(settings, catalog) != first
    assert open_current(settings.data_dir, catalog).videos == 1 + videos


def test_steps_come_in_order(settings: IndexSettings, catalog: Catalog) -> None:
    fill(settings, catalog, [0])
    steps: list[str] = []
    release(settings, catalog, on_step=steps.append)
    assert tuple(steps) == publishing_module.STEPS


def test_publishers_wait_for_each_other(settings: IndexSettings, catalog: Catalog) -> None:
    fill(settings, catalog, [0])
    release(settings, catalog)
    errors: list[BaseException] = []

    def attempt(work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as err:
            errors.append(err)

    threads = [
        threading.Thread(target=attempt, args=(lambda: release(settings, catalog, force=True),)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert open_current(settings.data_dir, catalog).clips == 3
