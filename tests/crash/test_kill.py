"""T1, T2: SIGKILL at any time leaves an index that opens, agrees with itself and has lost nothing it acknowledged."""

import os
import random
import time
from contextlib import closing
from pathlib import Path

import pytest

from indexer.catalog import Catalog
from indexer.config import IndexSettings
from indexer.errors import IndexCorrupt
from indexer.publish import STEPS
from indexer.snapshot import open_current
from indexer.snapshot_files import snapshot_folders
from tests.crash.children import index_forever, overwrite_and_die, publish_and_die
from tests.crash.invariants import acknowledged, violations
from tests.index_samples import fill, release
from tests.processes import start

KILLS = int(os.environ.get("HTAV_CRASH_KILLS", "40"))
CONTROL_KILLS = max(10, KILLS // 4)
STEP_KILLS = max(3, KILLS // 10)


def die_while_indexing(settings: IndexSettings, acks: Path, rng: random.Random, *, buffered: bool = False) -> list[int]:
    """One life: index until killed at a random moment after the first acknowledgement of this life."""
    before = acknowledged(acks)
    child = start(index_forever, settings, acks, max(before, default=-1) + 1, buffered)
    deadline = time.monotonic() + 30
    while len(acknowledged(acks)) == len(before) and time.monotonic() < deadline and child.is_alive():
        time.sleep(0.002)
    time.sleep(rng.uniform(0, 0.08))
    assert child.is_alive(), f"the child ended by itself: {child.exitcode}"
    child.kill()
    child.join()
    return acknowledged(acks)


def test_killed_at_random_times_nothing_is_lost_or_broken(fast_path: Path) -> None:
    settings = IndexSettings(data_dir=fast_path / "data", min_free_bytes=0)
    rng, broken = random.Random(1), []
    for _ in range(KILLS):
        promised = die_while_indexing(settings, fast_path / "acks", rng)
        broken += violations(settings, promised)
    assert broken == []
    assert len(promised) >= KILLS and len(promised) == len(set(promised))


def test_control_rows_before_bytes_are_caught(fast_path: Path) -> None:
    """A writer that commits rows while their bytes are still in its own buffer fails in at least nine of ten deaths."""
    rng, caught = random.Random(2), 0
    for trial in range(CONTROL_KILLS):
        settings = IndexSettings(data_dir=fast_path / str(trial), min_free_bytes=0)
        promised = die_while_indexing(settings, fast_path / f"acks{trial}", rng, buffered=True)
        caught += bool(violations(settings, promised))
    assert caught >= 0.9 * CONTROL_KILLS


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_a_step_of_publishing_old_or_new_opens(fast_path: Path, step: str) -> None:
    settings = IndexSettings(data_dir=fast_path / "data", min_free_bytes=0)
    with closing(Catalog.open(settings)) as catalog:
        fill(settings, catalog, range(3))
        old = release(settings, catalog)
    for _ in range(STEP_KILLS):
        child = start(publish_and_die, settings, step)
        child.join()
        assert child.exitcode == -9
        with closing(Catalog.open(settings)) as catalog:
            opened = open_current(settings.data_dir, catalog)
            assert (opened.id == old) is (STEPS.index(step) < STEPS.index("pointed"))
            assert opened.clips == 9 and None not in opened.fetch(opened.clip_ids)
        old = opened.id
    with closing(Catalog.open(settings)) as catalog:
        newest = release(settings, catalog, force=True)
        assert open_current(settings.data_dir, catalog).id == newest
    assert len(snapshot_folders(settings.data_dir)) <= settings.keep_snapshots
    assert not list((settings.data_dir / "snapshots").glob(".tmp-*"))


def test_control_overwriting_in_place_leaves_neither(fast_path: Path) -> None:
    settings = IndexSettings(data_dir=fast_path / "data", min_free_bytes=0)
    with closing(Catalog.open(settings)) as catalog:
        fill(settings, catalog, range(3))
        release(settings, catalog)
        child = start(overwrite_and_die, settings)
        child.join()
        assert child.exitcode == -9
        with pytest.raises(IndexCorrupt):
            open_current(settings.data_dir, catalog)
