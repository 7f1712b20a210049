"""Pixels and sound out of a file, the same for training, evaluation and the index.

Times are seconds from the start of the file and come from the frames themselves: a frame number divided by a rate is
wrong for every phone video. Needs numpy and PyAV only: the decoding child processes load it, so torch stays out.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.container
import av.error
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from model.containers import (
    MAX_PIXELS,
    MediaError,
    Probe,
    Truncated,
    audio_stream,
    check_regular,
    open_media,
    orientation,
    origin_s,
    pictures_end,
    probe,
    video_stream,
)
from model.sound_format import SAMPLE_RATE

__all__ = [
    "SAMPLE_RATE", "MediaError", "Probe", "Truncated", "clip_windows", "frame_times", "iter_frames", "probe",
    "read_audio", "read_frames", "read_image",
]  # fmt: skip

SINGLE_CLIP_S = 12.0
WINDOW_S = 10.0
STRIDE_S = 8.0
WINDOW_TOLERANCE_S = 0.1  # a tail shorter than this makes no window of its own
SEEK_GAP_S = 10.0
END_SLACK_S = 1.0
AUDIO_GAP_S = 0.1
AUDIO_LEAD_S = 1.0
MAX_HOLE_S = 600.0  # a longer hole is a damaged time stamp
IMAGE_FORMATS = "jpeg_pipe,png_pipe,webp_pipe,bmp_pipe,tiff_pipe,gif,ppm_pipe,pgm_pipe,image2"
MAX_IMAGE_BYTES = 64 << 20


def clip_windows(duration_s: float) -> list[tuple[float, float]]:
    """The clips of a video: one up to 12 s, else 10 s every 8 s, the last shifted back to end at the end."""
    if duration_s <= SINGLE_CLIP_S:
        return [(0.0, duration_s)]
    regular = int((duration_s - WINDOW_S - WINDOW_TOLERANCE_S) // STRIDE_S) + 1
    starts = [index * STRIDE_S for index in range(regular)] + [duration_s - WINDOW_S]
    return [(start, start + WINDOW_S) for start in starts]


def frame_times(start_s: float, end_s: float, count: int) -> list[float]:
    """Midpoints of `count` equal parts."""
    part = (end_s - start_s) / count
    return [start_s + (index + 0.5) * part for index in range(count)]


def read_frames(path: str | Path, times: Sequence[float], size: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The frames shown at `times`: uint8 [T, size, size, 3], upright, and their true presentation times [T]."""
    frames = np.empty((len(times), size, size, 3), np.uint8)
    shown = np.empty(len(times), np.float32)
    for index, time_s, picture in iter_frames(path, times, size):
        frames[index], shown[index] = picture, time_s
    return frames, shown


def iter_frames(path: str | Path, times: Sequence[float], size: int) -> Iterator[tuple[int, float, NDArray[np.uint8]]]:
    """Yield (index into `times`, presentation time, picture), earliest first, holding one picture at a time.

    Raises `truncated` at the first asked time that lies behind the last frame that can be decoded.
    """
    with open_media(path) as container:
        stream = video_stream(container)
        if stream is None:
            raise MediaError("no_media_stream", f"{Path(path).name} has no pictures.")
        cursor = _FrameCursor(container, stream, Path(path))
        squash = _Squash(size)
        last: tuple[float, NDArray[np.uint8]] | None = None
        for index in np.argsort(np.asarray(times, float), kind="stable").tolist():
            time_s, frame = cursor.at(times[index])
            if last is None or last[0] != time_s:
                last = (time_s, squash(frame))
            yield index, last[0], last[1]


