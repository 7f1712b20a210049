"""The child's own logic, run here in the open: what it answers, and that every error becomes a message."""

import json
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from indexer import sandbox
from indexer.sample import Window
from model.media import MediaError, Truncated
from tests.indexer.library_files import heard, seen, seen_and_heard

Reply = tuple[dict[str, Any], bytes]


@pytest.fixture(autouse=True)
def no_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limits are the child's; in this process they would last."""
    monkeypatch.setattr(sandbox, "allow_cpu", lambda seconds: None)


def ask(tmp_path: Path, *requests: dict[str, Any]) -> list[Reply]:
    """Everything that `serve` answers, taken apart again."""
    path = tmp_path / "answers"
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    sandbox.serve(iter([json.dumps({**request, "cpu_s": 1}).encode() for request in requests]), handle)
    os.close(handle)
    return list(messages(path.read_bytes()))


def messages(data: bytes) -> Iterator[Reply]:
    while data:
        header, payload = struct.unpack_from("<II", data)
        yield json.loads(data[8 : 8 + header]), data[8 + header : 8 + header + payload]
        data = data[8 + header + payload :]


def request(
    path: Path, *windows: tuple[int, float, float], has_video: bool = True, has_audio: bool = False
) -> dict[str, Any]:
    return {
        "do": "read", "path": str(path), "windows": windows, "frames": 4, "size": 16, "has_video": has_video,
        "has_audio": has_audio,
    }  # fmt: skip


def test_a_probe_and_a_read(tmp_path: Path) -> None:
    path = seen_and_heard(tmp_path / "a.mp4", seconds=3.0)
    probe, done, first, second, end = ask(
        tmp_path,
        {"do": "probe", "path": str(path), "max_duration_s": 60.0},
        request(path, (0, 0.0, 2.0), (1, 1.0, 3.0), has_audio=True),
    )
    assert probe[0]["kind"] == "probe" and probe[0]["has_audio"] and done == ({"kind": "done"}, b"") == end
    assert [first[0]["ordinal"], second[0]["ordinal"]] == [0, 1]
    pixels = 4 * 16 * 16 * 3
    assert len(first[1]) == pixels + 2 * first[0]["samples"] and first[0]["samples"] == 32_000
    left, right = (np.frombuffer(one[1], np.int16, offset=pixels) for one in (first, second))
    assert np.array_equal(left[16_000:], right[:16_000])  # the second they share


def test_windows_that_overlap_share_one_pass_and_come_in_order(tmp_path: Path) -> None:
    path = seen(tmp_path / "a.mp4", seconds=4.0)
    windows = [(3, 0.0, 3.0), (4, 1.0, 4.0)]
    together = ask(tmp_path, request(path, *windows))
    apart = [ask(tmp_path, request(path, window))[0] for window in windows]
    assert together[:2] == apart and together[2][0]["kind"] == "done"


def test_a_file_of_sound_has_clips_without_pictures(tmp_path: Path) -> None:
    path = heard(tmp_path / "a.wav", seconds=3.0)
    clip, _ = ask(tmp_path, request(path, (0, 0.0, 3.0), has_video=False, has_audio=True))
    assert clip[0]["times"] == [] and clip[0]["samples"] == 48_000 and len(clip[1]) == 96_000


@pytest.mark.parametrize(
    ("error", "reply"),
    [
        (MediaError("damaged", "broken"), {"kind": "error", "code": "damaged", "message": "broken"}),
        (MemoryError(), {"kind": "error", "code": "oom_killed", "message": "Decoding needs more than 2 GB of memory."}),
        (OSError(5, "Input/output error"), {
            "kind": "error", "code": "unreadable", "message": "The file cannot be read: Input/output error.",
        }),
    ],
)  # fmt: skip
def test_errors_become_messages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, reply: dict[str, Any]
) -> None:
    def fail(_: Any) -> Any:
        raise error

    monkeypatch.setattr(sandbox, "answer", fail)
    replies = ask(tmp_path, {}, {})
    assert replies[0] == (reply, b"")
    assert len(replies) == (1 if isinstance(error, MemoryError) else 2)  # after want of memory nothing is certain


def test_one_damaged_half_leaves_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, window = seen_and_heard(tmp_path / "a.mp4"), Window(0, 0.0, 2.0)

    def deaf(*_: Any) -> Any:
        raise MediaError("audio_decode_failed", "no sound")

    def blind(*_: Any) -> Any:
        raise MediaError("decode_failed", "no pictures")

    def cut(*_: Any) -> Any:
        raise Truncated("cut", 1.5)

    def read() -> list[dict[str, Any]]:
        return [header for header, _ in sandbox.read_clips(path, [window], 4, 16, True, True)]

    with monkeypatch.context() as patch:
        patch.setattr(sandbox, "read_audio", deaf)
        (header,) = read()
        assert len(header["times"]) == 4 and header["problem"][0] == "audio_decode_failed"
        patch.setattr(sandbox, "iter_frames", blind)
        with pytest.raises(MediaError, match="no pictures"):
            read()
        with pytest.raises(MediaError, match="no sound"):
            list(sandbox.read_clips(path, [window], 4, 16, False, True))
    monkeypatch.setattr(sandbox, "iter_frames", blind)
    (header,) = read()
    assert header["times"] == [] and header["samples"] > 0 and header["problem"][0] == "decode_failed"
    monkeypatch.setattr(sandbox, "iter_frames", cut)
    (header,) = read()
    assert header["kind"] == "cut" and header["end_s"] == 1.5
