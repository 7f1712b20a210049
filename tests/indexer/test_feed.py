"""A worker that is told to stop has seconds: whatever its threads are at, they let go of it."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from indexer.decode import Decoder
from indexer.feed import Feed, Work
from indexer.holder import process_start
from indexer.library import Task
from indexer.scan import Found
from tests.indexer.library_files import wait_for

LARGE = 16 << 30  # sparse: many seconds of hashing
SOON_S = 3.0


@pytest.fixture
def feed() -> Feed:
    return Feed(8, 96, decoders=1, slots=1, max_duration_s=3600.0)


@pytest.fixture
def large(tmp_path: Path) -> Task:
    (tmp_path / "large.mp4").touch()
    os.truncate(tmp_path / "large.mp4", LARGE)
    return Task(1, Found(tmp_path, "large.mp4", LARGE), None)


def test_stopping_does_not_wait_for_a_large_file_to_be_hashed(feed: Feed, large: Task) -> None:
    with feed:
        feed.hash(large)
        wait_for(feed._to_hash.empty)
        began = time.monotonic()
    assert time.monotonic() - began < SOON_S
    assert feed.next_event(0) is None


def test_stopping_does_not_wait_for_a_child_that_does_not_answer(
    feed: Feed, large: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, children = Decoder._started, []

    def frozen(decoder: Decoder) -> subprocess.Popen[bytes]:
        child = start(decoder)
        os.kill(child.pid, signal.SIGSTOP)
        children.append(child.pid)
        return child

    monkeypatch.setattr(Decoder, "_started", frozen)
    monkeypatch.setattr("indexer.decode.SLOW_DISK", 1e9)
    monkeypatch.setattr("indexer.decode.PROBE_CPU_S", 10.0)
    with feed:
        feed.decode(Work(large, "1", frozenset(), state_is_ours=True))
        wait_for(lambda: bool(children))
        began = time.monotonic()
    assert time.monotonic() - began < SOON_S
    assert [process_start(pid) for pid in children] == [None]
    assert feed.next_event(0) is None
