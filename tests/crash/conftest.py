"""Where the crash tests write."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

MEMORY = Path("/dev/shm")


@pytest.fixture
def fast_path(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory if there is one: SIGKILL takes nothing out of the page cache, so a disk adds time only."""
    if not MEMORY.is_dir():
        yield tmp_path
        return
    folder = Path(tempfile.mkdtemp(prefix="htav-crash-", dir=MEMORY))
    yield folder
    shutil.rmtree(folder)
