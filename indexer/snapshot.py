"""Searching a snapshot: one published, checked, immutable state of the index, held in memory.

    current = CurrentSnapshot(settings.data_dir, catalog, retriever.fingerprint)
    snapshot = current.get()                        # cheap; follows publications, never goes dark
    scores, clip_ids = snapshot.search(vector, k=100, allow=snapshot.clips_of(video_ids))
    clip_ids = snapshot.heard("themeetingmoved", k=25)
    rows = snapshot.clip_rows(clip_ids)             # from memory
    tokens = snapshot.fetch(clip_ids)               # from the segments; None = damaged or hidden by now: drop it

A reader keeps its Snapshot as long as it holds the object; nothing of it is read from the snapshot's folder any more,
so the folder may be pruned. Videos that were deleted or went missing after the publication are hidden at once: `fetch`
asks the catalog each time and gives nothing of them, and `search` leaves them out before FAISS looks, so that they take
no places in a shortlist either.
"""

import logging
import threading
import time
import uuid
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select

from indexer.catalog import Catalog
from indexer.coarse import CoarseIndex, open_coarse
from indexer.coarse_record import CoarseRecord
from indexer.errors import IndexCorrupt, NothingIndexed
from indexer.publish import publish, rebuilt_pointer
from indexer.quarantine import IN_CLAUSE, quarantine
from indexer.readings import Readings
from indexer.recovery import require_segments
from indexer.sealed import check_blocks
from indexer.segments import Location, SegmentReader
from indexer.snapshot_files import (
    CLIP_DTYPE,
    CLIPS,
    COARSE,
    READINGS,
    VIDEOS,
    pointer_path,
    read_manifest,
    read_pointer,
    snapshot_dir,
    snapshot_folders,
)
from indexer.space import read_errors
from indexer.tables import HIDDEN, SEARCHABLE, Clip, Video
from model.tokens import TokenSet

__all__ = ["ClipRow", "CurrentSnapshot", "Snapshot", "open_current", "open_snapshot", "publish"]

OPEN_ATTEMPTS = 5
HIDDEN_MANY = 5_000
HIDDEN_KEPT_S = 5.0
log = logging.getLogger(__name__)
Floats = NDArray[np.float32]
Ids = NDArray[np.int64]


class ClipRow(NamedTuple):
    clip_id: int
    video_id: str
    start_s: float
    end_s: float


