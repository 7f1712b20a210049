"""What a frozen trunk says of each frame, computed once and kept as raw fp16 that is mapped, not read.

A trunk is most of the cost of a training step; while it is frozen there is no reason to run it twice on a frame. A
store belongs to one set of trunk weights, and rows are found again by the digest of the clip they were made from.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

MapShape = tuple[int, int, int]  # channels, rows, columns of one level's map


def trunk_digest(trunk: nn.Module, *settings: object) -> str:
    """Digest of the trunk's weights and of whatever else shapes its maps.

    Weights count as a checkpoint stores them, in fp16: a run from a saved checkpoint finds the maps of the run before.
    """
    digest = hashlib.sha256(repr(settings).encode())
    for name, value in sorted(trunk.state_dict().items()):
        digest.update(name.encode())
        stored = value.half() if value.is_floating_point() else value
        digest.update(stored.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


class FeatureStore:
    """Rows of fp16 in one file, one a time step: every level's map of it, flattened and joined.

    A row counts once its line is in the index, which is written after it; what a killed run left behind the last
    counted row is cut off. One process at a time writes, within `writing`; any number read.
    """

    def __init__(self, folder: Path, shapes: Sequence[MapShape]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.shapes = [tuple(shape) for shape in shapes]
        self.width = sum(int(np.prod(shape)) for shape in self.shapes)
        self.rows_path, self.index_path, self.lock_path = folder / "rows.f16", folder / "index.jsonl", folder / "lock"
        self.index: dict[str, tuple[int, int]] = {}
        self.rows = 0
        self._map: NDArray[np.float16] | None = None
        self._may_write = False
        self._read_index()

    @contextmanager
    def writing(self, busy: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Hold the store alone; waits for another run that fills it, and then sees what that run added.

        `busy` is called before it waits: that may take as long as filling the store does.
        """
        with self.lock_path.open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                busy()
                fcntl.flock(lock, fcntl.LOCK_EX)
            self._read_index(cut=True)
            self._may_write = True
            try:
                yield
            finally:
                self._may_write = False

    def __contains__(self, key: str) -> bool:
        return key in self.index

    def add(self, key: str, maps: list[Tensor]) -> None:
        """Keep one clip's maps, each [T, channels, rows, columns]."""
        T = maps[0].shape[0]
        joined = torch.cat([level.reshape(T, -1) for level in maps], dim=1).to(torch.float16).cpu().numpy()
        if joined.shape[1] != self.width or not self._may_write:
            raise ValueError(
                f"maps of {joined.shape[1]} values a step in a store of {self.width}, or not held for writing"
            )
        with self.rows_path.open("ab") as out:
            out.write(np.ascontiguousarray(joined).tobytes())
        with self.index_path.open("a") as out:
            out.write(json.dumps([key, self.rows, T]) + "\n")
        self.index[key] = (self.rows, T)
        self.rows += T
        self._map = None

    def get(self, keys: Sequence[str]) -> list[Tensor]:
        """The maps of C clips of equal length, one tensor [C, T, channels, rows, columns] a level, as float32."""
        rows = np.stack([self._of(key) for key in keys])
        C, T, _ = rows.shape
        sizes = [int(np.prod(shape)) for shape in self.shapes]
        levels = torch.split(torch.from_numpy(rows), sizes, dim=2)
        return [level.reshape(C, T, *shape).float() for level, shape in zip(levels, self.shapes, strict=True)]

    def _of(self, key: str) -> NDArray[np.float16]:
        start, count = self.index[key]
        if self._map is None:
            self._map = np.memmap(self.rows_path, np.float16, "r", shape=(self.rows, self.width))
        return np.asarray(self._map[start : start + count])

    def _read_index(self, *, cut: bool = False) -> None:
        """Read the index up to half a line or half a row that a killed writer left; cut those off if asked to."""
        self.index, self.rows, self._map = {}, 0, None
        stride = 2 * self.width
        stored = self.rows_path.stat().st_size // stride if self.rows_path.exists() else 0
        lines = self.index_path.read_bytes().splitlines(keepends=True) if self.index_path.exists() else []
        kept = 0
        for line in lines:
            if not line.endswith(b"\n"):
                break
            key, start, count = json.loads(line)
            if start != self.rows or start + count > stored:
                break
            self.index[key] = (start, count)
            self.rows = start + count
            kept += len(line)
        if cut and lines:
            os.truncate(self.index_path, kept)
        if cut and self.rows_path.exists():
            os.truncate(self.rows_path, self.rows * stride)
