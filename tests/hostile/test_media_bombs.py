"""T10: files that promise far more than they hold are refused at probe, quickly and in little memory."""

import struct
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import psutil
import pytest

from indexer.decode import Decoder, FileFailed
from indexer.failures import TERMINAL_CODES
from tests.media_files import write_media

MAX_CPU_S = 1.0
MAX_RSS = 200 << 20


def huge_picture(path: Path) -> None:
    """16,384 x 16,384 pixels of one bit in a few kilobytes."""
    side = 16_384
    rows = zlib.compress((b"\0" + bytes(side // 8)) * side, 9)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)), (b"IDAT", rows), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    mux_packet(path, "png", (16, 16), b"\x89PNG\r\n\x1a\n" + body)


def mux_packet(path: Path, codec: str, size: tuple[int, int], content: bytes) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=1)
        stream.width, stream.height, stream.pix_fmt = *size, "rgb24"
        packet = av.Packet(content)
        packet.stream, packet.pts, packet.dts, packet.time_base = stream, 0, 0, Fraction(1, 1)
        packet.is_keyframe = True
        container.mux(packet)


def large_h264(path: Path) -> None:
    """8,192 x 8,192 in about 200 kB: three frames of it cost 700 MB when nobody looks."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=1, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 8192, 8192, "gray"
        frame = av.VideoFrame(8192, 8192, "gray")
        frame.planes[0].update(np.zeros(frame.planes[0].buffer_size, np.uint8))
        frame.pts = 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def timed(path: Path, rate: int, stamps: tuple[int, ...]) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for stamp in stamps:
            frame = av.VideoFrame(32, 32, "yuv420p")
            frame.pts, frame.time_base = stamp, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def a_million_frames_a_second(path: Path) -> None:
    timed(path, 1_000_000, tuple(range(0, 100_000, 1000)))


def thousand_hours(path: Path) -> None:
    timed(path, 1, (0, 3_600_000))


def ten_thousand_streams(path: Path) -> None:
    """The one track of a small file, ten thousand times."""
    data = write_media(path, seconds=0.2, size=(32, 32)).read_bytes()
    moov = data.index(b"moov") - 4
    trak = data.index(b"trak", moov) - 4
    trak_size, moov_size = struct.unpack_from(">I", data, trak)[0], struct.unpack_from(">I", data, moov)[0]
    extra = data[trak : trak + trak_size] * 9_999
    grown = struct.pack(">I", moov_size + len(extra)) + data[moov + 4 : trak + trak_size] + extra
    path.write_bytes(data[:moov] + grown + data[trak + trak_size :])


@pytest.mark.parametrize(
    ("make", "suffix", "codes"),
    [
        (huge_picture, "mov", {"too_large", "decode_failed"}),
        (large_h264, "mp4", {"too_large"}),
        (a_million_frames_a_second, "mkv", {"too_large"}),
        (thousand_hours, "mkv", {"too_long"}),
        (ten_thousand_streams, "mp4", {"too_large"}),
    ],
)
def test_a_bomb_is_refused_at_probe(tmp_path: Path, make: Callable[[Path], None], suffix: str, codes: set[str]) -> None:
    path = tmp_path / f"bomb.{suffix}"
    make(path)
    with Decoder() as decoder:
        decoder.probe(write_media(tmp_path / "warm.mp4", seconds=0.2, size=(32, 32)))
        assert decoder._child is not None
        child = psutil.Process(decoder._child.pid)
        before = sum(child.cpu_times()[:2])
        with pytest.raises(FileFailed) as caught:
            decoder.probe(path)
        assert caught.value.code in codes & TERMINAL_CODES
        assert sum(child.cpu_times()[:2]) - before < MAX_CPU_S
        status = Path(f"/proc/{child.pid}/status").read_text()
        peak = int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) << 10
        assert peak < MAX_RSS
