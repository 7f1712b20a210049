"""Threads that read ahead of the encoder: one hashes files, a few decode them, each with a child process of its own.

They share nothing with the pipeline but an inbox of events and a bounded number of slots for decoded clips, so that a
fast decoder waits for a slow encoder and memory stays flat. They never write to the catalog.
"""

import errno
import hashlib
import logging
import os
import stat
import threading
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, Queue

from indexer.decode import DecodedClip, Decoder, FileCut, FileFailed, Stopped
from indexer.library import Task
from indexer.sample import KEEP_SHARE, Window, parts, plan
from model.media import Probe

READ_BYTES = 1 << 20
POLL_S = 0.2
log = logging.getLogger(__name__)


@dataclass(eq=False)
class Work:
    """A file on its way through decoding and encoding. The pipeline's thread alone changes it."""

    task: Task
    video_id: str
    done: frozenset[int]  # ordinals committed by an earlier run
    state_is_ours: bool  # False while an older index of the video is being searched
    seen: Probe | None = None
    duration_s: float = 0.0
    expected: int | None = None  # clips in all, once decoding has ended
    committed: int = 0
    waiting: int = 0  # clips decoded and not committed
    problem: tuple[str, str] | None = None
    failed: FileFailed | None = None
    deleted: bool = False  # while we worked on it: that holds, and what was written of it is for `gc`
    followers: list[Task] = field(default_factory=list)


@dataclass(frozen=True)
class Hashed:
    task: Task
    content_hash: str


@dataclass(frozen=True)
class Unreadable:
    task: Task
    failure: FileFailed


@dataclass(frozen=True)
class Probed:
    work: Work
    seen: Probe


@dataclass(frozen=True)
class Decoded:
    work: Work
    clip: DecodedClip


@dataclass(frozen=True)
class Ended:
    """Decoding of a file is over: `duration_s` of it could be read; `failure` where it cannot be indexed."""

    work: Work
    duration_s: float = 0.0
    cut: FileCut | None = None
    failure: FileFailed | None = None


Event = Hashed | Unreadable | Probed | Decoded | Ended


class Feed:
    """The threads, their inputs and the inbox. Use as a context manager: leaving it ends every child, and waits for no
    file to be read to its end."""

    def __init__(self, frames: int, size: int, *, decoders: int, slots: int, max_duration_s: float) -> None:
        self.inbox: Queue[Event] = Queue()
        self.slots = threading.BoundedSemaphore(slots)
        self.frames, self.size, self.max_duration_s = frames, size, max_duration_s
        self._to_hash: Queue[Task | None] = Queue()
        self._to_decode: Queue[Work | None] = Queue()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._hash_loop, name="htav-hash", daemon=True)]
        self._threads += [
            threading.Thread(target=self._decode_loop, name=f"htav-decode-{index}", daemon=True)
            for index in range(decoders)
        ]

    def hash(self, task: Task) -> None:
        self._to_hash.put(task)

    def decode(self, work: Work) -> None:
        self._to_decode.put(work)

    def __enter__(self) -> "Feed":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._to_hash.put(None)
        for _thread in self._threads[1:]:
            self._to_decode.put(None)
        for thread in self._threads:
            thread.join()

    def _hash_loop(self) -> None:
        while (task := self._to_hash.get()) is not None and not self._stop.is_set():
            try:
                self.inbox.put(Hashed(task, task.content_hash or content_hash(task.path, self._stop)))
            except Stopped:
                return
            except OSError as err:
                code = "not_found" if isinstance(err, FileNotFoundError) else "unreadable"
                self.inbox.put(Unreadable(task, FileFailed(code, f"The file cannot be read: {err.strerror}.")))

    def _decode_loop(self) -> None:
        with Decoder(self.max_duration_s, stopped=self._stop) as decoder:
            while (work := self._to_decode.get()) is not None and not self._stop.is_set():
                try:
                    self._decode(decoder, work)
                except Stopped:
                    return
                except FileFailed as failure:
                    self.inbox.put(Ended(work, failure=failure))
                except Exception as err:  # the per-file boundary: no file may end the run
                    log.exception("decoding %s", work.task.uri)
                    message = f"Decoding failed: {type(err).__name__}: {err}"
                    self.inbox.put(Ended(work, failure=FileFailed("decoder_crashed", message)))

    def _decode(self, decoder: Decoder, work: Work) -> None:
        path = work.task.path
        seen = decoder.probe(path)
        whole = max(seen.duration_s, seen.declared_s)
        if seen.completeness < KEEP_SHARE:
            raise _too_short(seen.duration_s, whole)
        self.inbox.put(Probed(work, seen))
        cut = None
        if seen.completeness < 1:
            cut = FileCut(f"{seen.duration_s:.1f} s of {whole:.1f} s are there.", seen.duration_s)
        given: set[int] = set(work.done)
        try:
            self._give(decoder, work, path, seen, plan(seen.duration_s, given), given)
            self.inbox.put(Ended(work, seen.duration_s, cut))
        except FileCut as found:
            if found.end_s < KEEP_SHARE * whole:
                raise _too_short(found.end_s, whole) from found
            self._give(decoder, work, path, seen, plan(found.end_s, given), given)
            self.inbox.put(Ended(work, found.end_s, found))

    def _give(
        self, decoder: Decoder, work: Work, path: Path, seen: Probe, windows: Collection[Window], given: set[int]
    ) -> None:
        for part in parts(list(windows)):
            for clip in decoder.read(path, seen, part, self.frames, self.size):
                if not self._acquire(self.slots):
                    return
                given.add(clip.window.ordinal)
                self.inbox.put(Decoded(work, clip))

    def _acquire(self, semaphore: threading.BoundedSemaphore) -> bool:
        while not self._stop.is_set():
            if semaphore.acquire(timeout=POLL_S):
                return True
        return False

    def next_event(self, timeout_s: float) -> Event | None:
        try:
            return self.inbox.get(timeout=timeout_s)
        except Empty:
            return None


def content_hash(path: Path, stopped: threading.Event | None = None) -> str:
    """Hex digest of a regular file's bytes; a FIFO or device put in its place is refused instead of waited for.

    Raises OSError, and Stopped once nobody waits for it: a large file takes minutes.
    """
    digest = hashlib.blake2b(digest_size=32)
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        while part := file.read(READ_BYTES):
            if stopped is not None and stopped.is_set():
                raise Stopped
            digest.update(part)
    return digest.hexdigest()


def _too_short(end_s: float, whole_s: float) -> FileFailed:
    return FileFailed("truncated", f"Only {end_s:.1f} s of {whole_s:.1f} s can be read.")
