"""The child process that opens strangers' files: `python -m indexer.sandbox`.

A decoder is a large attack surface and a file can ask for any amount of memory, so decoding happens in a process that
holds no catalog, no network connection and no model, under limits of memory, processor time and open files. It never
imports torch. It reads one request a line (JSON) from stdin and answers on stdout with messages: two lengths, a JSON
header, raw bytes. `decode` is the other end. When the parent goes away, so does it.
"""

import ctypes
import json
import os
import resource
import signal
import struct
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexer.sample import Window
from model.media import SAMPLE_RATE, MediaError, Truncated, iter_frames, probe, read_audio

LENGTHS = struct.Struct("<II")
MEMORY_BYTES = 2 << 30
OPEN_FILES = 64
TOTAL_CPU_S = 6000  # over all requests: each has its own, smaller, limit
PR_SET_PDEATHSIG = 1

Message = tuple[dict[str, Any], bytes]


def confine() -> None:
    """Give up everything that decoding does not need. Limits can be lowered again, never raised."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
    resource.setrlimit(resource.RLIMIT_CPU, (TOTAL_CPU_S, TOTAL_CPU_S))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def allow_cpu(seconds: float) -> None:
    """The kernel ends this process once the current request has used this much processor time."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = min(int(used.ru_utime + used.ru_stime + seconds) + 1, TOTAL_CPU_S)
    resource.setrlimit(resource.RLIMIT_CPU, (limit, TOTAL_CPU_S))


def answer(request: dict[str, Any]) -> Iterator[Message]:
    path = Path(request["path"])
    if request["do"] == "probe":
        yield {"kind": "probe", **asdict(probe(path, request["max_duration_s"]))}, b""
    else:
        windows = [Window(*window) for window in request["windows"]]
        yield from read_clips(
            path, windows, request["frames"], request["size"], request["has_video"], request["has_audio"]
        )


def read_clips(
    path: Path, windows: list[Window], count: int, size: int, has_video: bool, has_audio: bool
) -> Iterator[Message]:
    """One message a window, in order. Where one half of a file is damaged the other is still given, and it is said."""
    sound, problem = _read_sound(path, windows, has_video) if has_audio else (None, None)
    if not has_video:
        for window in windows:
            yield _clip(window, [], None, _cut_sound(sound, windows[0], window), problem)
        return
    try:
        for window, times, frames in _read_pictures(path, windows, count, size):
            yield _clip(window, times, frames, _cut_sound(sound, windows[0], window), problem)
    except Truncated as err:
        yield {"kind": "cut", "end_s": err.end_s, "code": err.code, "message": err.message}, b""
    except MediaError as err:
        if sound is None or not sound.size or err.code != "decode_failed":
            raise
        for window in windows:
            yield _clip(window, [], None, _cut_sound(sound, windows[0], window), err)


def _read_sound(
    path: Path, windows: list[Window], has_video: bool
) -> tuple[NDArray[np.int16] | None, MediaError | None]:
    try:
        return read_audio(path, windows[0].start_s, windows[-1].end_s), None
    except MediaError as err:
        if not has_video:
            raise
        return None, err


def _cut_sound(sound: NDArray[np.int16] | None, first: Window, window: Window) -> NDArray[np.int16] | None:
    if sound is None:
        return None
    start = round((window.start_s - first.start_s) * SAMPLE_RATE)
    return sound[start : start + round((window.end_s - window.start_s) * SAMPLE_RATE)]


def _read_pictures(
    path: Path, windows: list[Window], count: int, size: int
) -> Iterator[tuple[Window, list[float], NDArray[np.uint8]]]:
    """Decode once although windows overlap; a window is given as soon as its last frame is there."""
    wanted = [(window, time_s) for window in windows for time_s in window.frame_times(count)]
    held: dict[int, list[tuple[float, NDArray[np.uint8]]]] = {window.ordinal: [] for window in windows}
    for index, time_s, picture in iter_frames(path, [time_s for _, time_s in wanted], size):
        window = wanted[index][0]
        held[window.ordinal].append((time_s, picture))
        if len(held[window.ordinal]) == count:
            frames = held.pop(window.ordinal)
            yield window, [time_s for time_s, _ in frames], np.stack([picture for _, picture in frames])


def _clip(
    window: Window,
    times: list[float],
    frames: NDArray[np.uint8] | None,
    sound: NDArray[np.int16] | None,
    problem: MediaError | None,
) -> Message:
    header = {
        "kind": "clip",
        "ordinal": window.ordinal,
        "times": times,
        "samples": 0 if sound is None else len(sound),
        "problem": [problem.code, str(problem)] if problem else None,
    }
    return header, (b"" if frames is None else frames.tobytes()) + (b"" if sound is None else sound.tobytes())


def send(handle: int, header: dict[str, Any], payload: bytes = b"") -> None:
    text = json.dumps(header).encode()
    for part in (LENGTHS.pack(len(text), len(payload)) + text, payload):
        view = memoryview(part)
        while view:
            view = view[os.write(handle, view) :]


def serve(requests: Iterator[bytes], handle: int) -> None:
    for line in requests:
        request = json.loads(line)
        allow_cpu(request["cpu_s"])
        try:
            for header, payload in answer(request):
                send(handle, header, payload)
            send(handle, {"kind": "done"})
        except MediaError as err:
            send(handle, {"kind": "error", "code": err.code, "message": str(err)})
        except MemoryError:
            send(handle, {"kind": "error", "code": "oom_killed", "message": "Decoding needs more than 2 GB of memory."})
            return
        except OSError as err:
            send(
                handle, {"kind": "error", "code": "unreadable", "message": f"The file cannot be read: {err.strerror}."}
            )


def main() -> None:
    confine()
    output = os.dup(1)
    os.dup2(2, 1)  # whatever a library prints must not end up between messages
    try:
        serve(iter(sys.stdin.buffer.readline, b""), output)
    except (BrokenPipeError, KeyboardInterrupt):  # the parent is gone
        os._exit(1)


if __name__ == "__main__":
    main()
