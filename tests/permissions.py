"""The means to test what permissions forbid: tests often run as root, who may read and write everything."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NOBODY = 65534


@contextmanager
def bound_by_permissions() -> Iterator[None]:
    """Go on as a user whom permissions bind. The process changes, all its threads with it."""
    me = os.getuid()
    if me == 0:
        os.setresuid(NOBODY, NOBODY, 0)
    try:
        yield
    finally:
        os.setresuid(me, me, me)


def open_to_all(*folders: Path, write: bool = False) -> None:
    """Let every user into these folders of a test, and read them; with `write`, also write all that is in them."""
    temporary = Path(tempfile.gettempdir())
    for folder in folders:
        for parent in folder.parents:
            if temporary in parent.parents:
                _allow(parent, 0o055)
        _allow(folder, 0o077 if write else 0o055)
        for path in folder.rglob("*") if write else ():
            _allow(path, 0o077 if path.is_dir() else 0o066)


def _allow(path: Path, bits: int) -> None:
    path.chmod(path.stat().st_mode | bits)
