"""T8: whenever the power goes, what was acknowledged is there, and what is there agrees with itself."""

from contextlib import closing
from pathlib import Path

import pytest

from indexer.catalog import Catalog, VideoState
from indexer.config import IndexSettings
from tests.crash.children import index_video
from tests.crash.invariants import violations
from tests.crash.power import Disk
from tests.index_samples import add_videos, fill, release, writer

VIDEOS, PUBLISHED_AFTER = 4, (1, 3)


def images(disk: Disk, settings: IndexSettings, target: Path) -> list[tuple[Path, list[int]]]:
    """Index and publish; an image before each sync and after each acknowledgement, with what was promised by then."""
    taken: list[tuple[Path, list[int]]] = []
    promised: list[int] = []

    def take() -> None:
        taken.append((disk.image(target / str(len(taken))), list(promised)))

    with closing(Catalog.open(settings)) as catalog:
        disk.on_sync = take
        for number in range(VIDEOS):
            add_videos(catalog, [number], VideoState.ENCODING)
            with writer(settings, catalog) as open_writer:
                index_video(open_writer, number)
            promised.append(number)
            take()
            if number in PUBLISHED_AFTER:
                release(settings, catalog)
                take()
    disk.on_sync = lambda: None
    return taken


def test_at_every_sync_the_power_may_go(fast_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = IndexSettings(data_dir=fast_path / "data", min_free_bytes=0)
    with monkeypatch.context() as patch:
        taken = images(Disk(settings.data_dir, patch), settings, fast_path / "images")
    broken = []
    for image, promised in taken:
        left = settings.model_copy(update={"data_dir": image})
        broken += [f"{image.name}: {violation}" for violation in violations(left, promised)]
    assert broken == []
    assert len(taken) > 20
    for image, promised in taken[:: len(taken) // 4]:  # and work goes on
        left = settings.model_copy(update={"data_dir": image})
        with closing(Catalog.open(left)) as catalog:
            fill(left, catalog, [100])
            release(left, catalog, force=True)
        assert violations(left, [*promised, 100]) == []


def test_control_without_syncing_the_files_much_is_lost(fast_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = IndexSettings(data_dir=fast_path / "data", min_free_bytes=0)
    with monkeypatch.context() as patch:
        taken = images(Disk(settings.data_dir, patch, sync_files=False), settings, fast_path / "images")
    image, promised = taken[-1]
    assert len(violations(settings.model_copy(update={"data_dir": image}), promised)) >= VIDEOS
