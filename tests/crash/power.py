"""A model of losing power: of every file only what was synced is left, and of every folder only the names synced.

The calls `os.fsync` and `os.fdatasync` are recorded while they work on real files. An image is what a disk would hold
at that moment: contents by inode as of each file's last sync, names as of each folder's. The catalog is copied as it
is, with every commit so far, which is the hardest case for the files: it must never name what they lost.
"""

import os
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

CATALOG = "catalog.db"


class Disk:
    """What would survive of the files below `root`; `on_sync` is called before each sync takes effect."""

    def __init__(self, root: Path, patch: pytest.MonkeyPatch, *, sync_files: bool = True) -> None:
        self.root = root
        self.on_sync: Callable[[], None] = lambda: None
        self._contents: dict[int, bytes] = {}
        self._names: dict[int, dict[str, int]] = {}
        self._sync_files = sync_files
        root.mkdir(parents=True)
        for name in ("fsync", "fdatasync"):
            patch.setattr(os, name, self._recording(getattr(os, name)))

    def _recording(self, sync: Callable[[int], None]) -> Callable[[int], None]:
        def recorded(handle: int) -> None:
            self.on_sync()
            sync(handle)
            status = os.fstat(handle)
            if stat.S_ISDIR(status.st_mode):
                path = Path(os.readlink(f"/proc/self/fd/{handle}"))
                self._names[status.st_ino] = {entry.name: entry.inode() for entry in os.scandir(path)}
            elif self._sync_files:
                self._contents[status.st_ino] = Path(f"/proc/self/fd/{handle}").read_bytes()

        return recorded

    def image(self, target: Path) -> Path:
        """Write down what would be left if the power went now."""
        self._copy(self.root.stat().st_ino, self.root, target)
        if (self.root / CATALOG).exists():
            with (
                closing(sqlite3.connect(self.root / CATALOG)) as live,
                closing(sqlite3.connect(target / CATALOG)) as copy,
            ):
                live.backup(copy)
        return target

    def _copy(self, folder: int, live: Path, target: Path) -> None:
        target.mkdir(parents=True, exist_ok=True)
        for name, inode in self._names.get(folder, {}).items():
            if name.startswith(CATALOG):
                continue
            if inode in self._names or (live / name).is_dir():
                self._copy(inode, live / name, target / name)
            else:
                (target / name).write_bytes(self._contents.get(inode, b""))
