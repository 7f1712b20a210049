"""The parent's end of decoding: starts child processes, bounds their time, and says what a dead child died of.

    with Decoder(max_duration_s=...) as decoder:
        seen = decoder.probe(path)
        for clip in decoder.read(path, seen, windows, frames=8, size=260): ...

A child serves several small files and at most ten minutes of media, then a new one takes over. Nothing a child sends is
trusted: lengths are checked before memory is given. One decoder belongs to one thread. Imports no torch.
"""

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from indexer.errors import IndexerError
from indexer.sample import PART_S, Window, span_s
from indexer.sandbox import LENGTHS
from indexer.tables import stored_name
from model.children import ours_first
from model.media import SAMPLE_RATE, Probe

MIN_CPU_S = 60.0
CPU_FACTOR = 4.0
WALL_FACTOR = 1.5
PROBE_CPU_S = 120.0
SLOW_DISK = 20e6  # bytes a second: a probe reads the whole file
MAX_HEADER = 1 << 20
CHUNK = 1 << 20
POLL_S = 0.2
NONSENSE = "The decoder sent what makes no sense."


class FileFailed(IndexerError):
    """One file cannot be indexed; `indexer.failures` knows which codes are worth another attempt."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(stored_name(message))  # it may name the file, and names need not be UTF-8
        self.code = code  # type: ignore[misc]  # the file's, not the class's


class FileCut(FileFailed):
    """The pictures end at `end_s`, before a window that was asked for."""

    def __init__(self, message: str, end_s: float) -> None:
        super().__init__("truncated", message)
        self.end_s = end_s


class Stopped(Exception):
    """Nobody waits for the answer any more. It never leaves the threads of `feed`."""


@dataclass(frozen=True)
class DecodedClip:
    """The pixels and the sound of one window; `problem` is (code, message) where a damaged half was left out."""

    window: Window
    frames: NDArray[np.uint8] | None
    frame_times: NDArray[np.float32] | None
    audio: NDArray[np.int16] | None
    problem: tuple[str, str] | None = None


class Decoder:
    """A child process at a time, started when needed. Once `stopped` is set, every wait for it ends in Stopped."""

    def __init__(
        self,
        max_duration_s: float = 24 * 3600.0,
        *,
        cpu_s: float | None = None,
        stopped: threading.Event | None = None,
    ) -> None:
        self.max_duration_s = max_duration_s
        self._stopped = stopped or threading.Event()
        self._cpu_s = cpu_s  # in place of the limits that indexing needs
        self._child: subprocess.Popen[bytes] | None = None
        self._media_s = 0.0
        self._deadline = 0.0

    def probe(self, path: Path) -> Probe:
        request = {"do": "probe", "path": str(path), "max_duration_s": self.max_duration_s}
        answers = [header for header, _ in self._ask(request, PROBE_CPU_S, 0, reading_s=_size(path) / SLOW_DISK)]
        if len(answers) != 1 or not answers[0].keys() >= {field.name for field in fields(Probe)}:
            self.close()
            raise FileFailed("decoder_crashed", NONSENSE)
        return Probe(**{field.name: answers[0][field.name] for field in fields(Probe)})

    def picture(self, path: Path, time_s: float, size: int) -> NDArray[np.uint8]:
        """The frame on the screen at `time_s`: uint8 [size, size, 3]. Raises FileFailed."""
        moment = Window(0, time_s, time_s)
        (clip,) = self._read(path, [moment], 1, size, has_video=True, has_audio=False)
        if clip.frames is None:
            self.close()
            raise FileFailed("decoder_crashed", NONSENSE)
        frame: NDArray[np.uint8] = clip.frames[0]
        return frame

    def read(self, path: Path, seen: Probe, windows: list[Window], frames: int, size: int) -> Iterator[DecodedClip]:
        """Decode these windows, at most PART_S of media. Raises FileFailed, after the windows that could be read."""
        return self._read(path, windows, frames, size, has_video=seen.has_video, has_audio=seen.has_audio)

    def _read(
        self, path: Path, windows: list[Window], frames: int, size: int, *, has_video: bool, has_audio: bool
    ) -> Iterator[DecodedClip]:
        media_s = span_s(windows)
        if self._media_s + media_s > PART_S:
            self.close()
        self._media_s += media_s
        request = {
            "do": "read",
            "path": str(path),
            "windows": [list(asdict(window).values()) for window in windows],
            "frames": frames,
            "size": size,
            "has_video": has_video,
            "has_audio": has_audio,
        }
        by_ordinal = {window.ordinal: window for window in windows}
        longest_s = max(window.end_s - window.start_s for window in windows)
        limit = frames * size * size * 3 + 2 * round((longest_s + 1) * SAMPLE_RATE)
        for header, payload in self._ask(request, max(MIN_CPU_S, CPU_FACTOR * media_s), limit):
            if header.get("kind") == "cut":
                raise FileCut(str(header["message"]), float(header["end_s"]))
            clip = _decoded(header, payload, by_ordinal, frames, size)
            del by_ordinal[clip.window.ordinal]
            yield clip
        if by_ordinal:
            self.close()
            raise FileFailed("decoder_crashed", "The decoder left clips out.")

    def close(self) -> None:
        """End the child, whatever it is doing."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            for pipe in (self._child.stdin, self._child.stdout):
                if pipe is not None:
                    pipe.close()
            self._child, self._media_s = None, 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(
        self, request: dict[str, Any], cpu_s: float, limit: int, *, reading_s: float = 0.0
    ) -> Iterator[tuple[dict[str, Any], bytearray]]:
        """Send a request and give the messages that answer it; a reader that stops early ends the child."""
        cpu_s = self._cpu_s or cpu_s
        complete = False
        try:
            child = self._started()
            self._deadline = time.monotonic() + WALL_FACTOR * cpu_s + reading_s
            line = json.dumps({**request, "cpu_s": cpu_s}).encode() + b"\n"
            _write(child, line)
            while True:
                header, payload = self._receive(child, limit)
                if header["kind"] in ("done", "error"):
                    complete = header.get("code") != "oom_killed"
                    break
                given = time.monotonic()
                yield header, payload
                self._deadline += time.monotonic() - given  # the reader's time is not the child's
            if header["kind"] == "error":
                raise FileFailed(str(header["code"]), str(header["message"]))
        finally:
            if not complete:
                self.close()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._child is None:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "indexer.sandbox"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                env=_environment(),
                cwd="/",
            )
        return self._child

    def _receive(self, child: subprocess.Popen[bytes], limit: int) -> tuple[dict[str, Any], bytearray]:
        header_length, payload_length = LENGTHS.unpack(self._exactly(child, LENGTHS.size))
        if header_length > MAX_HEADER or payload_length > limit:
            raise FileFailed("decoder_crashed", NONSENSE)
        try:
            header = json.loads(self._exactly(child, header_length))
        except ValueError as err:
            raise FileFailed("decoder_crashed", NONSENSE) from err
        if not isinstance(header, dict) or "kind" not in header:
            raise FileFailed("decoder_crashed", NONSENSE)
        return header, self._exactly(child, payload_length)

    def _exactly(self, child: subprocess.Popen[bytes], length: int) -> bytearray:
        assert child.stdout is not None
        data = bytearray(length)
        view = memoryview(data)
        answer = select.poll()  # not select(), which takes no file past the 1,024th, and a service may have more
        answer.register(child.stdout, select.POLLIN)
        while view:
            self._wait(answer)
            count = os.readv(child.stdout.fileno(), [view[:CHUNK]])
            if not count:
                raise _cause_of_death(child)
            view = view[count:]
        return data

    def _wait(self, answer: select.poll) -> None:
        """Until the child has sent something. Raises FileFailed at the deadline, and Stopped."""
        while not answer.poll(1000 * min(max(self._deadline - time.monotonic(), 0.0), POLL_S)):
            if self._stopped.is_set():
                raise Stopped
            if time.monotonic() >= self._deadline:
                raise FileFailed("timeout", "Decoding took longer than its share of time.")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # the child says what is wrong with it
        return 0


