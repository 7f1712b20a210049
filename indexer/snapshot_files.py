"""How a snapshot lies on disk; shared by the code that publishes, opens, verifies and prunes.

snapshots/current.json            sealed: {"latest": id, "by_fingerprint": {fingerprint: id}}
snapshots/<ulid>/manifest.json    sealed: what it is, and the block digests of the files beside it
snapshots/<ulid>/coarse.faiss     row i is clips.bin's row i
snapshots/<ulid>/clips.bin        CLIP_DTYPE, ascending clip id
snapshots/<ulid>/readings.bin     a length (uint32) for each of clips.bin's rows, then what is heard in them, as letters
snapshots/<ulid>/videos.bin       16 bytes a video, in the order that clips.bin's `video` counts
snapshots/.tmp-<ulid>/            one being built; anything with this prefix may be deleted when no one publishes
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from indexer.errors import IndexCorrupt
from indexer.sealed import TEMPORARY, read_sealed, replace_durable, seal
from indexer.space import make_dir, storage_errors
from indexer.ulid import is_ulid

FORMAT = 1
MANIFEST = "manifest.json"
COARSE = "coarse.faiss"
CLIPS = "clips.bin"
READINGS = "readings.bin"
VIDEOS = "videos.bin"
FILES = (COARSE, CLIPS, READINGS, VIDEOS)
CLIP_DTYPE = np.dtype([("clip_id", "<i8"), ("video", "<i8"), ("start_s", "<f8"), ("end_s", "<f8")])


@dataclass(frozen=True)
class Pointer:
    """Which snapshot to serve: one for each fingerprint, and the one of the model that was last indexed with."""

    latest: str | None = None
    by_fingerprint: dict[str, str] = field(default_factory=dict)

    def choose(self, fingerprint: str | None) -> str | None:
        return self.latest if fingerprint is None else self.by_fingerprint.get(fingerprint)

    def serves_latest(self, fingerprint: str) -> bool:
        """Whether the latest snapshot is this model's; a first model's will be."""
        return self.latest in (None, self.by_fingerprint.get(fingerprint))

    def moved(self, fingerprint: str, snapshot_id: str, *, latest: bool = True) -> "Pointer":
        current = self.by_fingerprint | {fingerprint: snapshot_id}
        return Pointer(snapshot_id if latest else self.latest, current)

    def without(self, fingerprint: str) -> "Pointer":
        rest = {name: current for name, current in self.by_fingerprint.items() if name != fingerprint}
        return Pointer(self.latest if self.latest in rest.values() else max(rest.values(), default=None), rest)


def snapshots_dir(data_dir: Path) -> Path:
    return data_dir / "snapshots"


def snapshot_dir(data_dir: Path, snapshot_id: str) -> Path:
    return snapshots_dir(data_dir) / snapshot_id


def pointer_path(data_dir: Path) -> Path:
    return snapshots_dir(data_dir) / "current.json"


def read_pointer(data_dir: Path) -> Pointer:
    """The pointer; an empty one before the first publication. Raises IndexCorrupt."""
    try:
        document = read_sealed(pointer_path(data_dir))
    except FileNotFoundError:
        return Pointer()
    return Pointer(document["latest"], document["by_fingerprint"])


def write_pointer(data_dir: Path, pointer: Pointer) -> None:
    document = {"latest": pointer.latest, "by_fingerprint": pointer.by_fingerprint}
    replace_durable(pointer_path(data_dir), seal(document))


def read_manifest(data_dir: Path, snapshot_id: str) -> dict[str, Any]:
    """What the snapshot says of itself. Raises IndexCorrupt, also for another format, or FileNotFoundError."""
    manifest = read_sealed(snapshot_dir(data_dir, snapshot_id) / MANIFEST)
    if manifest["format"] != FORMAT:
        raise IndexCorrupt(
            f"Snapshot {snapshot_id} has format {manifest['format']}, this program reads {FORMAT}.",
            "Run `htav verify`, which builds it anew from the segments.",
        )
    return manifest


def snapshot_folders(data_dir: Path) -> list[str]:
    """Ids of the complete snapshots on disk, oldest first. Folders with other names are not ours and are left alone."""
    folder = snapshots_dir(data_dir)
    return sorted(entry.name for entry in folder.iterdir() if is_ulid(entry.name)) if folder.is_dir() else []


def leftovers(data_dir: Path) -> list[Path]:
    """What interrupted publications left behind. Look only while holding `publishing`."""
    folder = snapshots_dir(data_dir)
    return sorted(folder.glob(f"{TEMPORARY}*")) if folder.is_dir() else []


@contextmanager
def publishing(data_dir: Path) -> Iterator[None]:
    """Held by whoever builds, moves the pointer or prunes; readers need no lock."""
    folder = snapshots_dir(data_dir)
    with storage_errors(folder):
        make_dir(folder)
        lock = (folder / "lock").open("a")
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
