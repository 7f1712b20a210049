"""Opening media files that strangers made: what is refused, before a single frame is decoded, and why.

`probe` is the only place that decides whether a file is acceptable. It reads headers and packet times, decodes one
frame at most, and never follows a reference out of the file: no protocol but `file`, no playlists, no external data.
Must not know about torch or the index; the decoding child processes load it.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import av
import av.container
import av.error
import numpy as np
from av.sidedata.sidedata import SideData

from model.errors import HtavError

MediaCode = Literal[
    "not_found", "unreadable", "damaged", "unsupported_format", "unsupported_codec", "no_media_stream",
    "too_large", "too_long", "empty", "truncated", "decode_failed", "audio_decode_failed",
]  # fmt: skip

MAX_SIDE = 16_000
MAX_PIXELS = 8192 * 4608
MAX_FRAME_RATE = 1_000
MAX_STREAMS = 64
MAX_DURATION_S = 24 * 3600.0
MAX_TRIES = 600  # packets among which there must be one picture that can be decoded
SLACK_S = 1.0  # how far packets may end before the declared end of a file that is still called complete

FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "mpegts", "mpeg", "mpegvideo", "m4v", "h264", "hevc", "ivf",
    "flv", "asf", "mxf", "ogg", "wav", "w64", "aiff", "caf", "au", "flac", "mp3", "aac", "ac3", "eac3", "amr", "wv",
    "ape", "tta", "nistsphere",
)  # fmt: skip
# These carry no trustworthy duration: theirs is guessed from a bit rate.
GUESSED_DURATION = {"mp3", "aac", "ac3", "eac3", "amr", "h264", "hevc", "mpegvideo", "m4v", "mpeg"}

OPEN_OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": ",".join(FORMATS),
    "max_streams": str(MAX_STREAMS),
    "max_pixels": str(MAX_PIXELS),
}


_PERMIT = "Give the user that HTAV runs as permission to read it, then index it again."
_REPLACE = "Replace it by a whole copy."


class MediaError(HtavError):
    """A media file cannot be used; `code` says why and never changes its meaning."""

    code: MediaCode  # type: ignore[misc]  # one class, many codes: the caller only ever reports them

    def __init__(self, code: MediaCode, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.code = code

    def __reduce__(self) -> tuple[type["MediaError"], tuple[str, str, str]]:
        return MediaError, (self.code, self.message, self.hint)


class Truncated(MediaError):
    """Pictures were asked for behind the last one that can be decoded, which is shown until `end_s`."""

    def __init__(self, message: str, end_s: float) -> None:
        super().__init__("truncated", message, "The file is incomplete or damaged.")
        self.end_s = end_s

    def __reduce__(self) -> Any:
        return Truncated, (self.message, self.end_s)


@dataclass(frozen=True)
class Probe:
    """What a file holds. Sizes are as shown, after rotation; `duration_s` is what can be read, not what is declared."""

    format: str
    duration_s: float
    has_video: bool
    has_audio: bool
    width: int
    height: int
    rotation: int
    declared_s: float = 0.0
    recorded_at: str | None = None  # as the file says it; for filters, never for scores
    unknown_coding: str | None = None  # "pictures" or "sound", where only the other half can be decoded

    @property
    def completeness(self) -> float:
        """The part of the declared duration that is present, 1.0 for a whole file."""
        if self.duration_s >= self.declared_s - SLACK_S:
            return 1.0
        return self.duration_s / self.declared_s


def check_regular(path: str | Path) -> Path:
    """Refuse what is no regular file: opening a FIFO hangs, opening a device may do anything."""
    name = Path(path).name[:200]  # not the whole path: clients of the service must not see the owner's folders
    try:
        information = os.stat(path)
    except FileNotFoundError as err:
        raise MediaError("not_found", f"{name} does not exist.", "Check the path.") from err
    except (OSError, ValueError) as err:
        raise MediaError("unreadable", f"{name!r} cannot be read: {_reason(err)}.", _PERMIT) from err
    if not stat.S_ISREG(information.st_mode):
        raise MediaError("unreadable", f"{name} is not a regular file.", "Name a file on a disk.")
    if information.st_size == 0:
        raise MediaError("empty", f"{name} is empty.", _REPLACE)
    return Path(path)


@contextmanager
def open_media(path: str | Path) -> Iterator[av.container.InputContainer]:
    """Open a local file with every limit applied; errors come out as `MediaError`."""
    path = check_regular(path)
    try:
        container = av.open(f"file:{path.absolute()}", "r", options=OPEN_OPTIONS, metadata_errors="replace")
    except MemoryError as err:
        message = f"{path.name} needs too much memory to open, or has more than {MAX_STREAMS} streams."
        raise MediaError("too_large", message) from err
    except av.error.ArgumentError as err:
        message = f"{path.name} is not in a media format that HTAV reads."
        raise MediaError("unsupported_format", message, "Convert it, e.g. to MP4.") from err
    except PermissionError as err:
        raise MediaError("unreadable", f"{path.name} may not be read by this user.", _PERMIT) from err
    except (av.error.FFmpegError, OSError, ValueError) as err:
        raise MediaError("damaged", f"{path.name} is no media file or damaged: {_reason(err)}.", _REPLACE) from err
    with container:
        _check_streams(container, path.name)
        yield container


def video_stream(container: av.container.InputContainer) -> av.VideoStream | None:
    """The first stream of moving pictures, ready to decode on one thread; cover art is not video."""
    cover = av.stream.Disposition.attached_pic
    for stream in container.streams.video:
        if not stream.disposition & cover and stream.codec_context is not None:
            stream.thread_count = 1
            stream.thread_type = "NONE"
            stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
            return stream
    return None


def audio_stream(container: av.container.InputContainer) -> av.AudioStream | None:
    for stream in container.streams.audio:
        if stream.codec_context is not None and stream.rate:
            stream.codec_context.thread_count = 1
            return stream
    return None


def origin_s(container: av.container.InputContainer) -> float:
    """The time stamp that counts as second 0 of the file: recordings often start elsewhere."""
    return (container.start_time or 0) / av.time_base


def orientation(frame: av.VideoFrame) -> tuple[bool, bool, bool]:
    """(transpose, then flip rows, then flip columns) that bring a stored picture upright."""
    try:
        side_data = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # side data that PyAV has no name for, such as EXIF: its rotation still reads
        turn = round(frame.rotation / 90) % 4
        return turn in (1, 3), turn in (1, 2), turn in (2, 3)
    if not isinstance(side_data, SideData) or side_data.buffer_size < 36:
        return False, False, False
    a, b, _, c, d = np.frombuffer(bytes(side_data), np.int32, count=5).tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        return True, b < 0, c < 0
    return False, d < 0, a < 0


def probe(path: str | Path, max_duration_s: float = MAX_DURATION_S) -> Probe:
    """Look at a file without decoding it (but for one frame), and refuse what breaks a limit."""
    with open_media(path) as container:
        video, audio = video_stream(container), audio_stream(container)
        if video is None and audio is None:
            _raise_nothing_to_decode(container, Path(path).name)
        declared = _declared_s(container)
        _check_duration(declared, max_duration_s, Path(path).name)
        ends, first_picture = _walk(container, video)
        end = max(ends.values(), default=0.0)
        if video is not None and audio is None and first_picture is None:
            raise MediaError("decode_failed", f"No picture of {Path(path).name} can be decoded.", _REPLACE)
        if end <= 0:
            raise MediaError("empty", f"{Path(path).name} has no pictures and no sound in it.")
        if declared and end > 2 * declared + 60:  # one absurd time stamp must not stretch the file
            end = declared
        _check_duration(end, max_duration_s, Path(path).name)
        transpose, flip_rows, flip_columns = orientation(first_picture) if first_picture else (False, False, False)
        width, height = (video.width, video.height) if video else (0, 0)
        return Probe(
            format=container.format.name,
            duration_s=end,
            has_video=video is not None,
            has_audio=audio is not None,
            width=height if transpose else width,
            height=width if transpose else height,
            rotation=_rotation(transpose, flip_rows, flip_columns),
            declared_s=0.0 if container.format.name in GUESSED_DURATION else declared,
            recorded_at=container.metadata.get("creation_time", "")[:40] or None,
            unknown_coding=_unknown_coding(container, video is not None, audio is not None),
        )


def pictures_end(path: str | Path, index: int) -> tuple[float, bool]:
    """Where the packets of video stream `index` end, and whether the file reaches the end that it declares."""
    with open_media(path) as container:
        ends, _ = _walk(container, None)
        return ends.get(index, 0.0), max(ends.values(), default=0.0) >= _declared_s(container) - SLACK_S


def _rotation(transpose: bool, flip_rows: bool, flip_columns: bool) -> int:
    """Degrees counterclockwise that bring the picture upright (a mirror image counts as its nearest rotation)."""
    if transpose:
        return 90 if flip_rows else 270
    return 180 if flip_rows and flip_columns else 0


def _walk(
    container: av.container.InputContainer, video: av.VideoStream | None
) -> tuple[dict[int, float], av.VideoFrame | None]:
    """Where each stream's packets end, in seconds, and the first picture of `video`; a broken tail ends it quietly."""
    origin, picture, tries = origin_s(container), None, 0
    ends: dict[int, float] = {}
    try:
        for packet in container.demux(*_playable(container)):
            index, stamp = packet.stream.index, packet.pts if packet.pts is not None else packet.dts
            if packet.size and packet.time_base is not None:
                length, last = float((packet.duration or 0) * packet.time_base), ends.get(index, 0.0)
                start = last if stamp is None else float(stamp * packet.time_base) - origin
                ends[index] = max(last, start + length)
            if picture is None and packet.stream is video and tries < MAX_TRIES:
                picture, tries = _first_picture(packet), tries + 1
    except (av.error.FFmpegError, OSError):
        pass
    return ends, picture