class Snapshot:
    """One state of the index. Thread-safe; freed when the last holder lets go."""

    def __init__(
        self,
        manifest: dict[str, Any],
        index: CoarseIndex,
        clips: NDArray[np.void],
        readings: Readings,
        videos: list[str],
        catalog: Catalog,
        reader: SegmentReader,
    ) -> None:
        self.id: str = manifest["id"]
        self.fingerprint: str = manifest["fingerprint"]
        self.model: str = manifest["model"]
        self.width: int = manifest["width"]
        self.videos: int = manifest["videos"]
        self.clips: int = manifest["clips"]
        self.seconds: float = manifest["seconds"]
        self.clip_ids: Ids = clips["clip_id"].copy()
        self.video_ids = videos
        self._clips = clips
        self._index = index
        self._readings = readings
        self._catalog = catalog
        self._reader = reader
        self._lost: set[int] = set()  # clips whose rows went with their quarantine: the catalog no longer hides them
        self._hidden: tuple[float, Ids] = (0.0, np.empty(0, np.int64))

    def describe(self) -> dict[str, Any]:
        """Kind and size of the coarse index."""
        return self._index.describe()

    def search(self, vector: Floats, k: int, allow: Ids | None = None) -> tuple[Floats, Ids]:
        """The at most k clips with the highest inner product with `vector` [3d], best first, among `allow` if given."""
        rows = self._allowed_rows(allow)
        scores, found = self._index.search(np.asarray(vector, np.float32)[None], k, rows)
        real = found[0] >= 0
        return scores[0][real], self.clip_ids[found[0][real]]

    def heard(self, letters: str, k: int, allow: Ids | None = None) -> Ids:
        """The at most k clips in which these letters are heard best, among `allow` if given."""
        if not letters:  # a search of pictures alone: the catalog need not be asked again what is hidden
            return self.clip_ids[:0]
        found: Ids = self.clip_ids[self._readings.search(letters, k, self._allowed_rows(allow))]
        return found

    def extent(self) -> tuple[int, int, float]:
        """Videos, clips and seconds that may be found: those hidden or lost since it was published are taken off."""
        rows = self._hidden_rows()
        hidden = self._clips[rows]
        ends = np.zeros(len(self.video_ids))
        np.maximum.at(ends, hidden["video"], hidden["end_s"])
        videos = self.videos - len(np.unique(hidden["video"]))
        clips = self.clips - len(np.union1d(rows, self._lost_rows()))
        return videos, clips, max(self.seconds - float(ends.sum()), 0.0)

    def clip_rows(self, clip_ids: Sequence[int] | Ids) -> list[ClipRow]:
        """Video and times of clips of this snapshot. Raises KeyError for another's."""
        clips = self._clips[self._rows_of(np.asarray(clip_ids, np.int64), strict=True)]
        return [ClipRow(int(c), self.video_ids[int(v)], float(s), float(e)) for c, v, s, e in clips]

    def clips_of(self, video_ids: Iterable[str]) -> Ids:
        """The clip ids of these videos, ascending; videos that the snapshot does not hold have none."""
        wanted = np.zeros(len(self.video_ids), np.bool_)
        wanted[[self._ordinals[video] for video in video_ids if video in self._ordinals]] = True
        chosen: Ids = self.clip_ids[wanted[self._clips["video"]]]
        return chosen

    def fetch(self, clip_ids: Sequence[int] | Ids) -> list[TokenSet | None]:
        """The clips' token sets, in order; None for one that cannot be read, whose video is hidden and re-queued.

        Raises IndexCorrupt when no segment is there at all.
        """
        wanted = [int(clip_id) for clip_id in clip_ids]
        tokens = self._parsed(self._records(wanted))
        missing = [clip_id for clip_id in wanted if clip_id not in tokens]
        if missing:  # compaction may have moved a record between our look into the catalog and the read
            locations = self._locations(missing)
            tokens |= self._parsed(self._read(locations))
            damaged = [clip_id for clip_id in locations if clip_id not in tokens]
            if damaged:
                require_segments(self._reader.data_dir, self._catalog)
                self._lost.update(damaged)
                quarantine(self._catalog, damaged, "corrupt_record")
        return [tokens.get(clip_id) for clip_id in wanted]

    def coarse_vectors(self, clip_ids: Sequence[int] | Ids) -> dict[int, Floats]:
        """Stored coarse vectors [3d] by clip id, without those that cannot be read: the query of "similar videos".

        Raises IndexCorrupt when no segment is there at all.
        """
        locations = self._locations([int(clip_id) for clip_id in clip_ids], coarse=True)
        records = self._read(locations)
        if len(records) < len(locations):
            require_segments(self._reader.data_dir, self._catalog)
        return {
            clip_id: CoarseRecord.from_bytes(record, self.width).vectors.astype(np.float32)
            for clip_id, record in records.items()
        }

    @cached_property
    def _ordinals(self) -> dict[str, int]:
        return {video: ordinal for ordinal, video in enumerate(self.video_ids)}

    def _allowed_rows(self, allow: Ids | None) -> Ids | None:
        """Rows that may be found: None means all of them."""
        hidden = np.concatenate([self._hidden_rows(), self._lost_rows()])
        if allow is None and not len(hidden):
            return None
        mask = np.full(self.clips, allow is None)
        if allow is not None:
            mask[self._rows_of(np.asarray(allow, np.int64))] = True
        mask[hidden] = False
        return np.flatnonzero(mask).astype(np.int64)

    def _hidden_rows(self) -> Ids:
        """Rows of videos that are not searchable now. A very long list (a disk unplugged) is kept for seconds."""
        fresh_until, rows = self._hidden
        if time.monotonic() < fresh_until:
            return rows
        query = select(Clip.id).join(Video, Video.id == Clip.video_id)
        with self._catalog.session() as session:
            ids = session.scalars(query.where(Video.state.in_(HIDDEN), Clip.fingerprint == self.fingerprint)).all()
        rows = self._rows_of(np.array(ids, np.int64))
        if len(ids) > HIDDEN_MANY:
            self._hidden = (time.monotonic() + HIDDEN_KEPT_S, rows)
        return rows

    def _lost_rows(self) -> Ids:
        return self._rows_of(np.array(sorted(self._lost), np.int64))

    def _rows_of(self, clip_ids: Ids, *, strict: bool = False) -> Ids:
        rows = np.searchsorted(self.clip_ids, clip_ids)
        known = rows < self.clips
        known[known] = self.clip_ids[rows[known]] == clip_ids[known]
        if strict and not known.all():
            raise KeyError(f"clip {clip_ids[~known][0]} is not in snapshot {self.id}")
        return rows[known].astype(np.int64)

    def _records(self, clip_ids: list[int]) -> dict[int, memoryview]:
        return self._read(self._locations(clip_ids))

    def _read(self, locations: dict[int, Location]) -> dict[int, memoryview]:
        records = self._reader.read(list(locations.values()))
        return {clip_id: record for clip_id, record in zip(locations, records, strict=True) if record is not None}

    def _locations(self, clip_ids: list[int], *, coarse: bool = False) -> dict[int, Location]:
        """Where the records of these clips are now, for clips whose video is searchable now."""
        place = (
            (Clip.coarse_offset, Clip.coarse_length, Clip.coarse_crc32)
            if coarse
            else (Clip.offset, Clip.length, Clip.crc32)
        )
        query = select(Clip.id, Clip.segment_id, *place).join(Video, Video.id == Clip.video_id)
        found: dict[int, Location] = {}
        with self._catalog.session() as session:
            for start in range(0, len(clip_ids), IN_CLAUSE):
                part = clip_ids[start : start + IN_CLAUSE]
                for row in session.execute(query.where(Clip.id.in_(part), Video.state.in_(SEARCHABLE))):
                    found[row[0]] = Location(*row[1:])
        return found

    def _parsed(self, records: dict[int, memoryview]) -> dict[int, TokenSet]:
        tokens = {}
        for clip_id, record in records.items():
            try:
                tokens[clip_id] = TokenSet.from_bytes(record)
            except ValueError as err:
                log.warning("the record of clip %d cannot be read: %s", clip_id, err)
        return tokens


