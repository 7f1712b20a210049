"""Still pictures of indexed videos, as JPEG.

Only files that the indexer has accepted get here, decoded by the same guarded reader; at most two at a time, the
newest kept in memory, so that a page of results costs each picture once.
"""

import io
import threading
from collections import OrderedDict
from pathlib import Path

from PIL import Image

from model.media import read_frames

SIDE = 480
KEPT = 256
QUALITY = 82


class Thumbnails:
    """Pictures by (file, its time of change, second)."""

    def __init__(self, at_once: int = 2) -> None:
        self._kept: OrderedDict[tuple[str, int, float], bytes] = OrderedDict()
        self._lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(at_once)

    def get(self, path: Path, time_s: float, width: int, height: int) -> bytes:
        """The frame at `time_s`, at most SIDE wide and high. `width` and `height` are as shown. Raises MediaError."""
        key = (str(path), path.stat().st_mtime_ns, round(time_s, 2))
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        with self._slots:
            picture = render(path, time_s, width, height)
        with self._lock:
            self._kept[key] = picture
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return picture


def render(path: Path, time_s: float, width: int, height: int) -> bytes:
    frames, _ = read_frames(path, [time_s], SIDE)
    scale = min(1.0, SIDE / max(width, height, 1))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    out = io.BytesIO()
    # The reader gives a square; stretching it back restores the shape.
    Image.fromarray(frames[0]).resize(size, Image.Resampling.BICUBIC).save(out, "JPEG", quality=QUALITY)
    return out.getvalue()
