"""Still pictures of indexed videos, as JPEG.

Decoded as the indexer decodes, in child processes with limits: a file that crashes or hangs its decoder costs one
picture. Two children at most, kept for the next picture; the newest pictures stay in memory, so that a page of results
costs each once. Whoever waits holds no thread: searches need those.
"""

import asyncio
import io
import math
import threading
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from starlette.concurrency import run_in_threadpool

from app.problems import Unavailable
from indexer.decode import Decoder, FileFailed

SIDE = 480
KEPT = 256
QUALITY = 82
CPU_S = 10.0
PATIENCE_S = 20.0
FAILED_S = 300.0  # a file that took its decoder down is not tried again at every view

Key = tuple[str, int, float]


class Thumbnails:
    """Pictures by (file, its time of change, second)."""

    def __init__(self, at_once: int = 2) -> None:
        self._kept: OrderedDict[Key, tuple[float, bytes | FileFailed]] = OrderedDict()  # until when, and what
        self._lock = threading.Lock()
        self._idle = [Decoder(cpu_s=CPU_S) for _ in range(at_once)]
        # A child dies with the thread that started it, and these threads live as long as the service.
        self._threads = ThreadPoolExecutor(at_once, "htav-thumbnail")

    async def get(self, path: Path, time_s: float, width: int, height: int) -> bytes:
        """The frame at `time_s`, at most SIDE wide and high; `width` and `height` are as shown.

        Raises FileFailed, and Unavailable when there are too many to make.
        """
        changed = (await run_in_threadpool(path.stat)).st_mtime_ns
        key = (str(path), changed, round(time_s, 2))
        if picture := self._known(key):
            return picture
        make = asyncio.get_running_loop().run_in_executor(self._threads, self._make, key, time_s, width, height)
        try:
            return await asyncio.wait_for(make, PATIENCE_S)
        except TimeoutError as err:
            raise Unavailable("Too many thumbnails are waited for.", "Ask again after Retry-After seconds.") from err

    def close(self) -> None:
        """Let go of those who wait, and end the children."""
        self._threads.shutdown(cancel_futures=True)
        for decoder in self._idle:
            decoder.close()

    def _known(self, key: Key) -> bytes | None:
        """The picture, where it is kept. Raises FileFailed where making it failed a short time ago."""
        with self._lock:
            until, made = self._kept.get(key, (0.0, None))
            if made is None or time.monotonic() > until:
                return None
            self._kept.move_to_end(key)
        if isinstance(made, FileFailed):
            raise FileFailed(made.code, made.message)
        return made

    def _keep(self, key: Key, made: bytes | FileFailed, seconds: float) -> None:
        with self._lock:
            self._kept[key] = (time.monotonic() + seconds, made)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)

    def _make(self, key: Key, time_s: float, width: int, height: int) -> bytes:
        if picture := self._known(key):  # made while this request waited
            return picture
        decoder = self._idle.pop()
        try:
            picture = shaped(decoder.picture(Path(key[0]), time_s, SIDE), width, height)
        except FileFailed as failure:
            self._keep(key, failure, FAILED_S)
            raise
        finally:
            self._idle.append(decoder)
        self._keep(key, picture, math.inf)
        return picture


def shaped(square: NDArray[np.uint8], width: int, height: int) -> bytes:
    """The reader gives a square [SIDE, SIDE, 3]; stretching it back restores the shape."""
    scale = min(1.0, SIDE / max(width, height, 1))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    out = io.BytesIO()
    Image.fromarray(square).resize(size, Image.Resampling.BICUBIC).save(out, "JPEG", quality=QUALITY)
    return out.getvalue()
