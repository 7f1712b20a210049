"""A gallery encoded: every item's token sets, made once for a checkpoint and a content, and kept.

The cache is the evaluation's own. It knows content and fingerprint, never a file's name, and never touches the index.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.clips import ClipInput
from model.containers import MediaError
from model.data.examples import Failure
from model.data.items import Shape, content_key, decode, look
from model.data.manifest import Item
from model.durable import replace_bytes
from model.progress import Progress
from model.retriever import Retriever
from model.tokens import TokenSet

HEADER = struct.Struct("<4sI")
MAGIC = b"HTEV"


@dataclass(frozen=True, eq=False)
class EncodedGallery:
    """C clips of all items: their token sets, and which item each belongs to [C]. Failed items have none."""

    clips: list[TokenSet]
    item_of: NDArray[np.int64]
    failures: list[Failure]

    def clips_of(self, items: Sequence[int]) -> NDArray[np.int64]:
        """The clips of some items, in order."""
        return np.flatnonzero(np.isin(self.item_of, np.asarray(items, np.int64)))


def encode_gallery(items: Sequence[Item], retriever: Retriever, cache: Path, progress: Progress) -> EncodedGallery:
    """Encode what is not in the cache yet. An item that cannot be decoded is reported and has no clips."""
    folder = cache / retriever.fingerprint
    clips: list[TokenSet] = []
    owners: list[int] = []
    failures: list[Failure] = []
    for number, item in enumerate(items):
        try:
            found = _token_sets(item, retriever, folder)
        except MediaError as err:  # one bad file never stops a run
            failures.append(Failure(item.name, err.code, err.message))
            found = []
        clips += found
        owners += [number] * len(found)
        progress("encode the gallery", number + 1, len(items))
    return EncodedGallery(clips, np.asarray(owners, np.int64), failures)


def _token_sets(item: Item, retriever: Retriever, folder: Path) -> list[TokenSet]:
    key = content_key(item)
    path = folder / key[:2] / f"{key}.tokens"
    stored = _load(path)
    if stored is not None:
        return stored
    shape = Shape.of(retriever.config.video)
    decoded = (decode(item, span, shape) for span in look(item).spans)
    made = [retriever.encode_clips([ClipInput(*clip)])[0] for clip in decoded]
    replace_bytes(path, _packed(made))
    return made


def _packed(token_sets: Sequence[TokenSet]) -> bytes:
    """Magic, number of clips, the length of each record, the records."""
    records = [token_set.to_bytes() for token_set in token_sets]
    lengths = struct.pack(f"<{len(records)}Q", *(len(record) for record in records))
    return HEADER.pack(MAGIC, len(records)) + lengths + b"".join(records)


def _load(path: Path) -> list[TokenSet] | None:
    """Kept token sets; a damaged file counts as none and is made again."""
    try:
        data = memoryview(path.read_bytes())
        magic, count = HEADER.unpack_from(data)
        lengths = struct.unpack_from(f"<{count}Q", data, HEADER.size)
        start, found = HEADER.size + 8 * count, []
        if magic != MAGIC or start + sum(lengths) != len(data):
            return None
        for length in lengths:
            found.append(TokenSet.from_bytes(data[start : start + length]))
            start += length
    except (FileNotFoundError, struct.error, ValueError):
        return None
    return found
