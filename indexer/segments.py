"""Token segments: append-only files of opaque records, read back by location.

    segments/<ulid>.tok = 64-byte header, then records, each starting at a multiple of 64

This module knows bytes and files, not the catalog: `writer` ties the two together and decides which end is committed.
A file is written by one process at a time, which holds an exclusive lock on it, and its name is never used twice.

    with SegmentFile.create(data_dir, fingerprint, width) as segment:
        locations = segment.append([record, ...])       # on disk (fdatasync) when this returns
    records = SegmentReader(data_dir).read(locations)   # memoryviews, in the order asked; None = damaged or gone
"""

import errno
import fcntl
import hashlib
import os
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from indexer.errors import IndexCorrupt
from indexer.space import make_dir, read_errors, storage_errors
from indexer.ulid import new_ulid
from model.durable import sync

MAGIC = b"HTAVTOK\0"
VERSION = 1
ALIGN = 64
_HEADER = struct.Struct("<8sHHI32s12xI")
SUFFIX = ".tok"


class Location(NamedTuple):
    """Where a record is and what its bytes add up to."""

    segment_id: str
    offset: int
    length: int
    crc32: int


@dataclass(frozen=True)
class Header:
    """What a segment holds; `fingerprint_digest` is the SHA-256 of the fingerprint."""

    version: int
    width: int
    fingerprint_digest: bytes

    @classmethod
    def of(cls, fingerprint: str, width: int) -> "Header":
        return cls(VERSION, width, hashlib.sha256(fingerprint.encode()).digest())

    def to_bytes(self) -> bytes:
        body = _HEADER.pack(MAGIC, self.version, 0, self.width, self.fingerprint_digest, 0)[:-4]
        return body + struct.pack("<I", zlib.crc32(body))

    @classmethod
    def from_bytes(cls, data: bytes) -> "Header":
        if len(data) != _HEADER.size or zlib.crc32(data[:-4]) != struct.unpack("<I", data[-4:])[0]:
            raise IndexCorrupt("A segment's header is damaged.", "Run `htav verify`.")
        magic, version, _, width, digest, _ = _HEADER.unpack(data)
        if magic != MAGIC or version != VERSION:
            raise IndexCorrupt(f"A segment has format {version}, this program reads {VERSION}.", "Run `htav reindex`.")
        return cls(version, width, digest)


def segments_dir(data_dir: Path) -> Path:
    return data_dir / "segments"


def segment_path(data_dir: Path, segment_id: str) -> Path:
    return segments_dir(data_dir) / f"{segment_id}{SUFFIX}"


def is_readable(data_dir: Path, segment_id: str) -> bool:
    """Whether the disk gives the segment's first bytes now, whatever they say."""
    handle = _open(segment_path(data_dir, segment_id))
    if handle < 0:
        return False
    try:
        os.posix_fadvise(handle, 0, _HEADER.size, os.POSIX_FADV_DONTNEED)  # memory must not answer for a lost disk
        return _read(handle, memoryview(bytearray(_HEADER.size)), 0) > 0
    finally:
        os.close(handle)


