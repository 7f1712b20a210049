"""Publishing a snapshot: build it beside the old one, make it durable, then move the pointer in one step.

A kill at any point leaves the old snapshot or the new one to be opened, never neither: the pointer's rename is the
only moment at which anything changes for a reader. A new fingerprint gets its own pointer entry, so that a service that
still runs the old model keeps being fed while the new index grows.

    snapshot_id = publish(settings, catalog, fingerprint=..., model=retriever.name, width=d)
"""

import logging
import shutil
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import func, select, update

from indexer.catalog import Catalog
from indexer.coarse import FLAT_LIMIT, build_coarse
from indexer.coarse_record import CoarseRecord
from indexer.config import IndexSettings
from indexer.errors import IndexCorrupt
from indexer.quarantine import quarantine
from indexer.readings import Readings
from indexer.recovery import require_segments
from indexer.sealed import TEMPORARY, block_digests, seal, write_durable
from indexer.segments import Location, SegmentReader
from indexer.snapshot_files import (
    CLIP_DTYPE,
    CLIPS,
    COARSE,
    FILES,
    FORMAT,
    MANIFEST,
    READINGS,
    VIDEOS,
    Pointer,
    leftovers,
    pointer_path,
    publishing,
    read_manifest,
    read_pointer,
    snapshot_dir,
    snapshot_folders,
    snapshots_dir,
    write_pointer,
)
from indexer.space import read_errors, require_space, storage_errors
from indexer.tables import SEARCHABLE, Clip, Segment, SnapshotRow, SnapshotState, Video
from indexer.ulid import new_ulid
from model.durable import sync

STEPS = ("collected", "built", "sealed", "renamed", "recorded", "pointed", "pruned")
READ_RECORDS = 4096
SPARE_BYTES = 4 << 20
log = logging.getLogger(__name__)
Step = Callable[[str], None]


class Contents(NamedTuple):
    """What a snapshot will hold: clips [n] of CLIP_DTYPE with coarse vectors [n, 3d] and readings; videos, seconds."""

    clips: NDArray[np.void]
    vectors: NDArray[np.float16]
    readings: list[bytes]
    videos: list[str]
    seconds: float


def publish(
    settings: IndexSettings,
    catalog: Catalog,
    *,
    fingerprint: str,
    model: str,
    width: int,
    force: bool = False,
    as_latest: bool = True,
    flat_limit: int = FLAT_LIMIT,
    on_step: Step = lambda name: None,
) -> str:
    """Publish every clip of the searchable videos and return the snapshot's id: the current one if nothing changed.

    `force` builds anew in any case. Without `as_latest` the snapshot is the latest only if the one it replaces was.
    `on_step` hears each name of STEPS once that step is durable. Raises InsufficientStorage or StorageError, and
    IndexCorrupt when no segment is there at all; then the current snapshot stays.
    """
    with publishing(settings.data_dir):
        _clear_leftovers(settings.data_dir)
        contents = _collect(settings, catalog, fingerprint, width)
        on_step("collected")
        pointer = pointer_of(settings.data_dir)
        latest = as_latest or pointer.serves_latest(fingerprint)
        current = None if force else _unchanged(settings.data_dir, fingerprint, contents)
        if current is None:
            current = _build(settings, catalog, contents, fingerprint, model, latest, flat_limit, on_step)
        moved = pointer.moved(fingerprint, current, latest=latest)
        if moved != pointer:  # also by who goes back to a model whose snapshot is as it should be
            write_pointer(settings.data_dir, moved)
            on_step("pointed")
        prune(settings, catalog)
        on_step("pruned")
    return current


def republish(settings: IndexSettings, catalog: Catalog, fingerprint: str, *, force: bool = False) -> str:
    """Publish again for a fingerprint of which a snapshot or a segment exists; needs no model.

    Housekeeping does this for every model: it must not make an old one the latest, for the others are what `gc` drops.
    """
    with catalog.session() as session:
        model = session.scalar(
            select(SnapshotRow.model).where(SnapshotRow.fingerprint == fingerprint).order_by(SnapshotRow.id.desc())
        )
        width = session.scalar(select(Segment.width).where(Segment.fingerprint == fingerprint))
    return publish(
        settings, catalog, fingerprint=fingerprint, model=model or "unknown", width=width or 1,
        force=force, as_latest=False,
    )  # fmt: skip


