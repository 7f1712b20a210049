"""The training loop: steps, validation, saving; stopped and resumed at any second with the same result."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from model.checkpoint import CONFIG
from model.memory import keep_freed_memory
from model.training import schedule, state
from model.training.average import WeightAverage
from model.training.devices import Devices, StepModule, find_devices, threads_each
from model.training.feed import Step
from model.training.options import Options, TrainingError
from model.training.prepare import Prepared, build, prepare, stand_for
from model.training.report import Report
from model.training.validation import validate

MODEL, BEST = "model", "best"


@dataclass
class Clock:
    """Seconds of training, over all the processes that a resumed run had."""

    before: float = 0.0
    started: float = 0.0

    def elapsed(self) -> float:
        return self.before + time.monotonic() - self.started


@dataclass(frozen=True)
class Result:
    """How a run ended."""

    step: int
    seconds: float
    finished: bool
    best: float | None


def train(options: Options, *, quiet: bool = False) -> Result:
    """Run or resume. Raises TrainingError, ManifestError, TrunkUnavailableError before the first step."""
    options.check()
    saved = _saved(options)
    keep_freed_memory()
    torch.set_num_threads(threads_each(options.threads))
    torch.manual_seed(options.seed)
    devices = find_devices(options.bf16)
    retriever, loss = build(options, resumed=saved is not None)
    if saved is not None:
        _load(retriever, loss, saved)
    step = int(saved.meta["step"]) if saved is not None else 0
    first = devices.rank == 0  # of several processes one tells
    with Report(options.out if first else None, resumed_at=step, quiet=quiet or not first) as report:
        if options.resume and saved is None:
            report.say(f"no saved state in {options.out}: starts from {options.init or 'a new network'}")
        prepared = prepare(options, retriever, loss, report, devices.rank, devices.world)
        return Run(options, prepared, devices, report).go(saved)


def _saved(options: Options) -> state.State | None:
    """The state to go on from. An old run is neither overwritten nor resumed unasked, nor is a checkpoint."""
    folder, config = options.out / state.STATES, options.out / CONFIG
    if options.resume and (saved := state.newest(folder)) is not None:
        return saved
    if config.is_file() and not config.is_symlink():
        raise TrainingError(f"{options.out} holds a checkpoint and no run to go on with.", "Choose another --out.")
    if options.resume:  # a run stopped before its first state starts again, from --init if that is given
        return None
    if any(folder.glob("step-*")):
        raise TrainingError(
            f"{options.out} already holds a run.", "Add --resume to go on with it, or choose another --out."
        )
    return None


def _load(retriever: nn.Module, loss: nn.Module, saved: state.State) -> None:
    module = StepModule(retriever, loss)  # type: ignore[arg-type]
    try:
        module.load_state_dict(saved.model)
    except RuntimeError as err:
        raise TrainingError("the saved run is of another network.", "Resume it with the same --preset.") from err


class Run:
    """One process's part of a run."""

    def __init__(self, options: Options, prepared: Prepared, devices: Devices, report: Report) -> None:
        self.options, self.prepared, self.devices, self.report = options, prepared, devices, report
        self.whole = StepModule(prepared.retriever, prepared.loss)
        self.module = devices.prepare(self.whole)
        self.optimizer = prepared.trained.optimizer
        self.average = WeightAverage(prepared.trained.parameters, options.average)
        steps = options.steps
        epochs = options.most_epochs()
        if epochs is not None:
            by_epochs = max(round(epochs * prepared.sampler.steps_per_epoch() / options.accumulate), 1)
            steps = min(steps or by_epochs, by_epochs)
        self.length = schedule.Length(steps, options.hours * 3600 if options.hours else None)
        self.clock = Clock()
        self.step = 0
        self.best: float | None = None
        self.last_saved = 0.0
        self.after: dict[str, Any] = prepared.sampler.state()

    def go(self, saved: state.State | None) -> Result:
        """Steps until the end, or until asked to stop (SIGINT, SIGTERM), and save."""
        if saved is not None:
            self._restore(saved)
        self.clock.started = time.monotonic()
        self.last_saved = self.clock.elapsed()
        self.whole.train()
        batches = self.prepared.feed.steps(self.prepared.sampler)
        with _asked_to_stop() as stop:
            while (progress := self.devices.agree(2.0 if stop.is_set() else self._progress())) < 1.0:
                self._one_step(batches, progress)
                self._housekeeping()
        batches.close()  # type: ignore[attr-defined]  # a generator: ends its thread
        finished = self._progress() >= 1.0
        self._save()  # before anything else can fail
        if finished and self.step % self.options.validate_every:
            self._validate()
            self._save()
        if self.devices.rank == 0:
            with self.average.applied():
                self.prepared.retriever.save_pretrained(self.options.out / MODEL)
            stand_for(self.options.out, MODEL)
        return Result(self.step, self.clock.elapsed(), finished, self.best)

    def _progress(self) -> float:
        return self.length.progress(self.step, self.clock.elapsed())

    def _one_step(self, batches: Iterator[Step], progress: float) -> None:
        """One step at the agreed progress of the run: processes with clocks of their own would drift apart."""
        torch.manual_seed(step_seed(self.options.seed, self.step, self.devices.rank))
        schedule.set_rates(self.optimizer, self.options.schedule, progress)
        self.optimizer.zero_grad(set_to_none=True)
        for _ in range(self.options.accumulate):
            made = next(batches)
            parts = self.devices.losses(self.module, made.batch)
            if not parts["total"].requires_grad:
                raise TrainingError(
                    f"{made.source} teaches nothing of what --only and --loss let learn.",
                    "Leave its --data out, or let more learn.",
                )
            self.devices.backward(parts["total"] / self.options.accumulate)
            self.after = made.after
            for name, value in parts.items():
                self.report.add(f"train/{made.source}/{name}", float(value.detach()))
        norm = nn.utils.clip_grad_norm_(self.prepared.trained.parameters.values(), self.options.clip_norm)
        if bool(torch.isfinite(norm)):  # one bad batch never spoils the weights
            self.optimizer.step()
        else:
            self.report.add("train/skipped", 1.0)
        self.report.add("train/gradient_norm", float(norm))
        self.step += 1
        self.average.update(self.step)

    def _housekeeping(self) -> None:
        options, elapsed = self.options, self.clock.elapsed()
        total = self.length.steps
        if self.step % options.log_every == 0:
            rate = self.optimizer.param_groups[0]["lr"]
            written = self.report.log(self.step, elapsed, {"train/lr": rate})
            losses = [value for name, value in written.items() if name.endswith("/total")]
            self.report.bars("train", self.step, total, f"loss {sum(losses) / max(len(losses), 1):.3f}")
        if self.step % options.validate_every == 0:
            self._validate()
        if options.save_every is not None:
            due = self.step % options.save_every == 0
        else:
            due = elapsed - self.last_saved >= 60 * options.save_minutes
        if due:
            self._save()

    def _validate(self) -> None:
        """Figures of the val parts; the best so far is kept as a checkpoint of its own."""
        if self.devices.rank > 0 or not self.prepared.validation:
            return
        with self.average.applied():
            self._look()

    def _look(self) -> None:
        found = validate(self.prepared.retriever, self.prepared.validation, self.prepared.pixels)
        self.report.log(self.step, self.clock.elapsed(), found)
        shown = [
            f"{name.split('/', 1)[1]} {value:.1f}" for name, value in found.items() if name.endswith(("/r1", "/r10"))
        ]
        self.report.say(f"step {self.step}: " + ", ".join(shown))
        if self.best is None or found["val/score"] > self.best:
            self.best = found["val/score"]
            self.prepared.retriever.save_pretrained(self.options.out / BEST)

    def _save(self) -> None:
        if self.devices.rank > 0:
            return
        elapsed = self.clock.elapsed()
        self.last_saved = elapsed
        meta = {
            "step": self.step,
            "seconds": elapsed,
            "best": self.best,
            "sampler": self.after,
            "seed": self.options.seed,
            "card": self.prepared.retriever.card,
        }
        tensors = {name: value.detach().cpu() for name, value in self.whole.state_dict().items()}
        moments = state.optimizer_state(self.optimizer, self.prepared.trained.parameters)
        moment = state.State(tensors, moments, meta, self.average.means)
        state.save(self.options.out / state.STATES, self.step, moment)

    def _restore(self, saved: state.State) -> None:
        state.restore_optimizer(self.optimizer, self.prepared.trained.parameters, saved.optimizer)
        self.average.restore(saved.average)
        try:
            self.prepared.sampler.restore(saved.meta["sampler"])
        except ValueError as err:
            raise TrainingError(
                f"the data is not what the run was started with: {err}.", "Give the same --data."
            ) from err
        self.step, self.best, self.after = saved.meta["step"], saved.meta["best"], saved.meta["sampler"]
        self.clock.before = saved.meta["seconds"]
        self.prepared.retriever.card = saved.meta.get("card", "")
        self.report.say(f"resumed at step {self.step}")


def step_seed(seed: int, step: int, rank: int) -> int:
    """What torch draws from in one step of one process, on every device.

    So no generator's state need be saved: processes draw unequally much, and one alone writes.
    """
    return int(np.random.SeedSequence([seed, 4, step, rank]).generate_state(1, np.uint64)[0])


@contextmanager
def _asked_to_stop() -> Iterator[threading.Event]:
    """An event that the first SIGINT or SIGTERM sets; the second acts as usual."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, _frame: Any) -> None:
        event.set()
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, ask)
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