def _playable(container: av.container.InputContainer) -> list[av.VideoStream | av.AudioStream]:
    return [stream for stream in (video_stream(container), audio_stream(container)) if stream is not None]


def _first_picture(packet: "av.Packet[Any]") -> av.VideoFrame | None:
    try:
        frames = packet.decode()
    except (av.error.FFmpegError, OSError):
        return None
    return next((frame for frame in frames if isinstance(frame, av.VideoFrame)), None)


def _declared_s(container: av.container.InputContainer) -> float:
    """How long pictures and sound claim to last; the container's own figure may be that of a subtitle."""
    lengths = []
    for stream in _playable(container):
        if stream.duration is None or stream.time_base is None:
            return (container.duration or 0) / av.time_base
        lengths.append(float((stream.duration + (stream.start_time or 0)) * stream.time_base) - origin_s(container))
    return max(lengths, default=0.0)


def _check_streams(container: av.container.InputContainer, name: str) -> None:
    if len(container.streams) > MAX_STREAMS:
        raise MediaError("too_large", f"{name} has more than {MAX_STREAMS} streams.")
    for stream in container.streams.video:
        if stream.codec_context is None:
            continue
        if max(stream.width, stream.height) > MAX_SIDE or stream.width * stream.height > MAX_PIXELS:
            message = f"{name} has pictures of {stream.width}x{stream.height}; the limit is {MAX_PIXELS} pixels."
            raise MediaError("too_large", message, "Scale the video down.")
        if stream.average_rate is not None and stream.average_rate > MAX_FRAME_RATE:
            message = (
                f"{name} declares {float(stream.average_rate):.0f} frames a second; the limit is {MAX_FRAME_RATE}."
            )
            raise MediaError("too_large", message)