class _Squash:
    """Scales to size x size without keeping the aspect ratio, then turns upright (in this order: it is cheaper)."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.reformatter = VideoReformatter()

    def __call__(self, frame: av.VideoFrame) -> NDArray[np.uint8]:
        shrinks = frame.width >= self.size and frame.height >= self.size
        scaled = self.reformatter.reformat(
            frame,
            width=self.size,
            height=self.size,
            format="rgb24",
            interpolation=Interpolation.AREA if shrinks else Interpolation.BICUBIC,
            threads=1,
        )
        pixels = scaled.to_ndarray()
        transpose, flip_rows, flip_columns = orientation(frame)
        if transpose:
            pixels = pixels.transpose(1, 0, 2)
        pixels = pixels[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]
        return np.ascontiguousarray(pixels, np.uint8)


class _FrameCursor:
    """Walks forward through a video and answers which frame is on the screen at a time."""

    def __init__(self, container: av.container.InputContainer, stream: av.VideoStream, path: Path) -> None:
        self.container, self.stream, self.path = container, stream, path
        self.held_until = 0.0
        self.origin = origin_s(container)
        self.may_seek = True
        self.shown: tuple[float, av.VideoFrame] | None = None
        self.upcoming: tuple[float, av.VideoFrame] | None = None
        self._restart()

    def at(self, time_s: float) -> tuple[float, av.VideoFrame]:
        """The last frame whose presentation time is at or before `time_s` (the first one, before it)."""
        position = self.shown[0] if self.shown else 0.0
        if self.may_seek and time_s - position > SEEK_GAP_S:
            self._seek(time_s, position)
        while self.upcoming is not None and (self.shown is None or self.upcoming[0] <= time_s):
            self.shown, self.upcoming = self.upcoming, next(self.frames, None)
        if self.shown is None:
            raise MediaError("decode_failed", f"No picture of {self.path.name} can be decoded.")
        if self.upcoming is None:
            self._check_reached(time_s)
        return self.shown

    def _restart(self) -> None:
        self.frames = self._decode()
        self.upcoming = next(self.frames, None)

    def _seek(self, time_s: float, position: float) -> None:
        """Jump to a key frame before `time_s`; go back to plain reading where the file's index is of no use."""
        for lead in (0.0, 10.0):
            target = max(time_s - lead, 0.0)
            if target <= position or not self._jump(target):
                break
            if self.upcoming is not None and self.upcoming[0] <= time_s:
                # Landing at or behind the old position means few key frames: seeking again would decode all twice.
                self.may_seek = self.upcoming[0] > position
                self.shown = None
                return
        self.may_seek, self.shown = False, None
        self._jump(0.0)

    def _jump(self, target_s: float) -> bool:
        time_base = float(self.stream.time_base or 1)
        try:
            self.container.seek(int((target_s + self.origin) / time_base), stream=self.stream)
        except (av.error.FFmpegError, OSError):
            return False
        self._restart()
        return True

    def _decode(self) -> Iterator[tuple[float, av.VideoFrame]]:
        """Frames with their times; a packet that cannot be decoded is skipped, a broken file simply ends."""
        rate = self.stream.average_rate
        step, previous = (1.0 / float(rate) if rate else 0.04), -0.04
        for frame in decoded(self.container, self.stream):
            if isinstance(frame, av.VideoFrame):
                stamp = frame.pts if frame.pts is not None else frame.dts
                known = stamp is not None and frame.time_base is not None
                previous = float(stamp * frame.time_base) - self.origin if known else previous + step  # type: ignore[operator]
                yield previous, frame

    def _check_reached(self, time_s: float) -> None:
        """The last picture stays on the screen while the sound goes on, unless the file or its pictures were cut."""
        assert self.shown is not None
        end = self.shown[0] + (self.shown[1].duration or 0) * float(self.stream.time_base or 0)
        if time_s <= max(end, self.shown[0] + END_SLACK_S, self.held_until):
            return
        last_packet, is_whole = pictures_end(self.path, self.stream.index)
        if not is_whole or last_packet > end + END_SLACK_S:
            message = f"The pictures of {self.path.name} end at {self.shown[0]:.1f} s, before {time_s:.1f} s."
            raise Truncated(message, end)
        self.held_until = float("inf")


@dataclass
class Tally:
    """How much of a stream was there, and how much of it could be decoded."""

    packets: int = 0
    frames: int = 0


def decoded(
    container: av.container.InputContainer, stream: av.VideoStream | av.AudioStream, tally: Tally | None = None
) -> Iterator[av.VideoFrame | av.AudioFrame]:
    """Every frame that can be decoded, in order; bad packets are stepped over and a broken end is an end."""
    tally = tally or Tally()
    packets = container.demux(stream)
    flush: av.Packet[Any] = av.Packet()
    flush.time_base = stream.time_base or Fraction(1, 1000)
    while True:
        try:
            packet = next(packets, flush)
        except (av.error.FFmpegError, OSError):
            packet = flush
        tally.packets += packet.size > 0
        try:
            frames = stream.codec_context.decode(packet)
        except (av.error.FFmpegError, OSError):
            frames = []
        tally.frames += len(frames)
        yield from frames
        if not packet.size:
            return


