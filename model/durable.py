"""Files that are there as a whole or not at all, and files that a power cut must not take back."""

import os
from pathlib import Path


def replace_text(path: Path, text: str) -> None:
    """Write a file as a whole: whoever reads it, even after a kill or a power cut, sees the old text or the new."""
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text, encoding="utf-8")
    sync(beside)
    beside.replace(path)
    sync(path.parent)


def replace_bytes(path: Path, content: bytes) -> None:
    """Write a file of a cache as a whole, although another process may write the same; a power cut may take it back."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_bytes(content)
    beside.replace(path)


def sync(path: Path) -> None:
    """Return once a file's content, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
