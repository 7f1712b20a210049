"""T6: every flipped bit of what the index keeps is noticed, and the service answers all the same."""

import random
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import select

from indexer.catalog import Catalog, Clip, Video, VideoState
from indexer.config import IndexSettings
from indexer.segments import Location, SegmentReader, segments_dir
from indexer.snapshot import open_current
from indexer.snapshot_files import CLIPS, COARSE, MANIFEST, READINGS, VIDEOS, pointer_path, snapshot_dir
from indexer.verify import verify
from tests.index_samples import coarse, fill, ident, release

FLIPS = 40


@pytest.fixture
def indexed(fast_path: Path) -> Iterator[tuple[IndexSettings, Catalog]]:
    settings = IndexSettings(data_dir=fast_path / "data", min_free_bytes=0)
    with closing(Catalog.open(settings)) as catalog:
        fill(settings, catalog, range(5))
        release(settings, catalog)
        yield settings, catalog


def flip_bit(path: Path, bit: int) -> None:
    """Twice is never: flipping again mends the file."""
    with path.open("r+b") as file:
        file.seek(bit // 8)
        byte = file.read(1)[0]
        file.seek(bit // 8)
        file.write(bytes([byte ^ 1 << bit % 8]))


def kept_bits(catalog: Catalog) -> list[tuple[int, int]]:
    """The ranges of bits of the segment that mean something: the header and every record; not the gaps."""
    with catalog.session() as session:
        clips = session.scalars(select(Clip)).all()
    spans = [(0, 64)] + [span for c in clips for span in ((c.offset, c.length), (c.coarse_offset, c.coarse_length))]
    return [(offset * 8, (offset + length) * 8) for offset, length in spans]


@pytest.mark.parametrize("name", [COARSE, CLIPS, READINGS, VIDEOS, MANIFEST, "pointer", "segment"])
def test_every_flipped_bit_is_noticed(indexed: tuple[IndexSettings, Catalog], name: str) -> None:
    settings, catalog = indexed
    folder = snapshot_dir(settings.data_dir, open_current(settings.data_dir, catalog).id)
    (segment,) = segments_dir(settings.data_dir).iterdir()
    path = {"pointer": pointer_path(settings.data_dir), "segment": segment}.get(name, folder / name)
    whole = [(0, path.stat().st_size * 8)]
    spans = kept_bits(catalog) if name == "segment" else whole
    rng, missed = random.Random(name), []
    for _ in range(FLIPS):
        bit = rng.randrange(*rng.choice(spans))
        flip_bit(path, bit)
        if verify(settings, catalog, repair=False).ok:
            missed.append(bit)
        flip_bit(path, bit)
    assert missed == []
    assert verify(settings, catalog, repair=False).ok


def test_a_flipped_record_hides_its_video_and_no_other(indexed: tuple[IndexSettings, Catalog]) -> None:
    settings, catalog = indexed
    snapshot = open_current(settings.data_dir, catalog)
    (segment,) = segments_dir(settings.data_dir).iterdir()
    with catalog.session() as session:
        clip = session.scalars(select(Clip).where(Clip.video_id == ident(3))).first()
    assert clip is not None
    flip_bit(segment, (clip.offset + 11) * 8)
    _, ids = snapshot.search(coarse(3, 0), 15)
    answered = [row.video_id for row, part in zip(snapshot.clip_rows(ids), snapshot.fetch(ids), strict=True) if part]
    assert sorted(set(answered)) == sorted(ident(number) for number in range(5)) and len(answered) == 14
    again = {row.video_id for row in snapshot.clip_rows(snapshot.search(coarse(3, 0), 15)[1])}
    assert again == {ident(number) for number in (0, 1, 2, 4)}
    with catalog.session() as session:
        assert session.get_one(Video, ident(3)).state is VideoState.QUEUED


@pytest.mark.parametrize("name", [COARSE, CLIPS, READINGS, VIDEOS, MANIFEST, "pointer"])
def test_a_flipped_snapshot_is_mended_and_serves_again(indexed: tuple[IndexSettings, Catalog], name: str) -> None:
    settings, catalog = indexed
    serving = open_current(settings.data_dir, catalog)
    expected = serving.search(coarse(2, 1), 3)[1].tolist()
    folder = snapshot_dir(settings.data_dir, serving.id)
    flip_bit(pointer_path(settings.data_dir) if name == "pointer" else folder / name, 99)
    assert serving.search(coarse(2, 1), 3)[1].tolist() == expected  # who has it open does not notice
    assert all(problem.repaired for problem in verify(settings, catalog).problems)
    assert open_current(settings.data_dir, catalog).search(coarse(2, 1), 3)[1].tolist() == expected
    assert verify(settings, catalog).ok


def test_control_without_the_check_damage_is_served(indexed: tuple[IndexSettings, Catalog]) -> None:
    settings, catalog = indexed
    with catalog.session() as session:
        clip = session.scalars(select(Clip)).first()
    assert clip is not None
    place = [Location(clip.segment_id, clip.offset, clip.length, clip.crc32)]
    reader = SegmentReader(settings.data_dir)
    (before,) = reader.read(place)
    (segment,) = segments_dir(settings.data_dir).iterdir()
    flip_bit(segment, (clip.offset + 11) * 8)
    (after,) = reader.read(place)  # touched before, so not checked again
    assert before is not None and after is not None and bytes(before) != bytes(after)
    shutil.rmtree(settings.data_dir / "segments")
    assert reader.read(place) == [None]