def read_audio(path: str | Path, start_s: float = 0.0, end_s: float | None = None) -> NDArray[np.int16]:
    """Mono sound at 16 kHz from `start_s` to `end_s`; empty when the file has no sound there.

    Sample i is heard at start_s + i / 16000: a late start and holes are filled with silence.
    Raises `audio_decode_failed` where there is sound of which nothing can be decoded.
    """
    with open_media(path) as container:
        stream = audio_stream(container)
        if stream is None:
            return np.zeros(0, np.int16)
        origin, tally = origin_s(container), Tally()
        if start_s > SEEK_GAP_S:
            _seek_audio(container, stream, start_s - AUDIO_LEAD_S + origin)
        track = _Track(start_s, end_s)
        try:
            track.fill(decoded(container, stream, tally), origin)
        except (av.error.FFmpegError, OSError, ValueError) as err:
            raise MediaError("audio_decode_failed", f"The sound of {Path(path).name} cannot be resampled.") from err
        if tally.packets and not tally.frames:
            raise MediaError("audio_decode_failed", f"The sound of {Path(path).name} cannot be decoded.")
        return track.samples()


def _seek_audio(container: av.container.InputContainer, stream: av.AudioStream, target_s: float) -> None:
    try:
        container.seek(int(target_s / float(stream.time_base or 1)), stream=stream)
    except (av.error.FFmpegError, OSError):  # not seekable: read from the start, which is only slower
        return


class _Track:
    """Lays resampled pieces of sound on a time line of 16,000 samples a second."""

    def __init__(self, start_s: float, end_s: float | None) -> None:
        self.start_s = start_s
        self.limit = None if end_s is None else max(round((end_s - start_s) * SAMPLE_RATE), 0)
        self.pieces: list[NDArray[np.int16]] = []
        self.filled = 0
        self.position = 0

    def fill(self, frames: Iterator[av.VideoFrame | av.AudioFrame], origin: float) -> None:
        resampler, kind, expected = None, None, 0.0
        for frame in frames:
            if not isinstance(frame, av.AudioFrame) or not frame.sample_rate:
                continue
            known = frame.pts is not None and frame.time_base is not None
            time_s = float(frame.pts * frame.time_base) - origin if known else expected  # type: ignore[operator]
            if not known or abs(time_s - expected) > MAX_HOLE_S and resampler is not None:
                time_s = expected
            now = (frame.format.name, frame.layout.name, frame.sample_rate)
            if resampler is None or now != kind or abs(time_s - expected) > AUDIO_GAP_S:
                self._drain(resampler)
                resampler, kind = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE), now
                self.position = round((time_s - self.start_s) * SAMPLE_RATE)
            expected = time_s + frame.samples / frame.sample_rate
            frame.pts = None
            for piece in resampler.resample(frame):
                self._append(piece.to_ndarray().reshape(-1).astype(np.int16, copy=False))
            if self.limit is not None and self.position >= self.limit:
                return
        self._drain(resampler)

    def samples(self) -> NDArray[np.int16]:
        whole = np.concatenate(self.pieces) if self.pieces else np.zeros(0, np.int16)
        return whole[: self.limit]

    def _drain(self, resampler: av.AudioResampler | None) -> None:
        if resampler is not None:
            for piece in resampler.resample(None):
                self._append(piece.to_ndarray().reshape(-1).astype(np.int16, copy=False))

    def _append(self, piece: NDArray[np.int16]) -> None:
        start, self.position = self.position, self.position + len(piece)
        if self.limit is not None:
            start = min(start, self.limit)
        if start > self.filled:
            self.pieces.append(np.zeros(start - self.filled, np.int16))
            self.filled = start
        fresh = piece[self.filled - start :]
        if len(fresh):
            self.pieces.append(fresh)
            self.filled += len(fresh)


def read_image(path: str | Path, size: int) -> NDArray[np.uint8]:
    """One still picture: uint8 [size, size, 3], upright, squashed."""
    path = check_regular(path)
    if path.stat().st_size > MAX_IMAGE_BYTES:
        raise MediaError("too_large", f"{path.name} is larger than {MAX_IMAGE_BYTES >> 20} MiB.")
    options = {"format_whitelist": IMAGE_FORMATS, "protocol_whitelist": "", "max_pixels": str(MAX_PIXELS)}
    try:  # from memory, not by name: FFmpeg takes names for patterns of picture sequences
        with av.open(io.BytesIO(path.read_bytes()), "r", options=options, metadata_errors="replace") as container:
            frame = next(decoded(container, container.streams.video[0]), None)
    except (av.error.FFmpegError, OSError, IndexError, MemoryError) as err:
        raise MediaError("unreadable", f"{path.name} is not a picture that HTAV can read.") from err
    if not isinstance(frame, av.VideoFrame):
        raise MediaError("decode_failed", f"{path.name} cannot be decoded.")
    return _Squash(size)(frame)
