"""Committing clips: bytes to a segment first, then the rows that name them, so that a committed clip can be read.

The order is `pwrite -> fdatasync -> catalog commit`. A kill between the two leaves bytes that no row names; the next
writer of that segment cuts them off. A kill anywhere else leaves nothing at all.

    with ClipWriter(settings, catalog, retriever.fingerprint, width) as writer:
        done = writer.committed(video_id)                       # ordinals an earlier, interrupted run has committed
        writer.commit(video_id, [NewClip(...), ...])            # as often as wanted; a part of a long video at a time
        writer.commit(video_id, clips, also=lambda session: ...)  # more rows in the same transaction (states, progress)
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from indexer.catalog import Catalog
from indexer.coarse_record import CoarseRecord
from indexer.config import IndexSettings
from indexer.errors import IndexCorrupt
from indexer.recovery import recover
from indexer.segments import ALIGN, Header, Location, SegmentFile
from indexer.space import require_space
from indexer.tables import Clip, Segment, SegmentState

ROLL_BYTES = 1 << 30
CATALOG_BYTES = 1 << 20  # room for the catalog's own pages and log beside the records
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class NewClip:
    """An encoded clip that is not yet in the catalog: `tokens` is opaque here, `coarse` is float [3 x width].

    `reading` is what is heard, in ASCII letters.
    """

    ordinal: int
    start_s: float
    end_s: float
    tokens: bytes
    coarse: NDArray[np.floating]
    reading: str = ""


class ClipWriter:
    """Appends to one segment at a time; for one thread of one process. Several writers use several segments."""

    def __init__(
        self, settings: IndexSettings, catalog: Catalog, fingerprint: str, width: int, *, roll_bytes: int = ROLL_BYTES
    ) -> None:
        self.fingerprint = fingerprint
        self.width = width
        self._settings = settings
        self._catalog = catalog
        self._roll_bytes = roll_bytes
        self._segment: SegmentFile | None = None

    def committed(self, video_id: str) -> set[int]:
        """Ordinals of this video's clips that are safe on disk."""
        with self._catalog.session() as session:
            query = select(Clip.ordinal).where(Clip.video_id == video_id, Clip.fingerprint == self.fingerprint)
            return set(session.scalars(query))

    def commit(
        self, video_id: str, clips: Sequence[NewClip], also: Callable[[Session], None] | None = None
    ) -> list[int]:
        """Make clips durable and known, and return their ids; those already committed are left as they are."""
        known = self.committed(video_id)
        fresh = [clip for clip in clips if clip.ordinal not in known]
        locations = self.append([part for clip in fresh for part in (clip.tokens, self._coarse_bytes(clip))])
        rows = [
            self._row(video_id, clip, *pair)
            for clip, pair in zip(fresh, zip(locations[::2], locations[1::2], strict=True), strict=True)
        ]
        try:
            with self._catalog.transaction() as session:
                session.add_all(rows)
                self.advance(session)
                if also is not None:
                    also(session)
                session.flush()
                return [row.id for row in rows]
        except BaseException:
            self.close()  # the segment's end in memory is ahead of the catalog's: start from the catalog's next time
            raise

    def append(self, records: Sequence[bytes]) -> list[Location]:
        """Write records without naming them yet; follow with a transaction that calls `advance`."""
        if not records:
            return []
        needed = sum(len(record) + ALIGN for record in records)
        require_space(self._settings, needed + CATALOG_BYTES)
        if self._segment is not None and self._segment.end + needed > self._roll_bytes:
            self._seal()
        if self._segment is None:
            recover(self._settings.data_dir, self._catalog)
            self._segment = self._reusable() or self._create()
        return self._segment.append(records)

    def advance(self, session: Session) -> None:
        """Record how far the open segment is committed once this transaction is."""
        if self._segment is not None:
            session.get_one(Segment, self._segment.id).end = self._segment.end

    def close(self) -> None:
        if self._segment is not None:
            self._segment.close()
            self._segment = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _coarse_bytes(self, clip: NewClip) -> bytes:
        if clip.coarse.shape != (3 * self.width,) or not np.isfinite(clip.coarse).all():
            raise ValueError(f"coarse vectors must be {3 * self.width} finite numbers, got shape {clip.coarse.shape}")
        return CoarseRecord(clip.coarse.astype(np.float16), clip.reading.encode("ascii")).to_bytes()

    def _row(self, video_id: str, clip: NewClip, tokens: Location, coarse: Location) -> Clip:
        return Clip(
            video_id=video_id,
            fingerprint=self.fingerprint,
            ordinal=clip.ordinal,
            start_s=clip.start_s,
            end_s=clip.end_s,
            segment_id=tokens.segment_id,
            offset=tokens.offset,
            length=tokens.length,
            crc32=tokens.crc32,
            coarse_offset=coarse.offset,
            coarse_length=coarse.length,
            coarse_crc32=coarse.crc32,
        )

    def _create(self) -> SegmentFile:
        segment = SegmentFile.create(self._settings.data_dir, self.fingerprint, self.width)
        try:
            with self._catalog.transaction() as session:
                session.add(Segment(id=segment.id, fingerprint=self.fingerprint, width=self.width, end=segment.end))
        except BaseException:
            segment.discard()
            raise
        return segment

    def _reusable(self) -> SegmentFile | None:
        """An open segment that nobody writes, cut back to its committed end."""
        with self._catalog.session() as session:
            query = select(Segment.id).where(
                Segment.fingerprint == self.fingerprint,
                Segment.width == self.width,
                Segment.state == SegmentState.OPEN,
                Segment.end < self._roll_bytes,
            )
            candidates = session.scalars(query.order_by(Segment.id)).all()
        for segment_id in candidates:
            segment = SegmentFile.reopen(self._settings.data_dir, segment_id)
            if segment is not None and self._recover(segment):
                return segment
        return None

    def _recover(self, segment: SegmentFile) -> bool:
        """Read the committed end only now that the lock is held: the last owner may have moved it until then."""
        with self._catalog.session() as session:
            row = session.get(Segment, segment.id)
        if row is None or row.state != SegmentState.OPEN:  # compaction was faster
            segment.close()
            return False
        try:
            sound = segment.header() == Header.of(self.fingerprint, self.width) and segment.rewind(row.end)
        except IndexCorrupt:
            sound = False
        if not sound:
            log.warning("segment %s is damaged and gets no more records; `htav verify` repairs it", segment.id)
            segment.close()
            self._set_sealed(segment.id)
        return sound

    def _seal(self) -> None:
        if self._segment is not None:
            self._set_sealed(self._segment.id)
            self.close()

    def _set_sealed(self, segment_id: str) -> None:
        with self._catalog.transaction() as session:
            row = session.get(Segment, segment_id)
            if row is not None and row.state == SegmentState.OPEN:
                row.state = SegmentState.SEALED
