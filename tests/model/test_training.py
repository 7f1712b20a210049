"""Training learns, may be killed at any second, and resumes to exactly the same weights."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from model.losses import RetrievalLoss
from model.retriever import Retriever
from model.training import loop, state
from model.training.batch import TrainBatch
from model.training.loop import train
from model.training.options import TrainingError
from tests.model.training_runs import checkpoint, equal, options, rows, weights

pytestmark = pytest.mark.usefixtures("training_cache")


# ---- killed and resumed ----------------------------------------------------------------------------------------------


def killed_run(data: Path, out: Path, steps: int, after: int, delay_s: float) -> None:
    """Start (or resume) a run in a process of its own and kill it once state `after` is there."""
    arguments = [
        sys.executable, "-m", "model.cli", "train", "--data", str(data / "p"), "--data", f"{data / 't'}:2", "--data",
        str(data / "f"), "--out", str(out), "--preset", "tiny", "--steps", str(steps), "--batch-size", "4", "--threads",
        "1", "--views", "2", "--validate-every", "10", "--lr", "3e-3", "--save-every", "2", "--average", "0.9",
        "--compose", "0.3", "--resume",
    ]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(arguments, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 200
    while not list((out / state.STATES).glob(f"step-{after:09}")) and time.monotonic() < deadline:
        assert process.poll() is None, "the run ended by itself"
        time.sleep(0.01)
    time.sleep(delay_s)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


@pytest.mark.timeout(900)
def test_killed_and_resumed_gives_exactly_the_weights_of_an_uninterrupted_run(data: Path, tmp_path: Path) -> None:
    steps, dice = 20, random.Random(0)
    whole = train(
        options(data, tmp_path / "whole", steps=steps, save_every=2, validate_every=10, average=0.9, compose=0.3),
        quiet=True,
    )
    assert whole.finished and whole.step == steps
    out = tmp_path / "killed"
    for after in (4, 12):
        killed_run(data, out, steps, after, dice.uniform(0.0, 0.3))
    resumed = train(
        options(data, out, steps=steps, save_every=2, validate_every=10, average=0.9, compose=0.3, resume=True),
        quiet=True,
    )
    assert resumed.finished and resumed.step == steps
    assert equal(weights(tmp_path / "whole"), weights(out))
    for name in (loop.MODEL, loop.BEST):
        files = [(tmp_path / run / name / "model.safetensors").read_bytes() for run in ("whole", "killed")]
        assert files[0] == files[1], name
    assert not list((out / state.STATES).glob(f"{state.UNFINISHED}*"))
    # Each logged step is there once, in order, though some of them were computed twice.
    logged = [int(row["step"]) for row in rows(out) if row["name"] == "train/lr"]
    assert logged == sorted(set(logged)) and logged[-1] == steps


def test_what_is_published_is_the_average_of_the_weights(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(options(data, out, steps=4, save_every=4, average=0.9, lr=0.01), quiet=True)
    saved = state.newest(out / state.STATES)
    assert saved is not None
    published = Retriever.from_pretrained(out).state_dict()
    name = "retriever.fusion.cls"
    mean, newest = (part.half().float() for part in (saved.average[name.removeprefix("retriever.")], saved.model[name]))
    assert torch.equal(published[name.removeprefix("retriever.")], mean) and not torch.equal(mean, newest)


def test_another_seed_gives_other_weights(data: Path, tmp_path: Path) -> None:
    """The control of the test above: the weights do depend on what a run drew."""
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(options(data, tmp_path / name, seed=seed, steps=2, init=checkpoint(tmp_path)), quiet=True)
    assert equal(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert not equal(weights(tmp_path / "a"), weights(tmp_path / "c"))


def test_a_stop_signal_ends_the_run_with_a_state_and_a_checkpoint(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = loop.Run._one_step

    def stops_at_two(self: loop.Run, batches: Any, progress: float) -> None:
        step(self, batches, progress)
        if self.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(loop.Run, "_one_step", stops_at_two)
    before = signal.getsignal(signal.SIGTERM)
    result = train(options(data, tmp_path / "run", steps=50), quiet=True)
    assert (result.step, result.finished) == (2, False)
    assert signal.getsignal(signal.SIGTERM) == before
    assert Retriever.from_pretrained(tmp_path / "run" / loop.MODEL).config.preset == "tiny"
    monkeypatch.undo()
    assert train(options(data, tmp_path / "run", steps=3, resume=True), quiet=True).step == 3


def test_a_run_is_neither_overwritten_nor_resumed_on_other_data(data: Path, tmp_path: Path) -> None:
    train(options(data, tmp_path / "run", steps=2), quiet=True)
    with pytest.raises(TrainingError, match="already holds a run"):
        train(options(data, tmp_path / "run", steps=2), quiet=True)
    with pytest.raises(TrainingError, match="not what the run was started with"):
        train(options(data, tmp_path / "run", steps=4, resume=True, data=(str(data / "p"),)), quiet=True)
    with pytest.raises(TrainingError, match="not what the run was started with"):
        train(options(data, tmp_path / "run", steps=4, resume=True, seed=8), quiet=True)


# ---- learning --------------------------------------------------------------------------------------------------------


def test_training_learns_colours(data: Path, tmp_path: Path) -> None:
    """Eight colours, unseen pictures of each: chance is 12.5 %."""
    given = options(
        data,
        tmp_path / "run",
        data=(str(data / "p"),),
        steps=150,
        batch_size="16",
        lr=5e-3,
        validate_every=150,
        log_every=10,
    )
    train(given, quiet=True)
    found = {row["name"]: float(row["value"]) for row in rows(tmp_path / "run") if row["step"] == "150"}
    assert found["val/p/still/fused/r1"] >= 50.0 and found["val/p/still/coarse/r1"] >= 50.0
    losses = [float(row["value"]) for row in rows(tmp_path / "run") if row["name"] == "train/p/still/fused"]
    assert losses[-1] < 0.6 * losses[0]


def test_moving_trunks_pixels_accumulation_and_bf16(data: Path, tmp_path: Path) -> None:
    given = options(
        data, tmp_path / "run", steps=3, train="text-last=1,frames-last=1", accumulate=2, bf16=True, schedule="cosine",
        loss="ctc=1,dual_softmax=1,cross_clr=0.1", init=checkpoint(tmp_path),
    )  # fmt: skip
    result = train(given, quiet=True)
    assert result.finished
    before = Retriever.from_pretrained(checkpoint(tmp_path)).state_dict()
    after = Retriever.from_pretrained(tmp_path / "run" / loop.MODEL).state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert any(name.startswith("text.layers.") for name in changed)
    assert any(name.startswith("video.trunk.") for name in changed)
    assert not any("running_mean" in name for name in changed)  # batch statistics stay frozen
    assert all(torch.isfinite(value).all() for value in after.values() if value.is_floating_point())


def test_frozen_trunks_do_not_move(data: Path, tmp_path: Path) -> None:
    train(options(data, tmp_path / "run", steps=2, init=checkpoint(tmp_path)), quiet=True)
    before = Retriever.from_pretrained(checkpoint(tmp_path)).state_dict()
    after = Retriever.from_pretrained(tmp_path / "run" / loop.MODEL).state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and not any(
        name.startswith(("text.layers.", "text.embeddings.", "video.trunk.")) for name in changed
    )


def test_a_batch_that_breaks_the_gradient_spoils_no_weight(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = RetrievalLoss.forward

    def breaks(self: RetrievalLoss, retriever: Retriever, batch: TrainBatch) -> dict[str, torch.Tensor]:
        parts = whole(self, retriever, batch)
        return parts | {"total": parts["total"] * float("nan")}

    monkeypatch.setattr(RetrievalLoss, "forward", breaks)
    train(options(data, tmp_path / "run", steps=2, init=checkpoint(tmp_path)), quiet=True)
    assert all(torch.isfinite(value).all() for value in weights(tmp_path / "run").values())
    assert any(row["name"] == "train/skipped" for row in rows(tmp_path / "run"))


def test_hours_end_a_run_and_stretch_the_schedule(data: Path, tmp_path: Path) -> None:
    result = train(options(data, tmp_path / "run", steps=None, hours=2 / 3600, log_every=1), quiet=True)
    assert result.finished and result.seconds >= 2.0 and result.step >= 1
    rates = [float(row["value"]) for row in rows(tmp_path / "run") if row["name"] == "train/lr"]
    assert len(rates) == result.step