def _collect(settings: IndexSettings, catalog: Catalog, fingerprint: str, width: int) -> Contents:
    """Read the clips' rows and vectors; a clip whose vectors are damaged is quarantined and its video left out."""
    while True:
        rows, seconds = _clip_rows(catalog, fingerprint)
        vectors, readings, damaged = _coarse_records(settings.data_dir, rows, width)
        if not damaged:
            break
        still_there = set(_clip_rows(catalog, fingerprint)[0])  # compaction may have moved the others before the read
        require_segments(settings.data_dir, catalog)
        quarantine(catalog, [row.id for row in damaged if row in still_there], "corrupt_record")
    videos = sorted({row.video_id for row in rows})
    ordinals = {video: ordinal for ordinal, video in enumerate(videos)}
    clips = np.array([(row.id, ordinals[row.video_id], row.start_s, row.end_s) for row in rows], CLIP_DTYPE)
    return Contents(clips, vectors, readings, videos, seconds)


def _clip_rows(catalog: Catalog, fingerprint: str) -> tuple[Sequence[Any], float]:
    chosen = (Clip.fingerprint == fingerprint, Video.state.in_(SEARCHABLE))
    columns = (
        Clip.id,
        Clip.video_id,
        Clip.start_s,
        Clip.end_s,
        Clip.segment_id,
        Clip.coarse_offset,
        Clip.coarse_length,
        Clip.coarse_crc32,
    )
    with catalog.session() as session:
        rows = session.execute(select(*columns).join(Video, Video.id == Clip.video_id).where(*chosen).order_by(Clip.id))
        indexed = select(Clip.video_id).where(Clip.fingerprint == fingerprint)
        lasting = select(func.sum(Video.duration_s)).where(Video.id.in_(indexed), Video.state.in_(SEARCHABLE))
        return rows.all(), float(session.scalar(lasting) or 0.0)


def _coarse_records(
    data_dir: Path, rows: Sequence[Any], width: int
) -> tuple[NDArray[np.float16], list[bytes], list[Any]]:
    """Coarse vectors [n, 3d] and readings in the order of `rows` (read in the disk's order), and the damaged rows."""
    vectors, readings, damaged = np.zeros((len(rows), 3 * width), np.float16), [b""] * len(rows), []
    order = sorted(range(len(rows)), key=lambda i: (rows[i].segment_id, rows[i].coarse_offset))
    reader = SegmentReader(data_dir)
    for start in range(0, len(order), READ_RECORDS):
        part = order[start : start + READ_RECORDS]
        records = reader.read([Location(*rows[i][4:]) for i in part])
        for i, record in zip(part, records, strict=True):
            try:
                vectors[i], readings[i] = CoarseRecord.from_bytes(record or b"", width)
            except ValueError:
                damaged.append(rows[i])
    return vectors, readings, damaged


def _unchanged(data_dir: Path, fingerprint: str, contents: Contents) -> str | None:
    """The current snapshot if it holds exactly these clips: ids are never reused, so equal ids are equal clips."""
    try:
        current = read_pointer(data_dir).by_fingerprint.get(fingerprint)
        if current is None:
            return None
        manifest, clips = read_manifest(data_dir, current), snapshot_dir(data_dir, current) / CLIPS
        with read_errors(clips):
            same = clips.read_bytes() == contents.clips.tobytes()
        return current if same and manifest["videos"] == len(contents.videos) else None
    except (IndexCorrupt, FileNotFoundError):
        return None


