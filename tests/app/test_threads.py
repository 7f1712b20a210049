"""Who computes with how much (T5, T27): searches keep their threads, indexing stands back, no thread spins in wait.

`benchmarks/service.py --neighbours` measures that the times keep; here is what makes them keep.
"""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from app.worker_process import WorkerProcess, environment
from indexer.config import IndexSettings
from tests.app.conftest import Library, serve, until

ROOT = Path(__file__).parents[2]
NICEST = 19
WAITER = [sys.executable, "-c", "import time; time.sleep(60)"]


def policy(**variables: str) -> str:
    """How the threads of `htav` wait, as the libraries find it when they are loaded."""
    program = "import app.cli, os, sys; assert 'torch' not in sys.modules; print(os.environ['OMP_WAIT_POLICY'])"
    clean = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=clean | variables, cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_threads_that_wait_give_the_processor_away_unless_the_user_wants_otherwise() -> None:
    assert policy() == "PASSIVE"
    assert policy(OMP_WAIT_POLICY="ACTIVE") == "ACTIVE"


def test_the_worker_stands_back_and_has_a_thread_budget_of_its_own(tmp_path: Path) -> None:
    settings = IndexSettings(data_dir=tmp_path, threads=3)
    worker = WorkerProcess(settings, WAITER)
    worker.start()
    try:
        until(lambda: worker.pid is not None)
        assert worker.pid is not None
        mine = os.getpriority(os.PRIO_PROCESS, 0)
        assert os.getpriority(os.PRIO_PROCESS, worker.pid) == min(mine + 10, NICEST)
    finally:
        worker.stop()
    assert environment(settings)["HTAV_THREADS"] == "3"
    assert environment(settings)["OMP_WAIT_POLICY"] == "PASSIVE"


def test_the_inference_thread_computes_with_the_threads_it_was_given(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[str, int]] = []
    monkeypatch.setattr(torch, "set_num_threads", lambda count: given.append((threading.current_thread().name, count)))
    with serve(library.settings.model_copy(update={"threads": 5})) as running:
        assert running.client.post("/v1/search", json={"query": "a red ball"}).status_code == 200
    assert given == [("htav-inference", 5)]
