"""Media files for tests, made with PyAV from a seed: no binary lies in the repository."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
CORNERS = {"top left": (255, 0, 0), "top right": (0, 255, 0), "bottom left": (0, 0, 255), "bottom right": (255, 255, 0)}
TIME_BASE = Fraction(1, 90_000)


def corners(width: int, height: int) -> Picture:
    """A picture with four different corners: any wrong turn shows."""
    picture = np.zeros((height, width, 3), np.uint8)
    half_height, half_width = height // 2, width // 2
    picture[:half_height, :half_width] = CORNERS["top left"]
    picture[:half_height, half_width:] = CORNERS["top right"]
    picture[half_height:, :half_width] = CORNERS["bottom left"]
    picture[half_height:, half_width:] = CORNERS["bottom right"]
    return picture


def clock(width: int, height: int, time_s: float, length_s: float) -> Picture:
    """A picture whose brightness tells its time: 20 at the start, 220 at the end."""
    return np.full((height, width, 3), round(20 + 200 * time_s / length_s), np.uint8)


def tone(seconds: float, rate: int, channels: int = 1, hertz: float = 440.0) -> NDArray[np.float32]:
    wave = 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)
    return np.repeat(wave[None], channels, axis=0).astype(np.float32)


def write_media(
    path: Path,
    *,
    times: Sequence[float] | None = None,
    seconds: float = 2.0,
    fps: int = 25,
    size: tuple[int, int] = (160, 120),
    picture: Callable[[float], Picture] | None = None,
    codec: str | None = "libx264",
    pixel_format: str = "yuv420p",
    rotation: int = 0,
    sound: NDArray[np.float32] | None = None,
    sound_rate: int = 44_100,
    sound_codec: str = "aac",
    layout: str = "mono",
    gop: int = 12,
    options: dict[str, str] | None = None,
    offset_s: float = 0.0,
    stream_options: dict[str, str] | None = None,
) -> Path:
    """Write pictures shown at `times` (default: `fps` a second) and, if given, a sound track."""
    if times is None:
        times = [index / fps for index in range(max(round(seconds * fps), 1))]
    draw = picture or (lambda time_s: clock(*size, time_s, max(seconds, 0.1)))
    with av.open(str(path), "w", options=options or {}) as container:
        video = _video(container, codec, fps, size, pixel_format, gop, rotation, stream_options) if codec else None
        audio = container.add_stream(sound_codec, rate=sound_rate, layout=layout) if sound is not None else None
        if video is not None:
            for time_s in times:
                frame = av.VideoFrame.from_ndarray(draw(time_s), format="rgb24").reformat(format=pixel_format)
                frame.pts, frame.time_base = round((time_s + offset_s) / TIME_BASE), TIME_BASE
                container.mux(video.encode(frame))
            container.mux(video.encode(None))
        if audio is not None:
            _write_sound(container, audio, sound, sound_rate, layout, offset_s)
    return path


def unknown_codec(path: Path, seconds: float = 1.0, **options: Any) -> Path:
    """An MP4 file, sound in every other respect, whose pictures are in a codec that nobody knows."""
    write_media(path, seconds=seconds, size=(96, 64), fps=10, **options)
    data = path.read_bytes()
    assert data.count(b"avc1") > 0
    path.write_bytes(data.replace(b"avc1", b"zzzz"))
    return path


def _video(
    container: Any, codec: str, fps: int, size: tuple[int, int], pixel_format: str, gop: int, rotation: int,
    stream_options: dict[str, str] | None,
) -> Any:  # fmt: skip
    stream = container.add_stream(codec, rate=fps, options=stream_options or {})
    stream.width, stream.height = size
    stream.pix_fmt = pixel_format
    stream.gop_size = gop
    stream.codec_context.time_base = TIME_BASE if codec != "mpeg4" else Fraction(1, fps)
    if rotation:
        stream.set_display_rotation(rotation)
    return stream


def _write_sound(
    container: Any, stream: Any, sound: NDArray[np.float32], rate: int, layout: str, offset_s: float
) -> None:
    step = stream.codec_context.frame_size or 1024
    resampler = av.AudioResampler(format=stream.codec_context.format, layout=layout, rate=rate, frame_size=step)
    for start in range(0, sound.shape[1], step):
        piece = np.ascontiguousarray(sound[:, start : start + step])
        frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, start + round(offset_s * rate), Fraction(1, rate)
        for ready in resampler.resample(frame):
            container.mux(stream.encode(ready))
    for ready in resampler.resample(None):
        container.mux(stream.encode(ready))
    container.mux(stream.encode(None))
