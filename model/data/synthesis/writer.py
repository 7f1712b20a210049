"""Frames and samples into a media file, through PyAV. The same input gives the same bytes."""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import ClassVar, Final, cast

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.stream import VideoStream

from model.errors import HtavError


class FormatError(HtavError):
    """A container, a codec, or the two together, cannot be written."""

    code: ClassVar[str] = "format_unsupported"


ENCODERS: Final = {
    "h264": ("libx264", {"preset": "ultrafast", "crf": "25", "flags": "+bitexact"}),
    "hevc": (
        "libx265",
        {"preset": "ultrafast", "crf": "28", "x265-params": "log-level=none:pools=none:frame-threads=1:info=0"},
    ),
    "vp9": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "crf": "32", "b": "0", "flags": "+bitexact"}),
    "mpeg4": ("mpeg4", {"qscale": "4", "flags": "+bitexact+qscale", "global_quality": "472"}),
    "aac": ("aac", {"aac_coder": "fast", "flags": "+bitexact"}),
    "opus": ("libopus", {"compression_level": "3", "flags": "+bitexact"}),
    "mp3": ("libmp3lame", {"compression_level": "7", "flags": "+bitexact"}),
    "flac": ("flac", {"compression_level": "3", "flags": "+bitexact"}),
    "pcm": ("pcm_s16le", {"flags": "+bitexact"}),
}
# AVI knows no presentation times: shifting all streams by the sound encoder's delay would double a frame
AVI_OPTIONS: Final = {"avoid_negative_ts": "disabled"}
AUDIO_BIT_RATES: Final = {"aac": 64_000, "opus": 32_000, "mp3": 64_000}


@dataclass(frozen=True)
class Format:
    """A container with its codecs; `video` is empty for files of sound alone."""

    suffix: str
    muxer: str
    video: str
    audio: str


FORMATS: Final = {
    "mp4": Format("mp4", "mp4", "h264", "aac"),
    "mkv": Format("mkv", "matroska", "h264", "aac"),
    "avi": Format("avi", "avi", "mpeg4", "mp3"),
    "webm": Format("webm", "webm", "vp9", "opus"),
    "flac": Format("flac", "flac", "", "flac"),
    "ogg": Format("ogg", "ogg", "", "opus"),
    "m4a": Format("m4a", "ipod", "", "aac"),
    "wav": Format("wav", "wav", "", "pcm"),
}
VIDEO_CODECS: Final = {
    "mp4": ("h264", "hevc", "vp9", "mpeg4"),
    "mkv": ("h264", "hevc", "vp9", "mpeg4"),
    "avi": ("mpeg4",),
    "webm": ("vp9",),
}


def choose_format(container: str, codec: str | None = None) -> Format:
    """The named container with its usual codecs, or with another video codec."""
    if container not in FORMATS:
        raise FormatError(f"There is no container {container!r}.", f"Choose one of: {', '.join(FORMATS)}.")
    chosen = FORMATS[container]
    if codec is None or codec == chosen.video:
        return chosen
    allowed = VIDEO_CODECS.get(container, ())
    if codec not in allowed:
        raise FormatError(
            f"{container} does not hold {codec} video.", f"Choose one of: {', '.join(allowed) or 'none'}."
        )
    return Format(chosen.suffix, chosen.muxer, codec, chosen.audio)


class MediaWriter:
    """One open file. Sound is interleaved as the frames arrive."""

    def __init__(
        self, path: Path, form: Format, size: tuple[int, int] | None, fps: Fraction, sound: np.ndarray | None, rate: int
    ) -> None:
        self.fps, self.samples, self.rate = fps, sound, rate
        self.frames_written, self.samples_written = 0, 0
        options = {"fflags": "+bitexact", **(AVI_OPTIONS if form.muxer == "avi" else {})}
        self.container: OutputContainer = av.open(str(path), "w", format=form.muxer, options=options)
        self.video = None if size is None else self.add_video(form.video, *size)
        self.audio = None if sound is None else self.add_audio(form.audio)

    def add_video(self, codec: str, width: int, height: int) -> VideoStream:
        name, options = ENCODERS[codec]
        stream = cast(VideoStream, self.container.add_stream(name, rate=self.fps, options=dict(options)))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_count = 1
        return stream

    def add_audio(self, codec: str) -> AudioStream:
        name, options = ENCODERS[codec]
        stream = cast(AudioStream, self.container.add_stream(name, rate=self.rate, options=dict(options)))
        stream.layout = "mono"
        if codec in AUDIO_BIT_RATES:
            stream.bit_rate = AUDIO_BIT_RATES[codec]
        return stream

    def write_frame(self, image: np.ndarray) -> None:
        """H, W, 3 = image.shape; the sound up to the frame's end follows it."""
        assert self.video is not None
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame.pts, frame.time_base = self.frames_written, 1 / self.fps
        self.container.mux(self.video.encode(frame))
        self.frames_written += 1
        self.write_sound(int(self.frames_written / self.fps * self.rate))

    def write_sound(self, end: int) -> None:
        """Encode the samples that are still to be written before sample `end`."""
        if self.audio is None or self.samples is None:
            return
        piece = self.samples[self.samples_written : end]
        if len(piece):
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(piece)[None, :], format="s16", layout="mono")
            frame.sample_rate, frame.pts = self.rate, self.samples_written
            frame.time_base = Fraction(1, self.rate)
            self.container.mux(self.audio.encode(frame))
            self.samples_written += len(piece)

    def close(self) -> None:
        """Write what is left and finish the file."""
        if self.samples is not None:
            self.write_sound(len(self.samples))
        if self.video is not None:
            self.container.mux(self.video.encode(None))
        if self.audio is not None:
            self.container.mux(self.audio.encode(None))
        self.container.close()


def write_audio(path: Path, form: Format, samples: np.ndarray, rate: int) -> None:
    """A file of sound alone; N, = samples.shape, int16."""
    writer = MediaWriter(path, form, None, Fraction(25), samples, rate)
    writer.close()


def write_video(
    path: Path, form: Format, frames: Iterable[np.ndarray], fps: Fraction, samples: np.ndarray | None, rate: int
) -> None:
    """A video file; every frame is H, W, 3 uint8 with even sides; without `samples` it has no audio stream."""
    if not form.video:
        raise FormatError(f".{form.suffix} files hold no pictures.", f"Choose one of: {', '.join(VIDEO_CODECS)}.")
    images = iter(frames)
    first = next(images)
    writer = MediaWriter(path, form, (first.shape[1], first.shape[0]), fps, samples, rate)
    for image in chain([first], images):
        writer.write_frame(image)
    writer.close()
