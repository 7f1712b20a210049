"""From a manifest's item to the pixels and samples of its clips, decoded once and kept.

The windows and the sampling are those of the index (`model.media`), so that training and evaluation see what a search
will see. What was decoded is kept on disk under the digest of the file's content: a renamed file is the same file.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from model import media
from model.config import VideoConfig
from model.containers import MediaError, check_regular
from model.data.manifest import Item
from model.durable import replace_bytes

STILL_S = 8.0  # a photograph is a clip in which nothing moves for so long
DECODER_VERSION = 1


@dataclass(frozen=True)
class Shape:
    """What the network wants of a clip: T frames of size x size; of a photograph, as few as say the same."""

    frames: int
    size: int
    still_frames: int = 1

    @classmethod
    def of(cls, config: VideoConfig) -> "Shape":
        """Video Swin's trunk joins neighbouring frames, so it needs the full number even where nothing moves."""
        return cls(config.frames, config.image_size, config.frames if config.backbone.startswith("swin3d") else 1)


class Clip(NamedTuple):
    """One decoded clip; the fields of the retriever's `ClipInput`."""

    frames: NDArray[np.uint8] | None  # [T, S, S, 3]
    frame_times: NDArray[np.float32] | None  # [T] seconds from the start of the file
    audio: NDArray[np.int16] | None  # [samples] at 16 kHz
    audio_start_s: float


Span = tuple[float, float]


@dataclass(frozen=True)
class Look:
    """What an item holds, before anything is decoded."""

    spans: tuple[Span, ...]  # start and end of each clip, in seconds of the file
    has_video: bool
    has_audio: bool


def look(item: Item) -> Look:
    """The item's clips and modalities. Raises MediaError when it cannot be opened."""
    if item.form == "still":
        return Look(((0.0, STILL_S),), has_video=True, has_audio=False)
    if item.form == "frames":
        return Look(_spans(item, len(item.media) / item.fps), has_video=True, has_audio=item.audio is not None)
    found = _probe(item.paths()[0])
    return Look(_spans(item, found.duration_s), found.has_video, found.has_audio)


def _spans(item: Item, length: float) -> tuple[Span, ...]:
    start_s = min(item.start_s or 0.0, length)
    end_s = min(item.end_s if item.end_s is not None else length, length)
    if end_s <= start_s:
        raise media.MediaError("empty", f"{item.name} has nothing between {start_s:.1f} s and {item.end_s} s.")
    return tuple((start_s + start, start_s + end) for start, end in media.clip_windows(end_s - start_s))


def decode(item: Item, span: Span, shape: Shape) -> Clip:
    """The frames and the sound of one clip. Raises MediaError."""
    if item.form == "still":
        picture = media.read_image(item.paths()[0], shape.size)
        times = np.asarray(media.frame_times(*span, shape.still_frames), np.float32)
        return Clip(np.broadcast_to(picture, (shape.still_frames, *picture.shape)), times, None, 0.0)
    if item.form == "frames":
        return _decode_numbered(item, span, shape)
    path = item.paths()[0]
    found = _probe(path)
    sound = media.read_audio(path, *span) if found.has_audio else None
    if not found.has_video:
        return Clip(None, None, sound, span[0])
    frames, times = media.read_frames(path, media.frame_times(*span, shape.frames), shape.size)
    return Clip(frames, times, sound, span[0])


def _decode_numbered(item: Item, span: Span, shape: Shape) -> Clip:
    """Pictures counted at a fixed rate, and a sound file beside them."""
    wanted = [min(int(time_s * item.fps), len(item.media) - 1) for time_s in media.frame_times(*span, shape.frames)]
    frames = np.stack([media.read_image(item.folder / item.media[index], shape.size) for index in wanted])
    sound = media.read_audio(item.folder / item.audio, *span) if item.audio else None
    return Clip(frames, np.asarray([index / item.fps for index in wanted], np.float32), sound, span[0])


def _probe(path: Path) -> media.Probe:
    """What the file holds, asked once for all its clips: a probe reads every packet of it."""
    status = check_regular(path).stat()
    return _probed(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=16)
