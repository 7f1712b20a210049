"""Files that prove their own bytes: small JSON documents with a digest line, and block digests for large files.

FAISS loads a file with flipped bits without a word, and so would a JSON parser; every byte of a snapshot is therefore
covered by a digest of ours. Writers here are durable: content first, then the name.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from indexer.errors import IndexCorrupt
from indexer.space import read_errors, storage_errors
from model.durable import sync

BLOCK_BYTES = 1 << 20
TEMPORARY = ".tmp-"
_REPAIR = "Run `htav verify`, which rebuilds what is damaged."


def digest(data: bytes | memoryview) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


@contextmanager
def durable_file(path: Path) -> Iterator[BinaryIO]:
    """A new file to write to; the disk has it at the end, and its name with `sync` on the folder.

    Raises StorageError, InsufficientStorage when there is no room.
    """
    with storage_errors(path), path.open("xb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def write_durable(path: Path, data: bytes | memoryview) -> None:
    """A `durable_file` with this content."""
    with durable_file(path) as file:
        file.write(data)


def replace_durable(path: Path, data: bytes) -> None:
    """Replace a file in one step: a reader sees the old content or the new, also after a power cut."""
    temporary = path.with_name(f"{TEMPORARY}{path.name}-{os.getpid()}")
    temporary.unlink(missing_ok=True)
    write_durable(temporary, data)
    with storage_errors(path):
        temporary.replace(path)
        sync(path.parent)


def seal(document: dict[str, Any]) -> bytes:
    """A JSON document on one line, its digest on the next."""
    body = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    return body + b"\n" + digest(body).encode() + b"\n"


def read_sealed(path: Path) -> dict[str, Any]:
    """Read what `seal` made. Raises IndexCorrupt on any other byte, or on one that the disk cannot read;
    FileNotFoundError when there is no file."""
    with read_errors(path):
        body, _, rest = path.read_bytes().partition(b"\n")
    if rest != digest(body).encode() + b"\n":
        raise IndexCorrupt(f"{path.name} in {path.parent} is damaged.", _REPAIR)
    document: dict[str, Any] = json.loads(body)
    return document


def block_digests(path: Path) -> dict[str, Any]:
    """The manifest entry of a file: its size and one digest a block."""
    with path.open("rb") as file:
        blocks = [digest(block) for block in iter(lambda: file.read(BLOCK_BYTES), b"")]
    return {"size": path.stat().st_size, "block": BLOCK_BYTES, "digests": blocks}


def check_blocks(path: Path, entry: dict[str, Any]) -> None:
    """Raise IndexCorrupt at the first block that differs from the manifest entry, or that the disk cannot read."""
    if not path.exists():
        raise IndexCorrupt(f"{path} is missing.", _REPAIR)
    if path.stat().st_size != entry["size"]:
        raise IndexCorrupt(f"{path} has {path.stat().st_size} bytes instead of {entry['size']}.", _REPAIR)
    with read_errors(path), path.open("rb") as file:
        for number, expected in enumerate(entry["digests"]):
            if digest(file.read(entry["block"])) != expected:
                raise IndexCorrupt(f"{path} is damaged in block {number}.", _REPAIR)