class CurrentSnapshot:
    """The snapshot to answer from. `get` looks at the pointer at most every `poll_s` and swaps when it moved.

    One thread opens the new snapshot while the others go on with the old; one that cannot be opened is reported and not
    served.
    """

    def __init__(
        self, data_dir: Path, catalog: Catalog, fingerprint: str | None = None, *, poll_s: float = 1.0
    ) -> None:
        self._data_dir = data_dir
        self._catalog = catalog
        self._fingerprint = fingerprint
        self._poll_s = poll_s
        self._lock = threading.Lock()
        self._snapshot: Snapshot | None = None
        self._seen: tuple[int, int] | None = None
        self._next_look = 0.0

    def get(self) -> Snapshot:
        """The newest snapshot that can be opened. Raises NothingIndexed or IndexCorrupt when there is none."""
        snapshot = self._snapshot
        if snapshot is not None and time.monotonic() < self._next_look:
            return snapshot
        if self._lock.acquire(blocking=snapshot is None):
            try:
                self._look()
            finally:
                self._lock.release()
        return self._snapshot or open_current(self._data_dir, self._catalog, self._fingerprint)

    def _look(self) -> None:
        self._next_look = time.monotonic() + self._poll_s
        try:
            stamp = _stamp(self._data_dir)
            if self._snapshot is not None and stamp == self._seen:
                return
            wanted = read_pointer(self._data_dir).choose(self._fingerprint)
            if self._snapshot is None or wanted != self._snapshot.id:
                self._snapshot = open_current(self._data_dir, self._catalog, self._fingerprint)
        except OSError as err:  # the disk may answer again the next time
            if self._snapshot is None:
                raise
            log.error("still serving snapshot %s: %s", self._snapshot.id, err)
            return
        except (IndexCorrupt, NothingIndexed) as err:
            if self._snapshot is None:
                self._snapshot = open_current(self._data_dir, self._catalog, self._fingerprint)
            else:
                log.error("still serving snapshot %s: %s", self._snapshot.id, err)
        self._seen = stamp


