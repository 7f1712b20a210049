"""What the network sees and hears must be what a viewer sees and hears, at the time they do."""

import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model import media
from tests.media_files import CORNERS, clock, corners, tone, write_media

SIZE = 64


def told_time(picture: np.ndarray, length_s: float) -> float:
    """The inverse of `clock`."""
    return (float(picture.mean()) - 20) / 200 * length_s


@settings(deadline=None)
@given(st.floats(0.01, 90_000))
def test_windows_cover_the_video_and_end_at_its_end(duration_s: float) -> None:
    windows = media.clip_windows(duration_s)
    assert windows[0][0] == 0
    assert windows[-1][1] == pytest.approx(duration_s)
    for (start, end), (next_start, _) in zip(windows, windows[1:], strict=False):
        assert start < next_start <= end
    if duration_s <= 12:
        assert len(windows) == 1
    else:
        assert all(end - start == pytest.approx(10) for start, end in windows)


def test_windows_by_example() -> None:
    assert media.clip_windows(12.0) == [(0.0, 12.0)]
    assert media.clip_windows(20.0) == [(0.0, 10.0), (8.0, 18.0), (10.0, 20.0)]
    assert media.clip_windows(26.0) == [(0.0, 10.0), (8.0, 18.0), (16.0, 26.0)]


def test_frame_times_are_midpoints() -> None:
    assert media.frame_times(2.0, 4.0, 4) == [2.25, 2.75, 3.25, 3.75]


@pytest.mark.parametrize("rotation", [0, 90, 180, -90])
def test_pictures_are_brought_upright(tmp_path: Path, rotation: int) -> None:
    """The file stores a turned picture and the matrix that turns it back."""
    upright = corners(96, 160)
    stored = np.rot90(upright, -rotation // 90).copy()
    path = write_media(
        tmp_path / "turned.mp4", seconds=0.4, size=(stored.shape[1], stored.shape[0]), picture=lambda _: stored,
        rotation=rotation,
    )  # fmt: skip
    frames, _ = media.read_frames(path, [0.1], SIZE)
    edge = SIZE // 4
    seen = {
        "top left": frames[0][edge, edge],
        "top right": frames[0][edge, -edge],
        "bottom left": frames[0][-edge, edge],
        "bottom right": frames[0][-edge, -edge],
    }
    for corner, colour in CORNERS.items():
        assert np.abs(seen[corner].astype(int) - colour).max() < 40, corner
    probe = media.probe(path)
    assert (probe.width, probe.height, probe.rotation) == (96, 160, rotation % 360)


def test_each_time_gets_the_frame_on_the_screen_then_at_any_rate(tmp_path: Path) -> None:
    shown_at = [0.0, 0.1, 0.15, 1.0, 1.04, 2.9, 3.0, 3.5]
    path = write_media(tmp_path / "vfr.mp4", times=shown_at, seconds=4.0)
    asked = [3.2, 0.12, 0.99, 1.02, 2.0, 2.95, 0.0]
    frames, times = media.read_frames(path, asked, SIZE)
    expected = [max(time for time in shown_at if time <= moment) for moment in asked]
    assert times == pytest.approx(expected, abs=0.001)
    assert [told_time(frame, 4.0) for frame in frames] == pytest.approx(expected, abs=0.06)


def test_a_late_start_counts_from_the_first_time_stamp(tmp_path: Path) -> None:
    path = write_media(tmp_path / "late.ts", seconds=2.0, offset_s=100.0, sound=tone(2.0, 44_100))
    assert media.probe(path).duration_s == pytest.approx(2.0, abs=0.15)
    frames, times = media.read_frames(path, [0.5, 1.5], SIZE)
    assert times == pytest.approx([0.5, 1.5], abs=0.08)
    assert [told_time(frame, 2.0) for frame in frames] == pytest.approx([0.5, 1.5], abs=0.1)
    assert len(media.read_audio(path)) == pytest.approx(2 * media.SAMPLE_RATE, abs=2500)


@pytest.mark.parametrize("gop", [10, 1000])
def test_long_gaps_seek_and_find_the_same_frames(tmp_path: Path, gop: int) -> None:
    path = write_media(tmp_path / "long.mp4", seconds=60.0, fps=10, gop=gop)
    asked = [0.55, 25.05, 49.95, 59.0, 30.0]
    frames, times = media.read_frames(path, asked, SIZE)
    assert times == pytest.approx([0.5, 25.0, 49.9, 59.0, 30.0], abs=0.001)
    assert [told_time(frame, 60.0) for frame in frames] == pytest.approx(times.tolist(), abs=0.7)


@pytest.mark.parametrize(
    ("suffix", "codec", "pixel_format"),
    [
        ("mp4", "libx264", "yuv420p"), ("mkv", "libx265", "yuv420p10le"), ("webm", "libvpx-vp9", "yuva420p"),
        ("avi", "mpeg4", "yuv420p"), ("mov", "png", "rgba"), ("mkv", "ffv1", "gray"),
    ],
)  # fmt: skip
def test_containers_codecs_and_pixel_formats(tmp_path: Path, suffix: str, codec: str, pixel_format: str) -> None:
    options = {"x265-params": "log-level=none"} if codec == "libx265" else None
    path = write_media(
        tmp_path / f"a.{suffix}", seconds=1.0, codec=codec, pixel_format=pixel_format, stream_options=options
    )
    frames, _ = media.read_frames(path, [0.2, 0.8], SIZE)
    assert [told_time(frame, 1.0) for frame in frames] == pytest.approx([0.2, 0.8], abs=0.06)


def test_one_frame_is_a_video(tmp_path: Path) -> None:
    path = write_media(tmp_path / "one.mp4", times=[0.0])
    probe = media.probe(path)
    assert probe.has_video and 0 < probe.duration_s < 1
    frames, times = media.read_frames(path, media.frame_times(0, probe.duration_s, 4), SIZE)
    assert frames.shape == (4, SIZE, SIZE, 3) and times.tolist() == [0.0] * 4


@pytest.mark.parametrize(
    ("rate", "layout", "codec", "suffix"),
    [
        (8_000, "mono", "pcm_s16le", "wav"), (44_100, "stereo", "aac", "m4a"), (48_000, "5.1", "flac", "flac"),
        (48_000, "stereo", "libopus", "webm"), (44_100, "mono", "libmp3lame", "mp3"),
    ],
)  # fmt: skip
def test_sound_comes_mono_at_16_khz(tmp_path: Path, rate: int, layout: str, codec: str, suffix: str) -> None:
    channels = av.AudioLayout(layout).nb_channels
    path = write_media(
        tmp_path / f"a.{suffix}", codec=None, sound=tone(2.0, rate, channels), sound_rate=rate, sound_codec=codec,
        layout=layout,
    )  # fmt: skip
    probe = media.probe(path)
    assert probe.has_audio and not probe.has_video
    samples = media.read_audio(path)
    assert samples.dtype == np.int16
    assert len(samples) == pytest.approx(2 * media.SAMPLE_RATE, abs=1800)
    spectrum = np.abs(np.fft.rfft(samples[8000:24000].astype(float)))
    assert spectrum.argmax() == pytest.approx(440, abs=1)


def test_a_piece_of_sound_equals_that_piece_of_the_whole(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, (1, 16_000 * 30)).astype(np.float32)
    path = write_media(tmp_path / "a.wav", codec=None, sound=noise, sound_rate=16_000, sound_codec="pcm_s16le")
    whole = media.read_audio(path)
    assert np.array_equal(media.read_audio(path, 3.0, 4.5), whole[48_000:72_000])
    assert np.array_equal(media.read_audio(path, 21.5, 29.0), whole[344_000:464_000])
    assert len(media.read_audio(path, 29.0, 40.0)) == 16_000
    assert len(media.read_audio(path, 35.0, 40.0)) == 0


def test_sound_that_starts_late_is_led_by_silence(tmp_path: Path) -> None:
    late = np.concatenate([np.zeros((1, 44_100)), tone(1.0, 44_100)], axis=1).astype(np.float32)[:, 44_100:]
    path = tmp_path / "late.mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
        audio = container.add_stream("flac", rate=44_100, layout="mono")
        for index in range(50):
            frame = av.VideoFrame.from_ndarray(clock(64, 64, 0, 1), format="rgb24").reformat(format="yuv420p")
            frame.pts = index
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        frame = av.AudioFrame.from_ndarray((late * 32767).astype(np.int16), format="s16", layout="mono")
        frame.sample_rate, frame.pts = 44_100, 44_100
        container.mux(audio.encode(frame))
        container.mux(audio.encode(None))
    samples = media.read_audio(path).astype(int)
    assert len(samples) == pytest.approx(32_000, abs=200)
    assert np.abs(samples[:15_900]).max() == 0
    assert np.abs(samples[16_100:]).max() > 10_000


def test_no_sound_is_not_an_error_but_undecodable_sound_is(tmp_path: Path) -> None:
    silent = write_media(tmp_path / "silent.mp4", seconds=0.5)
    assert media.read_audio(silent).size == 0
    path = write_media(
        tmp_path / "broken.mka", codec=None, sound=tone(1.0, 48_000), sound_rate=48_000, sound_codec="flac"
    )
    data = bytearray(path.read_bytes())
    for start in range(data.index(b"\xff\xf8"), len(data) - 8):
        data[start] = 0x55
    path.write_bytes(data)
    with pytest.raises(media.MediaError) as caught:
        media.read_audio(path)
    assert caught.value.code in ("audio_decode_failed", "damaged")


def test_a_cut_file_is_known_by_what_can_be_read(tmp_path: Path) -> None:
    noise = np.random.default_rng(1)
    path = write_media(
        tmp_path / "cut.mp4", seconds=4.0, size=(160, 120), options={"movflags": "faststart"},
        picture=lambda _: noise.integers(0, 255, (120, 160, 3), np.uint8),
    )  # fmt: skip
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * 0.6)])
    probe = media.probe(path)
    assert probe.declared_s == pytest.approx(4.0, abs=0.1)
    assert 0.4 < probe.completeness < 0.8
    media.read_frames(path, [0.5, 1.5], SIZE)
    with pytest.raises(media.MediaError) as caught:
        media.read_frames(path, [0.5, 3.9], SIZE)
    assert isinstance(caught.value, media.Truncated) and caught.value.code == "truncated"
    assert caught.value.end_s == pytest.approx(probe.duration_s, abs=0.2)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_the_last_picture_stays_while_the_sound_goes_on(tmp_path: Path, suffix: str) -> None:
    path = write_media(tmp_path / f"a.{suffix}", seconds=2.0, sound=tone(6.0, 44_100))
    assert media.probe(path).completeness == 1.0
    frames, times = media.read_frames(path, [0.5, 5.5], SIZE)
    assert times == pytest.approx([0.48, 1.96], abs=0.05)
    assert told_time(frames[1], 2.0) == pytest.approx(1.96, abs=0.06)


def test_the_time_of_recording_is_kept_as_the_file_says_it(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        container.metadata["creation_time"] = "2021-06-05T04:03:02.000000Z"
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        frame = av.VideoFrame.from_ndarray(corners(64, 64), format="rgb24").reformat(format="yuv420p")
        frame.pts = 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert media.probe(path).recorded_at == "2021-06-05T04:03:02.000000Z"


def test_sound_without_a_single_packet_is_no_sound(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.mkv", seconds=0.5, sound=np.zeros((1, 0), np.float32), sound_codec="flac")
    assert media.read_audio(path).size == 0


def test_cover_art_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "song.mp3"
    with av.open(str(path), "w") as container:
        audio = container.add_stream("libmp3lame", rate=44_100, layout="mono")
        cover = container.add_stream("png")
        cover.width, cover.height, cover.pix_fmt = 64, 64, "rgb24"
        cover.disposition = av.stream.Disposition.attached_pic
        frame = av.VideoFrame.from_ndarray(corners(64, 64), format="rgb24")
        container.mux(cover.encode(frame))
        for start in range(0, 44_100, 1152):
            piece = tone(1.0, 44_100)[:, start : start + 1152]
            sound = av.AudioFrame.from_ndarray(np.ascontiguousarray(piece), format="fltp", layout="mono")
            sound.sample_rate, sound.pts = 44_100, start
            container.mux(audio.encode(sound))
        container.mux(audio.encode(None))
    probe = media.probe(path)
    assert probe.has_audio and not probe.has_video


@pytest.mark.parametrize(
    ("content", "code"),
    [(None, "not_found"), (b"", "empty"), (b"just some words\n" * 40, None), (b"\x00" * 4096, None)],
)
def test_what_is_no_media_file_has_a_code(tmp_path: Path, content: bytes | None, code: str | None) -> None:
    path = tmp_path / "a.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(media.MediaError) as caught:
        media.probe(path)
    assert caught.value.code == (code or caught.value.code)
    assert caught.value.code in ("not_found", "empty", "damaged", "unsupported_format", "no_media_stream")


def test_images_are_read_upright_and_squashed(tmp_path: Path) -> None:
    from PIL import Image

    Image.fromarray(corners(200, 100)).save(tmp_path / "a.png")
    Image.fromarray(corners(200, 100)).save(tmp_path / "b.jpg", quality=95)
    turned = Image.fromarray(np.rot90(corners(200, 100)).copy())  # stored turned to the left; EXIF 6 turns it back
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "c.jpg", quality=95, exif=exif)
    for name in ("a.png", "b.jpg", "c.jpg"):
        picture = media.read_image(tmp_path / name, SIZE)
        assert picture.shape == (SIZE, SIZE, 3)
        assert np.abs(picture[8, 8].astype(int) - CORNERS["top left"]).max() < 30, name
        assert np.abs(picture[-8, 8].astype(int) - CORNERS["bottom left"]).max() < 30, name
    (tmp_path / "d.jpg").write_bytes(b"no picture")
    with pytest.raises(media.MediaError):
        media.read_image(tmp_path / "d.jpg", SIZE)


def test_media_needs_no_torch() -> None:
    program = "import sys, model.media; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0
