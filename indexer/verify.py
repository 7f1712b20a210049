"""Checking every byte that the index promises to keep, and mending what can be mended.

Damaged clips are quarantined and their videos queued again; damaged snapshots are rebuilt from the segments; the
pointer is rebuilt from the snapshots. Nothing here needs the model. Safe beside a running service and worker.
"""

import logging
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import exists, select, text, update

from indexer.catalog import Catalog
from indexer.config import IndexSettings
from indexer.errors import IndexCorrupt, IndexerError
from indexer.publish import rebuilt_pointer, republish
from indexer.quarantine import quarantine, requeue
from indexer.sealed import check_blocks
from indexer.segments import Header, Location, SegmentReader, segment_path
from indexer.snapshot_files import (
    publishing,
    read_manifest,
    read_pointer,
    snapshot_dir,
    snapshot_folders,
    write_pointer,
)
from indexer.space import read_errors
from indexer.tables import SEARCHABLE, Clip, Segment, SegmentState, SnapshotRow, SnapshotState, Video

BATCH_CLIPS = 256
HEADER_BYTES = 64
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Problem:
    """`kind` is catalog, segment, clip, video, snapshot or pointer; `id` says which one."""

    kind: str
    id: str
    code: str
    repaired: bool


@dataclass
class VerifyReport:
    checked: dict[str, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        problems = [vars(problem) for problem in self.problems]
        return {"ok": self.ok, "checked": self.checked, "problems": problems}


Progress = Callable[[str, int], None]


def verify(
    settings: IndexSettings,
    catalog: Catalog,
    *,
    repair: bool = True,
    on_progress: Progress = lambda what, done: None,
) -> VerifyReport:
    """Check catalog, segments, clips, videos and snapshots, in this order: each builds on the one before."""
    report = VerifyReport()
    for what, check in (
        ("catalog", _catalog),
        ("segments", _segments),
        ("clips", _clips),
        ("videos", _videos),
        ("snapshots", _snapshots),
    ):
        report.checked[what] = check(settings, catalog, repair, report.problems)
        on_progress(what, report.checked[what])
    return report


def _catalog(settings: IndexSettings, catalog: Catalog, repair: bool, problems: list[Problem]) -> int:  # noqa: ARG001
    if catalog.engine.dialect.name != "sqlite":
        return 1  # PostgreSQL checks its own pages
    with catalog.session() as session:
        broken = [row[0] for row in session.execute(text("PRAGMA integrity_check")) if row[0] != "ok"]
        dangling = session.execute(text("PRAGMA foreign_key_check")).all()
    problems += [Problem("catalog", line, "corrupt_catalog", False) for line in broken]
    problems += [Problem("catalog", f"{row[0]}:{row[1]}", "dangling_row", False) for row in dangling]
    return 1


def _segments(settings: IndexSettings, catalog: Catalog, repair: bool, problems: list[Problem]) -> int:
    with catalog.session() as session:
        segments = session.scalars(select(Segment).where(Segment.state != SegmentState.RETIRED)).all()
    for segment in segments:
        path = segment_path(settings.data_dir, segment.id)
        if not path.exists():
            problems.append(Problem("segment", segment.id, "missing_segment", repair and _seal(catalog, segment.id)))
            continue
        expected = Header.of(segment.fingerprint, segment.width).to_bytes()
        if _header(path) != expected:
            repaired = repair and (_rewrite_header(path, expected) or _seal(catalog, segment.id))
            problems.append(Problem("segment", segment.id, "corrupt_header", repaired))
        if path.stat().st_size < segment.end:
            problems.append(Problem("segment", segment.id, "truncated_segment", repair and _seal(catalog, segment.id)))
    return len(segments)


def _clips(settings: IndexSettings, catalog: Catalog, repair: bool, problems: list[Problem]) -> int:
    reader, total, last = SegmentReader(settings.data_dir), 0, 0
    while True:
        with catalog.session() as session:
            query = select(Clip).where(Clip.id > last).order_by(Clip.id).limit(BATCH_CLIPS)
            clips = session.scalars(query).all()
        if not clips:
            return total
        total, last = total + len(clips), clips[-1].id
        damaged = _damaged(catalog, reader, clips)
        if damaged and repair:
            quarantine(catalog, damaged, "corrupt_record")
        problems += [Problem("clip", str(clip_id), "corrupt_record", repair) for clip_id in damaged]


def _damaged(catalog: Catalog, reader: SegmentReader, clips: Sequence[Clip]) -> list[int]:
    """Ids of clips of which a record fails its CRC, looked up again in case compaction moved or gc dropped them."""
    suspects = [clip.id for clip, sound in zip(clips, _sound(reader, clips), strict=True) if not sound]
    if not suspects:
        return []
    with catalog.session() as session:
        again = session.scalars(select(Clip).where(Clip.id.in_(suspects))).all()
    return [clip.id for clip, sound in zip(again, _sound(reader, again), strict=True) if not sound]


def _sound(reader: SegmentReader, clips: Sequence[Clip]) -> list[bool]:
    tokens = reader.read([Location(c.segment_id, c.offset, c.length, c.crc32) for c in clips], check=True)
    coarse = reader.read(
        [Location(c.segment_id, c.coarse_offset, c.coarse_length, c.coarse_crc32) for c in clips], check=True
    )
    return [None not in pair for pair in zip(tokens, coarse, strict=True)]


def _videos(settings: IndexSettings, catalog: Catalog, repair: bool, problems: list[Problem]) -> int:  # noqa: ARG001
    with catalog.transaction() as session:
        searchable = session.scalars(select(Video).where(Video.state.in_(SEARCHABLE))).all()
        owners = exists().where(Clip.video_id == Video.id)
        clipless = select(Video).where(Video.state.in_(SEARCHABLE), ~owners)
        empty = session.scalars(clipless.order_by(Video.id).with_for_update()).all()
        problems += [Problem("video", video.id, "no_clips", repair) for video in empty]
        if repair:
            requeue(session, empty, "no_clips")
        return len(searchable)


def _snapshots(settings: IndexSettings, catalog: Catalog, repair: bool, problems: list[Problem]) -> int:
    data_dir, rebuild = settings.data_dir, set()
    with publishing(data_dir):
        try:
            pointer = read_pointer(data_dir)
        except IndexCorrupt:
            pointer = rebuilt_pointer(data_dir)
            if repair:
                write_pointer(data_dir, pointer)
            problems.append(Problem("pointer", "current.json", "corrupt_pointer", repair))
        wanted = set(pointer.by_fingerprint.values())
        folders = snapshot_folders(data_dir)
        rebuild |= {name for name, current in pointer.by_fingerprint.items() if current not in folders}
        for snapshot_id in folders:
            if _intact(settings, snapshot_id):
                continue
            if snapshot_id in wanted:
                rebuild |= {name for name, current in pointer.by_fingerprint.items() if current == snapshot_id}
            repaired = repair and (snapshot_id in wanted or _drop(settings, catalog, snapshot_id))
            problems.append(Problem("snapshot", snapshot_id, "corrupt_snapshot", repaired))
        for name in rebuild:
            if pointer.by_fingerprint[name] not in folders:
                problems.append(Problem("snapshot", pointer.by_fingerprint[name], "missing_snapshot", repair))
    if repair:  # the lock is free again: publishing takes it
        for name in rebuild:
            republish(settings, catalog, name, force=True)
            _drop(settings, catalog, pointer.by_fingerprint[name])
    return len(folders)


def _intact(settings: IndexSettings, snapshot_id: str) -> bool:
    try:
        for name, entry in read_manifest(settings.data_dir, snapshot_id)["files"].items():
            check_blocks(snapshot_dir(settings.data_dir, snapshot_id) / name, entry)
    except (IndexerError, FileNotFoundError) as err:
        log.error("snapshot %s: %s", snapshot_id, err)
        return False
    return True


def _drop(settings: IndexSettings, catalog: Catalog, snapshot_id: str) -> bool:
    with catalog.transaction() as session:
        session.execute(update(SnapshotRow).where(SnapshotRow.id == snapshot_id).values(state=SnapshotState.CORRUPT))
    shutil.rmtree(snapshot_dir(settings.data_dir, snapshot_id), ignore_errors=True)
    return True


def _seal(catalog: Catalog, segment_id: str) -> bool:
    """Nothing may be appended to it; its damaged clips are found one by one."""
    with catalog.transaction() as session:
        session.get_one(Segment, segment_id).state = SegmentState.SEALED
    return True


def _header(path: Path) -> bytes | None:
    """None where the disk cannot read it."""
    try:
        with read_errors(path), path.open("rb") as file:
            return file.read(HEADER_BYTES)
    except IndexCorrupt:
        return None


def _rewrite_header(path: Path, header: bytes) -> bool:
    """False where the disk cannot write there."""
    handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        with read_errors(path):  # a part of a block is written: the rest of it has to be read first
            os.pwrite(handle, header, 0)
            os.fsync(handle)
    except IndexCorrupt:
        return False
    finally:
        os.close(handle)
    return True