def open_current(data_dir: Path, catalog: Catalog, fingerprint: str | None = None) -> Snapshot:
    """The snapshot the pointer names, for one fingerprint or the one published last.

    A damaged one is reported and the newest intact one is served instead. Raises NothingIndexed when nothing was ever
    published, IndexCorrupt when nothing is intact.
    """
    reader = SegmentReader(data_dir)
    for _ in range(OPEN_ATTEMPTS):
        named = _named(data_dir, fingerprint)
        if named is None:
            raise NothingIndexed("Nothing has been indexed for this model yet.", "Run `htav index PATH` first.")
        try:
            return open_snapshot(data_dir, catalog, named, reader)
        except (IndexCorrupt, FileNotFoundError) as err:
            if _named(data_dir, fingerprint) != named:
                continue  # a publication pruned it under our hands
            log.error("snapshot %s cannot be opened, looking for an older one: %s", named, err)
            return _older(data_dir, catalog, fingerprint, named, reader)
    raise IndexCorrupt("The index changes faster than it can be opened.", "Try again.")


def open_snapshot(data_dir: Path, catalog: Catalog, snapshot_id: str, reader: SegmentReader | None = None) -> Snapshot:
    """Open one snapshot after checking every block. Raises IndexCorrupt or FileNotFoundError."""
    folder, manifest = snapshot_dir(data_dir, snapshot_id), read_manifest(data_dir, snapshot_id)
    for name, entry in manifest["files"].items():
        check_blocks(folder / name, entry)
    with read_errors(folder):
        clips = np.fromfile(folder / CLIPS, CLIP_DTYPE)
        readings = Readings.open(folder / READINGS, len(clips))
        packed = (folder / VIDEOS).read_bytes()
        index = open_coarse(folder / COARSE, manifest["index"])
    videos = [str(uuid.UUID(bytes=packed[start : start + 16])) for start in range(0, len(packed), 16)]
    return Snapshot(manifest, index, clips, readings, videos, catalog, reader or SegmentReader(data_dir))


def _named(data_dir: Path, fingerprint: str | None) -> str | None:
    try:
        return read_pointer(data_dir).choose(fingerprint)
    except IndexCorrupt as err:
        log.error("%s", err)
        return rebuilt_pointer(data_dir).choose(fingerprint)


def _older(data_dir: Path, catalog: Catalog, fingerprint: str | None, than: str, reader: SegmentReader) -> Snapshot:
    for snapshot_id in reversed(snapshot_folders(data_dir)):
        try:
            if snapshot_id < than and fingerprint in (None, read_manifest(data_dir, snapshot_id)["fingerprint"]):
                return open_snapshot(data_dir, catalog, snapshot_id, reader)
        except (IndexCorrupt, FileNotFoundError) as err:
            log.error("snapshot %s cannot be opened either: %s", snapshot_id, err)
    raise IndexCorrupt("No published snapshot is intact.", "Run `htav verify`, which rebuilds it from the segments.")


def _stamp(data_dir: Path) -> tuple[int, int] | None:
    try:
        status = pointer_path(data_dir).stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns
