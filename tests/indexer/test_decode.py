"""Decoding in children: equal to reading directly, bounded in time and memory, and honest about how a child ended."""

import os
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from indexer import sample
from indexer.decode import DecodedClip, Decoder, FileCut, FileFailed
from indexer.failures import TERMINAL_CODES
from indexer.sample import Window
from model import media
from tests.indexer.library_files import cut, heard, seen, seen_and_heard, spoil_sound
from tests.media_files import write_media

FRAMES, SIZE = 4, 32


def decode(path: Path, decoder: Decoder) -> list[DecodedClip]:
    probe = decoder.probe(path)
    windows = sample.plan(probe.duration_s)
    return [
        clip for part in sample.parts(windows) for clip in decoder.read(path, probe, part, frames=FRAMES, size=SIZE)
    ]


def test_a_child_gives_what_reading_directly_gives(tmp_path: Path) -> None:
    """Training reads through `media`, the index through the child: both must see and hear the same."""
    path = seen_and_heard(tmp_path / "a.mp4", seconds=20.0)
    with Decoder() as decoder:
        clips = decode(path, decoder)
    assert [(clip.window.start_s, clip.window.end_s) for clip in clips] == media.clip_windows(
        media.probe(path).duration_s
    )
    for clip in clips:
        window = clip.window
        frames, times = media.read_frames(path, media.frame_times(window.start_s, window.end_s, FRAMES), SIZE)
        assert clip.frames is not None and np.array_equal(clip.frames, frames)
        assert clip.frame_times is not None and np.array_equal(clip.frame_times, times)
        sound = media.read_audio(path, window.start_s, window.end_s)
        assert clip.audio is not None and len(clip.audio) == len(sound)
        assert np.abs(clip.audio.astype(int) - sound).max() <= 1


def test_one_picture_is_the_frame_that_is_on_the_screen(tmp_path: Path) -> None:
    path = seen_and_heard(tmp_path / "a.mp4", seconds=20.0)
    with Decoder() as decoder:
        for time_s in (0.0, 1.3, 19.9):
            frames, _ = media.read_frames(path, [time_s], SIZE)
            assert np.array_equal(decoder.picture(path, time_s, SIZE), frames[0])


def test_missing_halves_are_none(tmp_path: Path) -> None:
    with Decoder() as decoder:
        (pictures,) = decode(seen(tmp_path / "a.mp4"), decoder)
        (sound,) = decode(heard(tmp_path / "b.wav"), decoder)
    assert pictures.audio is None and pictures.frames is not None and pictures.problem is None
    assert sound.frames is None and sound.frame_times is None and sound.audio is not None


def test_sound_that_cannot_be_decoded_is_told_from_no_sound(tmp_path: Path) -> None:
    path = seen_and_heard(tmp_path / "a.mkv")
    spoil_sound(path)
    with Decoder() as decoder:
        (clip,) = decode(path, decoder)
    assert clip.frames is not None and clip.audio is None
    assert clip.problem is not None and clip.problem[0] == "audio_decode_failed"


def test_a_file_cut_in_its_pictures_says_where(tmp_path: Path) -> None:
    noise = np.random.default_rng(0)
    path = write_media(
        tmp_path / "a.mkv", seconds=8.0, fps=10, size=(96, 64),
        picture=lambda _: noise.integers(0, 255, (64, 96, 3), np.uint8),
    )  # fmt: skip
    cut(path, 0.7)
    with Decoder() as decoder:
        probe = decoder.probe(path)
        assert 0.6 < probe.completeness < 0.8
        with pytest.raises(FileCut) as caught:
            list(decoder.read(path, probe, [Window(0, 0.0, 8.0)], FRAMES, SIZE))
        assert caught.value.end_s == pytest.approx(probe.duration_s, abs=0.2)


@pytest.mark.parametrize(("content", "code"), [(b"", "empty"), (b"no media" * 99, "damaged")])
def test_refusals_carry_the_code_of_the_child(tmp_path: Path, content: bytes, code: str) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with Decoder() as decoder:
        with pytest.raises(FileFailed) as caught:
            decoder.probe(path)
        assert caught.value.code == code and code in TERMINAL_CODES
        assert decoder.probe(seen(tmp_path / "b.mp4")).has_video  # the same child goes on


def test_a_child_serves_small_files_until_it_has_had_its_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = seen(tmp_path / "a.mp4", seconds=2.0)
    monkeypatch.setattr("indexer.decode.PART_S", 5.0)
    with Decoder() as decoder:
        pids = []
        for _ in range(3):
            decode(path, decoder)
            assert decoder._child is not None
            pids.append(decoder._child.pid)
    assert pids[0] == pids[1] != pids[2]


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGKILL, "oom_killed"), (signal.SIGXCPU, "timeout"), (signal.SIGSEGV, "decoder_crashed")],
)
def test_a_dead_child_is_named_by_its_end_and_replaced(tmp_path: Path, number: signal.Signals, code: str) -> None:
    path = seen(tmp_path / "a.mp4")
    with Decoder() as decoder:
        decoder.probe(path)
        assert decoder._child is not None
        os.kill(decoder._child.pid, number)
        with pytest.raises(FileFailed) as caught:
            decoder.probe(path)
        assert caught.value.code == code and code not in TERMINAL_CODES
        assert decoder.probe(path).has_video


def test_a_child_that_hangs_is_ended_in_time(tmp_path: Path) -> None:
    path = seen(tmp_path / "a.mp4")
    with Decoder(cpu_s=0.4) as decoder:
        child = decoder._started()
        time.sleep(1.0)  # let it start: its start is not what is measured
        os.kill(child.pid, signal.SIGSTOP)
        started = time.monotonic()
        with pytest.raises(FileFailed) as caught:
            decoder.probe(path)
        assert caught.value.code == "timeout" and time.monotonic() - started < 5
        assert child.poll() is not None


def test_a_large_file_may_take_its_disk_the_longer(tmp_path: Path) -> None:
    path = seen(tmp_path / "a.mp4")
    os.truncate(path, 400_000_000)  # sparse: 20 s of a slow disk
    with Decoder(cpu_s=0.4) as decoder:
        child = decoder._started()
        time.sleep(1.0)
        os.kill(child.pid, signal.SIGSTOP)
        go_on = threading.Timer(3.0, os.kill, [child.pid, signal.SIGCONT])
        go_on.start()
        try:
            assert decoder.probe(path).has_video
        finally:
            go_on.cancel()


def test_a_child_is_not_charged_for_the_time_that_its_reader_takes(tmp_path: Path) -> None:
    """A batch may be long in encoding, a snapshot in publishing: until then no slot is free for the next clip."""
    path = seen(tmp_path / "a.mp4", seconds=40.0)
    clips = []
    with Decoder() as decoder:
        probe = decoder.probe(path)
        decoder._cpu_s = 4.0  # the child runs already
        for clip in decoder.read(path, probe, sample.plan(probe.duration_s), frames=8, size=260):
            clips.append(clip.window.ordinal)
            time.sleep(2.5)
    assert clips == [0, 1, 2, 3, 4]


def test_processor_time_is_limited_by_the_kernel() -> None:
    program = "from indexer import sandbox; sandbox.confine(); sandbox.allow_cpu(0)\nwhile True: pass"
    done = subprocess.run([sys.executable, "-c", program], check=False, timeout=30)
    assert done.returncode == -signal.SIGXCPU


def test_memory_is_limited_and_said() -> None:
    program = (
        "import os, numpy\nfrom indexer import sandbox\nsandbox.confine()\n"
        "def greedy(request):\n    yield {'kind': 'x'}, bytes(numpy.ones(3 << 30, numpy.uint8))\n"
        "sandbox.answer = greedy\nsandbox.serve(iter([b'{\"cpu_s\": 60}']), 1)"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False, timeout=30, capture_output=True)
    assert b"oom_killed" in done.stdout


def test_a_child_can_write_no_file_and_knows_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTAV_DATABASE_URL", "postgresql://secret")
    with Decoder() as decoder:
        child = decoder._started()
        decoder.probe(seen(tmp_path / "a.mp4"))
        environment = Path(f"/proc/{child.pid}/environ").read_bytes()
        limits = Path(f"/proc/{child.pid}/limits").read_text()
        maps = Path(f"/proc/{child.pid}/maps").read_text()
    assert b"secret" not in environment
    assert [line.split()[3:5] for line in limits.splitlines() if line.startswith("Max file size")] == [["0", "0"]]
    assert "torch" not in maps
    program = f"from indexer import sandbox; sandbox.confine(); open({str(tmp_path / 'x')!r}, 'wb', 0).write(b'x')"
    done = subprocess.run([sys.executable, "-c", program], check=False, timeout=60, stderr=subprocess.DEVNULL)
    assert done.returncode != 0 and (tmp_path / "x").read_bytes() == b""


def test_a_child_ends_with_its_parent(tmp_path: Path) -> None:
    path = seen(tmp_path / "a.mp4")
    program = (
        "import os, sys\nfrom pathlib import Path\nfrom indexer.decode import Decoder\n"
        f"decoder = Decoder()\ndecoder.probe(Path({str(path)!r}))\nprint(decoder._child.pid, flush=True)\nos._exit(0)"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, timeout=60, capture_output=True, text=True)
    deadline = time.monotonic() + 10
    while Path(f"/proc/{int(done.stdout)}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{int(done.stdout)}").exists()


def fake_child(decoder: Decoder, messages: bytes) -> None:
    """Put a process that says `messages`, whatever it is asked, in the place of the child."""
    program = (
        f"import sys; sys.stdin.readline(); sys.stdout.buffer.write({messages!r}); sys.stdout.flush(); sys.stdin.read()"
    )
    decoder._child = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    )


def message(header: bytes, payload: bytes = b"") -> bytes:
    return struct.pack("<II", len(header), len(payload)) + header + payload


@pytest.mark.parametrize(
    "messages",
    [
        struct.pack("<II", 20, 1 << 31),
        struct.pack("<II", 1 << 31, 0),
        message(b'{"kind": "clip", "ordinal": 7, "times": [], "samples": 0, "problem": null}'),
        message(b'{"kind": "clip", "ordinal": 0, "times": [0.1], "samples": 0, "problem": null}'),
        message(b'{"kind": "clip", "ordinal": 0, "times": [], "samples": 9, "problem": null}'),
        message(b'{"kind": "clip", "ordinal": 0, "times": [], "samples": -1, "problem": null}'),
        message(b'{"kind": "done"}'),
        message(b"no json at all"),
        message(b"[]"),
    ],
)
def test_nothing_a_child_sends_is_trusted(tmp_path: Path, messages: bytes) -> None:
    probe = media.Probe("mov", 2.0, True, False, 10, 10, 0, "h264", None)
    with Decoder() as decoder:
        fake_child(decoder, messages)
        with pytest.raises(FileFailed) as caught:
            list(decoder.read(tmp_path / "a.mp4", probe, [Window(0, 0.0, 2.0)], FRAMES, SIZE))
        assert caught.value.code == "decoder_crashed"
        assert decoder._child is None


def test_a_decoder_belongs_to_a_thread_and_its_child_lives_as_long(tmp_path: Path) -> None:
    path, results = seen(tmp_path / "a.mp4"), []

    def work() -> None:
        with Decoder() as decoder:
            results.extend(decode(path, decoder))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 2 and np.array_equal(results[0].frames, results[1].frames)


def test_parts_span_at_most_ten_minutes_and_lose_nothing() -> None:
    windows = sample.plan(3 * 3600.0)
    runs = sample.parts(windows)
    assert [window for run in runs for window in run] == windows
    assert all(sample.span_s(run) <= 600 for run in runs)
    assert len(runs) < 20
    assert sample.plan(20.0, done={0, 2}) == [Window(1, 8.0, 18.0)]
