"""T3, T4: a start among the ruins of earlier runs, and a thousand swaps under searches that never notice."""

import os
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from indexer.catalog import Catalog
from indexer.config import IndexSettings
from indexer.sealed import TEMPORARY
from indexer.segments import segments_dir
from indexer.snapshot import CurrentSnapshot, open_current, open_snapshot
from indexer.snapshot_files import COARSE, read_pointer, write_pointer
from indexer.ulid import new_ulid
from tests.crash.invariants import violations
from tests.index_samples import FINGERPRINT, coarse, fill, release

POINTER_MOVES = 975
PUBLICATIONS = 25
THREADS = 4


def test_a_start_among_ruins(fast_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = IndexSettings(data_dir=fast_path / "data", min_free_bytes=0)
    with closing(Catalog.open(settings)) as catalog:
        fill(settings, catalog, [0, 1])
        release(settings, catalog)
    segments, snapshots = segments_dir(settings.data_dir), settings.data_dir / "snapshots"
    with next(segments.iterdir()).open("ab") as file:
        file.write(os.urandom(5000))
    half_segment = segments / f"{new_ulid()}.tok"
    half_segment.write_bytes(b"HTAV")
    (snapshots / f"{TEMPORARY}{new_ulid()}").mkdir()
    (snapshots / f"{TEMPORARY}{new_ulid()}" / COARSE).parent.mkdir()
    (snapshots / f"{TEMPORARY}current.json-77").write_bytes(b"{")
    strangers = [segments / ".atomicwrite1", segments / "core", snapshots / "readme.txt", settings.data_dir / "x.tmp"]
    for stranger in strangers:
        stranger.write_bytes(b"?")

    with closing(Catalog.open(settings)) as catalog:
        assert open_current(settings.data_dir, catalog).clips == 6
        fill(settings, catalog, [2])
        release(settings, catalog)
        assert open_current(settings.data_dir, catalog).clips == 9
    assert violations(settings, [0, 1, 2]) == []
    assert not half_segment.exists() and not list(snapshots.glob(f"{TEMPORARY}*"))
    assert all(stranger.exists() for stranger in strangers)
    assert "never committed" in caplog.text and "left behind" in caplog.text and "left alone" in caplog.text


class Searchers:
    """Threads that search whatever is current and keep every answer with the snapshot that gave it."""

    def __init__(self, current: CurrentSnapshot) -> None:
        self.answers: list[tuple[str, tuple[int, ...], int]] = []
        self.errors: list[BaseException] = []
        self._current = current
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(THREADS)]

    def __enter__(self) -> "Searchers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                snapshot = self._current.get()
                _, ids = snapshot.search(coarse(0, 0), 50)
                fetched = snapshot.fetch(ids[:5])
                self.answers.append((snapshot.id, tuple(ids.tolist()), sum(part is not None for part in fetched)))
        except BaseException as err:
            self.errors.append(err)


def test_a_thousand_swaps_under_search(fast_path: Path) -> None:
    settings = IndexSettings(data_dir=fast_path / "data", min_free_bytes=0)
    with closing(Catalog.open(settings)) as catalog:
        fill(settings, catalog, range(4))
        small = release(settings, catalog)
        fill(settings, catalog, range(4, 8))
        large = release(settings, catalog)
        sizes = {small: 12, large: 24}
        current = CurrentSnapshot(settings.data_dir, catalog, FINGERPRINT, poll_s=0)
        current.get()
        catalog.engine.dispose()  # closes the pool's connections, whose number is not what is measured
        descriptors = len(os.listdir("/proc/self/fd"))
        with Searchers(current) as searchers:
            for move in range(POINTER_MOVES):
                pointer = read_pointer(settings.data_dir)
                write_pointer(settings.data_dir, pointer.moved(FINGERPRINT, (small, large)[move % 2]))
            for _ in range(PUBLICATIONS):
                sizes[release(settings, catalog, force=True)] = 24
            newest = max(sizes)
            while current.get().id != newest and not searchers.errors:
                pass
            while all(name != newest for name, _, _ in searchers.answers[-9:]) and not searchers.errors:
                time.sleep(0.01)  # on a busy machine the searchers come later
        catalog.engine.dispose()
        assert len(os.listdir("/proc/self/fd")) == descriptors
        expected = {
            name: tuple(open_snapshot(settings.data_dir, catalog, name).search(coarse(0, 0), 50)[1].tolist())
            for name in (current.get().id,)
        }
    assert searchers.errors == []
    seen: dict[str, set[tuple[int, ...]]] = {}
    for name, ids, fetched in searchers.answers:
        seen.setdefault(name, set()).add(ids)
        assert fetched == 5
    assert len(seen) > 2 and {small, large} <= set(seen)
    for name, different in seen.items():
        assert len(different) == 1 and {len(ids) for ids in different} == {sizes[name]}
    assert all(seen[name] == {ids} for name, ids in expected.items())


def test_control_mixed_answers_would_be_noticed(fast_path: Path) -> None:
    """A reader that takes its rows from one snapshot and its index from another gives another answer."""
    settings = IndexSettings(data_dir=fast_path / "data", min_free_bytes=0)
    with closing(Catalog.open(settings)) as catalog:
        fill(settings, catalog, range(4, 8))
        small = open_snapshot(settings.data_dir, catalog, release(settings, catalog))
        fill(settings, catalog, range(4))
        large = open_snapshot(settings.data_dir, catalog, release(settings, catalog))
        right = large.search(coarse(0, 0), 5)[1].tolist()
        large._index = small._index
        assert large.search(coarse(0, 0), 5)[1].tolist() != right
