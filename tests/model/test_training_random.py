"""What a step draws follows from the run's seed, the step and the process alone: a resumed run draws it again."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from model.training import loop, state
from model.training.loop import train
from tests.model.small_data import photographs, tones
from tests.model.training_runs import equal, options, weights


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HTAV_CACHE_DIR", str(tmp_path / "cache"))
    photographs(tmp_path / "p", 2)
    tones(tmp_path / "t", 4)
    return tmp_path


def test_what_a_process_drew_before_a_step_changes_nothing_in_it(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU's generator, or that of a process that saves nothing, stands anywhere when a run is resumed."""
    given: dict[str, Any] = {"data": (str(data / "p"), str(data / "t")), "steps": 4, "accumulate": 2, "compose": 0.3}
    train(options(data, tmp_path / "plain", **given), quiet=True)
    step = loop.Run._one_step

    def drew_something(self: loop.Run, batches: Any, progress: float) -> None:
        torch.rand(7)
        step(self, batches, progress)

    monkeypatch.setattr(loop.Run, "_one_step", drew_something)
    train(options(data, tmp_path / "disturbed", **given), quiet=True)
    assert equal(weights(tmp_path / "plain"), weights(tmp_path / "disturbed"))


def test_no_step_and_no_process_draws_what_another_does() -> None:
    seeds = {loop.step_seed(seed, step, rank) for seed in range(3) for step in range(50) for rank in range(4)}
    assert len(seeds) == 3 * 50 * 4


def two_processes(data: Path, out: Path) -> None:
    arguments = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "model.cli",
        "train", "--data", str(data / "p"), "--data", str(data / "t"), "--out", str(out), "--preset", "tiny",
        "--steps", "6", "--batch-size", "4", "--threads", "2", "--views", "2", "--validate-every", "100", "--lr",
        "3e-3", "--save-every", "2", "--compose", "0.7", "--resume",
    ]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.timeout(900)
def test_two_processes_stopped_and_resumed_give_exactly_the_weights_of_an_uninterrupted_run(
    data: Path, tmp_path: Path
) -> None:
    """Films are composed with whole or half the frames by each process for itself, so the two draw unequally much."""
    two_processes(data, tmp_path / "whole")
    whole = weights(tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "stopped", symlinks=True)
    shutil.rmtree(state.state_folder(tmp_path / "stopped" / state.STATES, 6))
    two_processes(data, tmp_path / "stopped")
    assert equal(whole, weights(tmp_path / "stopped"))