def _probed(path: Path, _size: int, _modified_ns: int) -> media.Probe:
    return media.probe(path)


@lru_cache(maxsize=200_000)
def _file_digest(path: str, _size: int, _modified_ns: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_key(item: Item) -> str:
    """Digest of the bytes of the item's files and of what is cut out of them; never of a name. Raises MediaError."""
    digests = []
    for path in item.paths():
        information = check_regular(path).stat()
        try:
            digests.append(_file_digest(str(path), information.st_size, information.st_mtime_ns))
        except OSError as err:
            raise MediaError("unreadable", f"{path.name} cannot be read: {err.strerror}.") from err
    cut = [item.form, item.fps if item.form == "frames" else None, item.start_s, item.end_s, bool(item.audio)]
    return hashlib.sha256(json.dumps([DECODER_VERSION, digests, cut]).encode()).hexdigest()


def items_digest(items: Sequence[Item]) -> str:
    """Digest of all that a manifest's lines say, in their order, and of the bytes of their files; never of its place.

    A figure that is kept with it is known again to be of these data.
    """
    lines = [{**asdict(item), "folder": _content_or_code(item)} for item in items]
    return hashlib.sha256(json.dumps(lines, sort_keys=True).encode()).hexdigest()


def _content_or_code(item: Item) -> str:
    try:
        return content_key(item)
    except MediaError as err:  # a figure is of such an item, too: it is not found
        return err.code


class ClipCache:
    """Decoded clips on disk, so that an epoch decodes nothing again.

    `keep_frames` is off where the trunk's features are kept instead: pixels are by far the larger.
    """

    def __init__(self, folder: Path, shape: Shape, *, keep_frames: bool = True) -> None:
        self.folder, self.shape, self.keep_frames = folder, shape, keep_frames
        self.folder.mkdir(parents=True, exist_ok=True)

    def look(self, item: Item) -> Look:
        """As `look`, remembered."""
        if item.form == "still":
            return look(item)
        path = self._path(content_key(item), "look.json")
        try:
            stored = json.loads(path.read_text())
            stored["spans"] = tuple((start, end) for start, end in stored["spans"])
            return Look(**stored)
        except (FileNotFoundError, ValueError, TypeError, KeyError):  # not kept, or damaged
            found = look(item)
        replace_bytes(path, json.dumps(asdict(found)).encode())
        return found

    def clip(self, item: Item, index: int, span: Span) -> Clip:
        """The decoded clip number `index` of the item, whose frames are there even if they are not kept."""
        if item.form == "still":  # a small picture decodes faster than its pixels are read
            return decode(item, span, self.shape)
        path = self._clip_path(item, index)
        stored = _load(path) if self.keep_frames else None
        if stored is not None:
            return stored
        clip = decode(item, span, self.shape)
        _store(path, clip if self.keep_frames else clip._replace(frames=None, frame_times=None))
        return clip

    def sound(self, item: Item, index: int, span: Span) -> NDArray[np.int16] | None:
        """The sound alone."""
        if item.form == "still":
            return None
        stored = _load(self._clip_path(item, index))
        return (stored or self.clip(item, index, span)).audio

    def _clip_path(self, item: Item, index: int) -> Path:
        kept = f"{self.shape.frames}x{self.shape.size}" if self.keep_frames else "sound"
        return self._path(content_key(item), f"{index}.{kept}.safetensors")

    def _path(self, key: str, suffix: str) -> Path:
        return self.folder / key[:2] / f"{key}.{suffix}"


def _store(path: Path, clip: Clip) -> None:
    arrays = {
        name: np.ascontiguousarray(value) for name, value in clip._asdict().items() if isinstance(value, np.ndarray)
    }
    arrays["audio_start_s"] = np.asarray([clip.audio_start_s], np.float64)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(arrays, beside)
    beside.replace(path)


def _load(path: Path) -> Clip | None:
    """A kept clip; one that is damaged counts as not kept and is made again."""
    try:
        arrays = load_file(path)
    except (FileNotFoundError, SafetensorError):
        return None
    start_s = float(arrays["audio_start_s"][0])
    return Clip(arrays.get("frames"), arrays.get("frame_times"), arrays.get("audio"), start_s)