def _build(
    settings: IndexSettings,
    catalog: Catalog,
    contents: Contents,
    fingerprint: str,
    model: str,
    latest: bool,
    flat_limit: int,
    on_step: Step,
) -> str:
    snapshot_id, data_dir = new_ulid(), settings.data_dir
    letters = sum(map(len, contents.readings))
    require_space(settings, contents.vectors.nbytes + contents.clips.nbytes + letters + SPARE_BYTES)
    folder = snapshots_dir(data_dir) / f"{TEMPORARY}{snapshot_id}"
    final = snapshot_dir(data_dir, snapshot_id)
    with storage_errors(folder):
        folder.mkdir()
        description = _write_files(folder, contents, flat_limit)
        on_step("built")
        manifest = {
            "format": FORMAT,
            "id": snapshot_id,
            "fingerprint": fingerprint,
            "model": model,
            "latest": latest,
            "index": description,
            **_summary(contents),
            "files": {name: block_digests(folder / name) for name in FILES},
        }
        write_durable(folder / MANIFEST, seal(manifest))
        sync(folder)
        on_step("sealed")
        folder.rename(final)
        sync(final.parent)
        on_step("renamed")
    _record(catalog, manifest)
    on_step("recorded")
    return snapshot_id


def _write_files(folder: Path, contents: Contents, flat_limit: int) -> dict[str, Any]:
    index = build_coarse(contents.vectors, flat_limit)
    index.save(folder / COARSE)
    write_durable(folder / CLIPS, contents.clips.tobytes())
    write_durable(folder / READINGS, Readings.build(contents.readings).to_bytes())
    write_durable(folder / VIDEOS, b"".join(bytes.fromhex(video.replace("-", "")) for video in contents.videos))
    return index.describe()


def _summary(contents: Contents) -> dict[str, Any]:
    return {
        "width": contents.vectors.shape[1] // 3,
        "created_at": datetime.now(UTC).isoformat(),
        "videos": len(contents.videos),
        "clips": len(contents.clips),
        "seconds": contents.seconds,
    }


def _record(catalog: Catalog, manifest: dict[str, Any]) -> None:
    fields = {name: manifest[name] for name in ("id", "fingerprint", "model", "videos", "clips", "seconds")}
    with catalog.transaction() as session:
        session.add(SnapshotRow(**fields, created_at=datetime.fromisoformat(manifest["created_at"])))


def pointer_of(data_dir: Path) -> Pointer:
    """The pointer to start from: a damaged one is rebuilt from what lies on disk."""
    try:
        return read_pointer(data_dir)
    except IndexCorrupt:
        log.warning("%s is damaged and is made anew", pointer_path(data_dir))
        return rebuilt_pointer(data_dir)


def rebuilt_pointer(data_dir: Path) -> Pointer:
    """A pointer to each fingerprint's newest readable snapshot, and to the newest that was published as the latest."""
    pointer = Pointer()
    for snapshot_id in snapshot_folders(data_dir):
        try:
            manifest = read_manifest(data_dir, snapshot_id)
            fingerprint = manifest["fingerprint"]
            latest = manifest.get("latest", True) or pointer.serves_latest(fingerprint)
            pointer = pointer.moved(fingerprint, snapshot_id, latest=latest)
        except (IndexCorrupt, FileNotFoundError):
            log.warning("snapshot %s has no readable manifest", snapshot_id)
    return pointer


def _clear_leftovers(data_dir: Path) -> None:
    for path in leftovers(data_dir):
        log.warning("removing %s, left behind by an interrupted publication", path)
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def prune(settings: IndexSettings, catalog: Catalog) -> None:
    """Keep the newest snapshots of each fingerprint; a reader has its own in memory and does not notice."""
    pointer = pointer_of(settings.data_dir)
    with catalog.transaction() as session:
        query = select(SnapshotRow).where(SnapshotRow.state == SnapshotState.PUBLISHED).order_by(SnapshotRow.id.desc())
        kept: dict[str, list[str]] = {name: [current] for name, current in pointer.by_fingerprint.items()}
        for row in session.scalars(query):
            group = kept.get(row.fingerprint, [])
            if row.id not in group and len(group) < settings.keep_snapshots:
                group.append(row.id)
        keep = {snapshot_id for group in kept.values() for snapshot_id in group}
        session.execute(
            update(SnapshotRow)
            .where(SnapshotRow.state == SnapshotState.PUBLISHED, SnapshotRow.id.not_in(keep))
            .values(state=SnapshotState.RETIRED)
        )
    for snapshot_id in snapshot_folders(settings.data_dir):
        if snapshot_id not in keep:
            doomed = snapshots_dir(settings.data_dir) / f"{TEMPORARY}{snapshot_id}"
            snapshot_dir(settings.data_dir, snapshot_id).rename(doomed)
            shutil.rmtree(doomed)