def _decoded(
    header: dict[str, Any], payload: bytearray, windows: dict[int, Window], frames: int, size: int
) -> DecodedClip:
    """Turn a message into arrays; a message that does not add up comes from a broken child."""
    window, times, samples = windows.get(header.get("ordinal", -1)), header.get("times"), header.get("samples")
    count = len(times) if isinstance(times, list) else -1
    if window is None or count not in (0, frames) or not isinstance(samples, int) or samples < 0:
        raise FileFailed("decoder_crashed", NONSENSE)
    pixels = count * size * size * 3
    if len(payload) != pixels + 2 * samples:
        raise FileFailed("decoder_crashed", NONSENSE)
    problem = header.get("problem")
    return DecodedClip(
        window,
        np.frombuffer(payload, np.uint8, pixels).reshape(count, size, size, 3) if count else None,
        np.asarray(times, np.float32) if count else None,
        np.frombuffer(payload, np.int16, samples, offset=pixels) if samples else None,
        (str(problem[0]), stored_name(problem[1])) if problem else None,
    )


def _write(child: subprocess.Popen[bytes], line: bytes) -> None:
    assert child.stdin is not None
    try:
        child.stdin.write(line)
        child.stdin.flush()
    except BrokenPipeError as err:
        raise _cause_of_death(child) from err


def _cause_of_death(child: subprocess.Popen[bytes]) -> FileFailed:
    status = child.wait()
    if status == -signal.SIGXCPU:
        return FileFailed("timeout", "Decoding used more processor time than its share.")
    if status == -signal.SIGKILL:
        return FileFailed("oom_killed", "The decoder was killed, most likely for want of memory.")
    name = signal.Signals(-status).name if status < 0 else f"exit status {status}"
    return FileFailed("decoder_crashed", f"The decoder died ({name}).")


def _environment() -> dict[str, str]:
    """No secrets for the child, one thread, and this very installation of the packages."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH") if name in os.environ}
    threads = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    return ours_first(kept) | threads | {"PYTHONUNBUFFERED": "1"}
