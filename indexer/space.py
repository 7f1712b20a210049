"""Room on the disk: refuse a write before its first byte, and give the disk's own refusals the names that we use.

Every writer of the data folder calls `require_space` first and writes inside `storage_errors`. Running into a full disk
half-way is survivable but hurts everybody else on that disk; the floor keeps it rare.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from indexer.config import IndexSettings
from indexer.errors import IndexCorrupt, InsufficientStorage, StorageError
from model.durable import sync

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
HINT = "Free some space, lower HTAV_MIN_FREE_BYTES or move HTAV_DATA_DIR, then run the same command again."


def require_space(settings: IndexSettings, needed_bytes: int) -> None:
    """Raise InsufficientStorage if writing `needed_bytes` takes the disk below the floor; a floor of 0 never does."""
    if settings.min_free_bytes == 0:
        return
    disk = os.statvfs(settings.data_dir)
    free = disk.f_bavail * disk.f_frsize
    floor = settings.floor_bytes(disk.f_blocks * disk.f_frsize)
    if free - needed_bytes < floor:
        raise InsufficientStorage(
            f"{settings.data_dir} has {free:,} bytes free; {needed_bytes:,} are needed and {floor:,} must stay free.",
            HINT,
        )


@contextmanager
def storage_errors(target: Path) -> Iterator[None]:
    """Turn the operating system's refusals into storage errors."""
    try:
        yield
    except OSError as err:
        if err.errno in NO_ROOM:
            raise InsufficientStorage(f"The disk refused to write {target}: {err.strerror}.", HINT) from err
        raise StorageError(
            f"{target} cannot be written: {err.strerror}.", "Check the disk and its permissions."
        ) from err


@contextmanager
def read_errors(source: Path) -> Iterator[None]:
    """Turn a block that the disk cannot read into damage; what the disk does not say of its blocks stays as it is."""
    try:
        yield
    except OSError as err:
        if err.errno != errno.EIO:
            raise
        raise IndexCorrupt(
            f"{source} cannot be read: {err.strerror}.", "Check the disk, then run `htav verify`."
        ) from err


def make_dir(path: Path) -> None:
    """Make a folder whose name is durable before anything in it is promised."""
    path.mkdir(parents=True, exist_ok=True)
    sync(path.parent)  # also where it was there: whoever made it may have died before this
