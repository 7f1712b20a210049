"""Giving back space: forgotten videos, deleted ones' data, half-empty segments, old snapshots, old jobs.

Nothing that search may still show is touched: videos are hidden first, then a snapshot without them is published, then
their rows go, then the bytes. A user's file is never removed. A deleted video's row stays, so that its content is not
indexed again until somebody asks.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import and_, delete, exists, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from indexer.catalog import Catalog
from indexer.config import IndexSettings
from indexer.errors import NothingIndexed
from indexer.publish import pointer_of, prune, republish
from indexer.quarantine import IN_CLAUSE, quarantine
from indexer.recovery import recover, require_segments
from indexer.segments import ALIGN, Location, SegmentFile, SegmentReader, segment_path
from indexer.snapshot_files import publishing, snapshot_folders, write_pointer
from indexer.tables import SEARCHABLE, Base, Clip, Job, Segment, SegmentState, Video, VideoState, now
from indexer.writer import ClipWriter

COMPACT_BELOW = 0.5
BATCH_CLIPS = 256
log = logging.getLogger(__name__)


@dataclass
class GcReport:
    """What was given back; the keys of `htav gc --json`."""

    videos_forgotten: int = 0
    clips_dropped: int = 0
    segments_removed: int = 0
    snapshots_removed: int = 0
    jobs_forgotten: int = 0
    bytes_freed: int = 0

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


def collect_garbage(settings: IndexSettings, catalog: Catalog, *, only: str | None = None) -> GcReport:
    """`only`, a fingerprint, also removes what every other one has stored. Raises NothingIndexed unless it has all.

    Raises IndexCorrupt, and gives nothing back, when no segment is there at all.
    """
    report = GcReport()
    before = snapshot_folders(settings.data_dir)
    report.bytes_freed += recover(settings.data_dir, catalog)
    if only is not None:
        report.clips_dropped += _drop_others(settings, catalog, only)
    with publishing(settings.data_dir):
        fingerprints = list(pointer_of(settings.data_dir).by_fingerprint)
    for fingerprint in fingerprints:
        republish(settings, catalog, fingerprint)
    _forget(settings, catalog, report)
    with catalog.session() as session:
        segments = session.scalars(select(Segment.id).order_by(Segment.id)).all()
    for segment_id in segments:
        _compact(settings, catalog, segment_id, report)
    with publishing(settings.data_dir):
        prune(settings, catalog)
    report.snapshots_removed = len(set(before) - set(snapshot_folders(settings.data_dir)))
    return report


def _forget(settings: IndexSettings, catalog: Catalog, report: GcReport) -> None:
    """Drop rows that nothing published names any more."""
    horizon = now() - timedelta(days=settings.missing_days)
    long_missing = and_(Video.state == VideoState.MISSING, Video.missing_since < horizon)
    deleted = and_(Video.state == VideoState.DELETED, exists().where(Clip.video_id == Video.id))
    # nobody else's to change in this transaction: one that is brought back at this instant stays
    query = select(Video.id, Video.state).where(or_(long_missing, deleted)).order_by(Video.id).with_for_update()
    with catalog.transaction() as session:
        rows = session.execute(query).all()
        long_gone = [row.id for row in rows if row.state is VideoState.MISSING]
        report.clips_dropped += _delete_of(session, Clip, Clip.video_id, [row.id for row in rows])
        report.videos_forgotten = _delete_of(session, Video, Video.id, long_gone)
        report.jobs_forgotten = _delete(session, delete(Job).where(Job.finished_at < horizon))


def _delete_of(session: Session, table: type[Base], column: InstrumentedAttribute[str], ids: Sequence[str]) -> int:
    parts = [ids[start : start + IN_CLAUSE] for start in range(0, len(ids), IN_CLAUSE)]
    return sum(_delete(session, delete(table).where(column.in_(part))) for part in parts)


def _drop_others(settings: IndexSettings, catalog: Catalog, fingerprint: str) -> int:
    """Unpublish every fingerprint but this one, then drop their clips."""
    with publishing(settings.data_dir):
        pointer = pointer_of(settings.data_dir)
        if fingerprint not in pointer.by_fingerprint or _lacks_videos(catalog, fingerprint):
            raise NothingIndexed(
                "The model in use has not indexed all videos yet; nothing was dropped.", "Run `htav reindex` first."
            )
        for name in pointer.by_fingerprint.keys() - {fingerprint}:
            pointer = pointer.without(name)
        write_pointer(settings.data_dir, pointer)
    with catalog.transaction() as session:
        return _delete(session, delete(Clip).where(Clip.fingerprint != fingerprint))


def _lacks_videos(catalog: Catalog, fingerprint: str) -> bool:
    """Whether a video can be found with another model alone."""
    clips = select(Clip.id).where(Clip.video_id == Video.id)
    query = select(Video.id).where(Video.state.in_(SEARCHABLE), clips.exists())
    with catalog.session() as session:
        return session.scalar(query.where(~clips.where(Clip.fingerprint == fingerprint).exists()).limit(1)) is not None


def _compact(settings: IndexSettings, catalog: Catalog, segment_id: str, report: GcReport) -> None:
    """Move the living out of a segment that is mostly dead, then remove it."""
    segment = SegmentFile.reopen(settings.data_dir, segment_id)
    if segment is None and segment_path(settings.data_dir, segment_id).exists():
        return  # someone is writing it
    try:
        with catalog.session() as session:
            row = session.get_one(Segment, segment_id)
            sizes = select(func.sum(Clip.length + Clip.coarse_length + ALIGN)).where(Clip.segment_id == segment_id)
            living = session.scalar(sizes) or 0
        if living >= COMPACT_BELOW * (row.end - ALIGN) and living > 0:
            return
        if living and not _move(settings, catalog, row):
            return
        with catalog.transaction() as session:
            session.get_one(Segment, segment_id).state = SegmentState.RETIRED
        if segment is not None:
            report.bytes_freed += segment.end
            segment.discard()
        with catalog.transaction() as session:
            session.delete(session.get_one(Segment, segment_id))
        report.segments_removed += 1
    finally:
        if segment is not None:
            segment.close()


def _move(settings: IndexSettings, catalog: Catalog, segment: Segment) -> bool:
    """Copy a segment's living records into another; False when some could not be read and were quarantined."""
    reader = SegmentReader(settings.data_dir)
    with ClipWriter(settings, catalog, segment.fingerprint, segment.width) as writer:
        while True:
            with catalog.session() as session:
                query = select(Clip).where(Clip.segment_id == segment.id).order_by(Clip.offset).limit(BATCH_CLIPS)
                clips = session.scalars(query).all()
            if not clips:
                return True
            if not _move_batch(catalog, reader, writer, clips):
                return False


def _move_batch(catalog: Catalog, reader: SegmentReader, writer: ClipWriter, clips: Any) -> bool:
    places = [
        place
        for c in clips
        for place in (
            Location(c.segment_id, c.offset, c.length, c.crc32),
            Location(c.segment_id, c.coarse_offset, c.coarse_length, c.coarse_crc32),
        )
    ]
    records = reader.read(places, check=True)
    if None in records:
        broken = [clip.id for number, clip in enumerate(clips) if None in records[2 * number : 2 * number + 2]]
        require_segments(reader.data_dir, catalog)
        quarantine(catalog, broken, "corrupt_record")
        return False
    moved = writer.append([bytes(record) for record in records if record is not None])
    with catalog.transaction() as session:
        for number, clip in enumerate(clips):
            row = session.get(Clip, clip.id)
            if row is not None:
                tokens, coarse = moved[2 * number], moved[2 * number + 1]
                row.segment_id, row.offset, row.coarse_offset = tokens.segment_id, tokens.offset, coarse.offset
        writer.advance(session)
    return True


def _delete(session: Session, statement: Any) -> int:
    return int(getattr(session.execute(statement.execution_options(synchronize_session=False)), "rowcount", 0))
