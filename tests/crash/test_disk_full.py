"""T7 at the level of the store: a full disk stops writing, never searching, and is over as soon as there is room.

A 10 MB tmpfs gives a real ENOSPC; where mounting is not permitted that test is skipped, and RLIMIT_FSIZE, which always
runs, is what refuses.
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from indexer.catalog import Catalog
from indexer.config import IndexSettings
from indexer.errors import InsufficientStorage
from indexer.snapshot import open_current
from tests.crash.children import fill_the_disk
from tests.crash.invariants import violations
from tests.index_samples import add_videos, clips, coarse, fill, ident, release, writer
from tests.processes import start

LIMIT = 8 << 20


def prepared(folder: Path) -> IndexSettings:
    settings = IndexSettings(data_dir=folder / "data", min_free_bytes=0)
    with closing(Catalog.open(settings)) as catalog:
        fill(settings, catalog, range(3))
        release(settings, catalog)
    return settings


def run(settings: IndexSettings, first: int, limit: int | None) -> None:
    child = start(fill_the_disk, settings, first, limit)
    child.join()
    assert child.exitcode == 0


def sizes(folder: Path) -> dict[str, int]:
    """Every file of ours and its size, without what SQLite keeps beside the catalog."""
    return {
        str(path.relative_to(folder)): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith("catalog.db")
    }


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=10m", "tmpfs", folder], capture_output=True, text=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"mounting a tmpfs is not permitted here ({mounted.stderr.strip()}); RLIMIT_FSIZE stands in for it")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_refusing_disk_stops_writing_and_not_searching(fast_path: Path) -> None:
    settings = prepared(fast_path)
    run(settings, 100, LIMIT)
    assert violations(settings, [0, 1, 2]) == []


def test_a_disk_that_is_really_full(small_disk: Path) -> None:
    settings = prepared(small_disk)
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * (2 << 20))
    run(settings, 100, None)
    assert violations(settings, [0, 1, 2]) == []
    ballast.unlink()
    with closing(Catalog.open(settings)) as catalog:
        fill(settings, catalog, [50])
        release(settings, catalog)
        snapshot = open_current(settings.data_dir, catalog)
        assert ident(50) in snapshot.video_ids


def test_control_the_small_disk_is_small(small_disk: Path) -> None:
    with pytest.raises(OSError, match="No space left"):
        (small_disk / "big").write_bytes(b"x" * (11 << 20))


def test_under_the_floor_not_one_byte_is_written(fast_path: Path) -> None:
    settings = prepared(fast_path)
    status = os.statvfs(settings.data_dir)
    floor = status.f_bavail * status.f_frsize + (1 << 40)  # as if the disk were fuller than the default floor allows
    tight = settings.model_copy(update={"min_free_bytes": floor})
    with closing(Catalog.open(tight)) as catalog:
        add_videos(catalog, [9])
        before = sizes(settings.data_dir)
        with writer(tight, catalog) as open_writer, pytest.raises(InsufficientStorage):
            open_writer.commit(ident(9), clips(9))
        with pytest.raises(InsufficientStorage):
            release(tight, catalog, force=True)
        assert sizes(settings.data_dir) == before
        snapshot = open_current(settings.data_dir, catalog)
        assert len(snapshot.search(coarse(0, 0), 9)[1]) == 9
        with writer(settings, catalog) as open_writer:  # there is room again
            open_writer.commit(ident(9), clips(9))
        release(settings, catalog)
    assert violations(settings, [0, 1, 2, 9]) == []
