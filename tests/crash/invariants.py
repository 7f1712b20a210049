"""What must hold after any death: catalog, segments, checksums and snapshot agree, and nothing acknowledged is lost."""

from contextlib import closing
from pathlib import Path

from sqlalchemy import select, text

from indexer.catalog import Catalog, Clip, Segment, Video, VideoState
from indexer.config import IndexSettings
from indexer.errors import NothingIndexed
from indexer.segments import Location, SegmentReader, segment_path
from indexer.snapshot import open_current
from tests.index_samples import CLIPS_EACH, ident, tokens


def acknowledged(path: Path) -> list[int]:
    """The numbers of the videos whose commit had returned; a torn last line was never acknowledged."""
    lines = path.read_text().split("\n") if path.exists() else [""]
    return [int(line) for line in lines[:-1]]


def violations(settings: IndexSettings, promised: list[int]) -> list[str]:
    """Every broken promise, in words."""
    with closing(Catalog.open(settings)) as catalog:
        return [*_catalog(catalog), *_records(settings, catalog, promised), *_snapshot(settings, catalog)]


def _catalog(catalog: Catalog) -> list[str]:
    with catalog.session() as session:
        return [f"sqlite: {row[0]}" for row in session.execute(text("PRAGMA integrity_check")) if row[0] != "ok"]


def _records(settings: IndexSettings, catalog: Catalog, promised: list[int]) -> list[str]:
    broken, numbers = [], {ident(number): number for number in promised}
    with catalog.session() as session:
        clips = session.scalars(select(Clip).order_by(Clip.id)).all()
        segments = session.scalars(select(Segment)).all()
        ready = set(session.scalars(select(Video.id).where(Video.state == VideoState.READY)))
    for segment in segments:
        size = segment_path(settings.data_dir, segment.id).stat().st_size
        if size < segment.end:
            broken.append(f"segment {segment.id}: {size} bytes on disk, {segment.end} committed")
    places = [Location(clip.segment_id, clip.offset, clip.length, clip.crc32) for clip in clips]
    for clip, record in zip(clips, SegmentReader(settings.data_dir).read(places), strict=True):
        if record is None:
            broken.append(f"clip {clip.id}: unreadable")
        elif clip.video_id in numbers and bytes(record) != tokens(numbers[clip.video_id], clip.ordinal).to_bytes():
            broken.append(f"clip {clip.id}: other bytes than were committed")
    have: dict[str, list[int]] = {}
    for clip in clips:
        have.setdefault(clip.video_id, []).append(clip.ordinal)
    for video in ready | set(numbers):
        if sorted(have.get(video, [])) != list(range(CLIPS_EACH)):
            broken.append(f"video {video}: ready with clips {have.get(video)}")
    broken += [f"video {number}: acknowledged and lost" for video, number in numbers.items() if video not in ready]
    return broken


def _snapshot(settings: IndexSettings, catalog: Catalog) -> list[str]:
    try:
        snapshot = open_current(settings.data_dir, catalog)
    except NothingIndexed:
        return []
    missing = [
        f"snapshot {snapshot.id}: clip {clip_id} has no tokens"
        for clip_id, found in zip(snapshot.clip_ids, snapshot.fetch(snapshot.clip_ids), strict=True)
        if found is None
    ]
    return missing
