"""Putting the segments folder in order after a writer died: cut off what was never committed, remove what has no row.

Runs before the first write of every writer and in `gc`, and only while the segments' disk is there. A file that another
process holds locked is being written and is left alone; a file whose name is not ours is reported and left alone.
"""

import logging
from pathlib import Path

from sqlalchemy import exists, select

from indexer.catalog import Catalog
from indexer.errors import IndexCorrupt
from indexer.segments import SUFFIX, SegmentFile, is_readable, segments_dir
from indexer.tables import Clip, Segment, SegmentState
from indexer.ulid import is_ulid

log = logging.getLogger(__name__)


def require_segments(data_dir: Path, catalog: Catalog) -> None:
    """Raise IndexCorrupt if no segment that holds clips can be read: a disk that is away, which must not pass for
    damage. `htav verify` alone gives up what lies on it."""
    looked_for = None
    while (holding := _holding_clips(catalog)) != looked_for:  # compaction may replace them all between two looks
        if not holding or any(is_readable(data_dir, segment_id) for segment_id in holding):
            return
        looked_for = holding
    raise IndexCorrupt(
        f"None of the index's segments is there, in {segments_dir(data_dir).absolute()}.",
        "Is its disk mounted? If the segments are lost, `htav verify` has their videos indexed again.",
    )


def _holding_clips(catalog: Catalog) -> list[str]:
    with catalog.session() as session:
        query = select(Segment.id).where(exists().where(Clip.segment_id == Segment.id)).order_by(Segment.id)
        return list(session.scalars(query))


def recover(data_dir: Path, catalog: Catalog) -> int:
    """Returns how many bytes were freed. Raises IndexCorrupt, before it changes anything, when no segment is there."""
    require_segments(data_dir, catalog)
    folder = segments_dir(data_dir)
    freed = 0
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.suffix == SUFFIX and is_ulid(path.stem):
            freed += _recover_segment(data_dir, catalog, path.stem)
        else:
            log.warning("%s is not a segment and is left alone", path)
    return freed


def _recover_segment(data_dir: Path, catalog: Catalog, segment_id: str) -> int:
    segment = SegmentFile.reopen(data_dir, segment_id)
    if segment is None:
        return 0
    with segment:  # the row is read under the lock: before, its owner may still have been writing
        size = segment.end
        with catalog.session() as session:
            row = session.scalar(select(Segment).where(Segment.id == segment_id))
        if row is None:
            log.warning("removing segment %s, which an interrupted run left behind", segment_id)
            segment.discard()
            return size
        if row.state is SegmentState.OPEN and size > row.end:
            log.warning("cutting %d bytes off segment %s that were never committed", size - row.end, segment_id)
            segment.rewind(row.end)
            return size - row.end
    return 0
