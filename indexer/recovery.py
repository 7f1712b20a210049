"""Putting the segments folder in order after a writer died: cut off what was never committed, remove what has no row.

Runs before the first write of every writer and in `gc`. A file that another process holds locked is being written and
is left alone; a file whose name is not ours is reported and left alone.
"""

import logging
from pathlib import Path

from sqlalchemy import select

from indexer.catalog import Catalog
from indexer.segments import SUFFIX, SegmentFile, segments_dir
from indexer.tables import Segment, SegmentState
from indexer.ulid import is_ulid

log = logging.getLogger(__name__)


def recover(data_dir: Path, catalog: Catalog) -> int:
    """Returns how many bytes were freed."""
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
