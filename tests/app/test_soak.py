"""T20, in short: hundreds of searches leave memory and descriptors as they were. `benchmarks/service.py --soak` is the
long one.
"""

import ctypes
import gc
import os
from dataclasses import dataclass
from typing import Any

import psutil
import pytest

from tests.app.conftest import Served

WARM, SEARCHES = 60, 240
LEAK_BYTES = 1 << 20


@dataclass(frozen=True)
class Drift:
    memory: float  # a share of the resident memory
    descriptors: int


def soak(served: Served, first: int) -> Drift:
    """Search for `SEARCHES` different things, from number `first` on."""

    def search(number: int) -> None:
        query = f"a dog barks at {number} red balls"
        assert served.client.post("/v1/search", json={"query": query, "explain": number % 10 == 0}).status_code == 200

    for number in range(first, first + WARM):
        search(number)
    before = _used()
    for number in range(first + WARM, first + WARM + SEARCHES):
        search(number)
    after = _used()
    return Drift(after[0] / before[0] - 1, after[1] - before[1])


def _used() -> tuple[int, int]:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # freed memory that is still resident would take up a leak unseen
    return psutil.Process().memory_info().rss, len(os.listdir("/proc/self/fd"))


def test_searches_leave_nothing_behind(served: Served) -> None:
    drift = soak(served, 0)
    assert drift.memory < 0.05
    assert drift.descriptors <= 0


def test_control_what_a_search_leaves_behind_is_noticed(mutable: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    searcher, kept = mutable.service.search.searcher, list[Any]()
    search = searcher.serve

    def leaking(*arguments: Any) -> Any:
        kept.append((bytearray(os.urandom(LEAK_BYTES)), open(os.devnull)))  # noqa: SIM115
        return search(*arguments)

    monkeypatch.setattr(searcher, "serve", leaking)
    drift = soak(mutable, 1000)
    for _, file in kept:
        file.close()
    assert drift.memory > 0.05 and drift.descriptors >= SEARCHES