def _check_duration(duration_s: float, limit_s: float, name: str) -> None:
    if duration_s > limit_s:
        message = f"{name} lasts {duration_s / 3600:.1f} hours; the limit is {limit_s / 3600:.1f}."
        raise MediaError("too_long", message, "Cut it into parts.")


def _undecodable(container: av.container.InputContainer) -> set[str]:
    """The types of the streams that no decoder is known for; cover art does not count."""
    cover = av.stream.Disposition.attached_pic
    return {
        stream.type for stream in container.streams if stream.codec_context is None and not stream.disposition & cover
    }


def _unknown_coding(container: av.container.InputContainer, has_video: bool, has_audio: bool) -> str | None:
    undecodable = _undecodable(container)
    if "video" in undecodable and not has_video:
        return "pictures"
    return "sound" if "audio" in undecodable and not has_audio else None


def _raise_nothing_to_decode(container: av.container.InputContainer, name: str) -> None:
    if _undecodable(container) & {"video", "audio", "unknown"}:
        hint = "Convert it, e.g. to MP4 with H.264 and AAC."
        raise MediaError("unsupported_codec", f"{name} is coded in a way that HTAV cannot decode.", hint)
    raise MediaError("no_media_stream", f"{name} has neither pictures nor sound.")


def _reason(err: Exception) -> str:
    return (getattr(err, "strerror", None) or str(err) or type(err).__name__).rstrip(".")