def align(offset: int) -> int:
    return -(-offset // ALIGN) * ALIGN


class SegmentFile:
    """A segment open for appending, locked against every other writer."""

    def __init__(self, segment_id: str, path: Path, handle: int, end: int) -> None:
        self.id = segment_id
        self.path = path
        self.end = end
        self._handle = handle

    @classmethod
    def create(cls, data_dir: Path, fingerprint: str, width: int) -> "SegmentFile":
        """A new, durable, empty segment."""
        segment_id = new_ulid()
        path = segment_path(data_dir, segment_id)
        with storage_errors(path):
            make_dir(path.parent)
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            segment = cls(segment_id, path, handle, _HEADER.size)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
                os.stat(path)  # a cleaner may have taken the file for a leftover before it was locked
                _write(handle, Header.of(fingerprint, width).to_bytes(), 0)
                os.fsync(handle)
                sync(path.parent)
            except OSError:
                segment.discard()
                raise
        return segment

    @classmethod
    def reopen(cls, data_dir: Path, segment_id: str) -> "SegmentFile | None":
        """Lock an existing segment; None when another writer has it or it is gone. Call `rewind` before appending."""
        path = segment_path(data_dir, segment_id)
        try:
            handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        return cls(segment_id, path, handle, os.fstat(handle).st_size)

    def header(self) -> Header:
        """Raises IndexCorrupt for one that is damaged or cannot be read."""
        with read_errors(self.path):
            return Header.from_bytes(os.pread(self._handle, _HEADER.size, 0))

    def rewind(self, committed_end: int) -> bool:
        """Drop what lies beyond the committed end; False when bytes before it are missing, so appending is unsafe."""
        size = os.fstat(self._handle).st_size
        if size < committed_end:
            return False
        if size > committed_end:
            os.ftruncate(self._handle, committed_end)
        self.end = committed_end
        return True

    def append(self, records: Sequence[bytes]) -> list[Location]:
        """Write records behind the end and wait until the disk has them; nothing stays behind if the disk refuses."""
        locations, parts, position = [], [], self.end
        for record in records:
            start = align(position)
            parts += [b"\0" * (start - position), record]
            locations.append(Location(self.id, start, len(record), zlib.crc32(record)))
            position = start + len(record)
        with storage_errors(self.path):
            try:
                _write(self._handle, b"".join(parts), self.end)
                os.fdatasync(self._handle)
            except OSError:
                os.ftruncate(self._handle, self.end)
                raise
        self.end = position
        return locations

    def discard(self) -> None:
        """Remove the file; for a segment that holds nothing."""
        self.path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class SegmentReader:
    """Reads records for a whole shortlist at once; safe to share between threads.

    A record's CRC is checked the first time this process touches it, so that bit rot is found where it would mislead,
    at a cost paid once. What the disk cannot read (EIO) is as damaged as what it reads wrongly.
    """

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self._checked: dict[str, set[int]] = {}

    def read(self, locations: Sequence[Location], *, check: bool = False) -> list[memoryview | None]:
        """The records at `locations`, in that order; `check` verifies every CRC again."""
        order = sorted(range(len(locations)), key=lambda i: locations[i][:2])
        buffer = memoryview(bytearray(sum(align(location.length) for location in locations)))
        records: list[memoryview | None] = [None] * len(locations)
        handles: dict[str, int] = {}
        try:
            for i in order:
                self._advise(handles, locations[i])
            position = 0
            for i in order:
                target = buffer[position : position + locations[i].length]
                position += align(len(target))
                if self._read_one(handles[locations[i].segment_id], locations[i], target, check):
                    records[i] = target
        finally:
            for handle in handles.values():
                if handle >= 0:
                    os.close(handle)
        return records

    def _advise(self, handles: dict[str, int], location: Location) -> None:
        if location.segment_id not in handles:
            handles[location.segment_id] = _open(segment_path(self.data_dir, location.segment_id))
        if handles[location.segment_id] >= 0:
            os.posix_fadvise(handles[location.segment_id], location.offset, location.length, os.POSIX_FADV_WILLNEED)

    def _read_one(self, handle: int, location: Location, target: memoryview, check: bool) -> bool:
        if handle < 0 or _read(handle, target, location.offset) != location.length:
            return False
        checked = self._checked.setdefault(location.segment_id, set())
        if check or location.offset not in checked:
            if zlib.crc32(target) != location.crc32:
                return False
            checked.add(location.offset)
        return True


def _open(path: Path) -> int:
    """A handle for reading; -1 when the file is not there or the disk cannot find it."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as err:
        if err.errno not in (errno.ENOENT, errno.EIO):
            raise
        return -1


def _write(handle: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(handle, view, offset)
        view, offset = view[written:], offset + written


def _read(handle: int, target: memoryview, offset: int) -> int:
    """How many bytes there are before the file's end, or before a block that the disk cannot read."""
    total = 0
    while total < len(target):
        try:
            count = os.preadv(handle, [target[total:]], offset + total)
        except OSError as err:
            if err.errno != errno.EIO:
                raise
            count = 0
        if count == 0:
            break
        total += count
    return total
