"""T9: no damaged file ends a worker, hangs it, or is left without a verdict.

Small real files of twelve kinds, each spoilt in seeded ways. HTAV_FUZZ sets how many ways for each (200 for the full
count; a few on every push).
"""

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from indexer.config import IndexSettings
from indexer.tables import VideoState
from model import Retriever
from tests.indexer.library_files import Bench
from tests.media_files import tone, write_media

WAYS = int(os.environ.get("HTAV_FUZZ", "5"))
SIZE = (64, 48)
SECONDS = 0.6


def picture_file(path: Path, codec: str, sound_codec: str | None = None) -> Path:
    rate = 48_000
    sound = tone(SECONDS, rate) if sound_codec else None
    heard = {"sound": sound, "sound_rate": rate, "sound_codec": sound_codec or "aac"}
    return write_media(path, seconds=SECONDS, fps=10, size=SIZE, codec=codec, **heard)


def sound_file(path: Path, codec: str) -> Path:
    return write_media(path, codec=None, sound=tone(SECONDS, 48_000), sound_rate=48_000, sound_codec=codec)


SEEDS: dict[str, Callable[[Path], Path]] = {
    "h264.mp4": lambda path: picture_file(path, "libx264", "aac"),
    "h264.mkv": lambda path: picture_file(path, "libx264", "flac"),
    "vp9.webm": lambda path: picture_file(path, "libvpx-vp9", "libopus"),
    "mpeg4.avi": lambda path: picture_file(path, "mpeg4", "libmp3lame"),
    "h264.ts": lambda path: picture_file(path, "libx264", "aac"),
    "png.mov": lambda path: write_media(path, seconds=SECONDS, fps=10, size=SIZE, codec="png", pixel_format="rgb24"),
    "h264.flv": lambda path: picture_file(path, "libx264", "aac"),
    "sound.mp3": lambda path: sound_file(path, "libmp3lame"),
    "sound.wav": lambda path: sound_file(path, "pcm_s16le"),
    "sound.flac": lambda path: sound_file(path, "flac"),
    "sound.ogg": lambda path: sound_file(path, "libopus"),
    "sound.m4a": lambda path: sound_file(path, "aac"),
}


def spoil(data: bytes, dice: random.Random) -> bytes:
    """One of: flipped bytes, a zeroed or random stretch, a cut, a stretch repeated or taken out."""
    spoilt = bytearray(data)
    at = dice.randrange(len(data))
    length = dice.randint(1, min(400, len(data) - at))
    match dice.randrange(6):
        case 0:
            for _ in range(dice.randint(1, 24)):
                spoilt[dice.randrange(len(data))] = dice.randrange(256)
        case 1:
            spoilt[at : at + length] = bytes(length)
        case 2:
            spoilt[at : at + length] = dice.randbytes(length)
        case 3:
            del spoilt[at:]
        case 4:
            spoilt[at:at] = spoilt[at : at + length]
        case 5:
            del spoilt[at : at + length]
    return bytes(spoilt)


@pytest.mark.timeout(60 * max(WAYS, 10))
def test_every_damaged_file_gets_a_verdict(tmp_path: Path, tiny_checkpoint: Path, settings: IndexSettings) -> None:
    folder = tmp_path / "library"
    folder.mkdir()
    dice = random.Random(20260)
    for name, make in SEEDS.items():
        stem, _, suffix = name.partition(".")
        whole = make(tmp_path / f"whole.{suffix}").read_bytes()
        for way in range(WAYS):
            (folder / f"{stem}-{way}.{suffix}").write_bytes(spoil(whole, dice))
        (folder / f"{stem}-whole.{suffix}").write_bytes(whole)
    bench = Bench(settings, Retriever.from_pretrained(tiny_checkpoint))
    report = bench.index(folder)
    counts = report.counts
    assert counts.found == len(SEEDS) * (WAYS + 1)
    assert counts.encoded + counts.partial + counts.duplicate + counts.failed == counts.found
    assert all(failure.code and failure.message for failure in report.failed)
    assert not any(failure.code == "timeout" for failure in report.failed)
    videos = bench.videos()
    whole_ones = [videos[name.replace(".", "-whole.")] for name in SEEDS]
    assert {video.state for video in whole_ones} == {VideoState.READY}
    states = {video.state for video in videos.values()}
    assert states <= {VideoState.READY, VideoState.PARTIAL, VideoState.FAILED}
    assert counts.failed > 0  # damage that nothing notices would prove nothing
