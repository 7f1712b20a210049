"""`htav ablate`: train heads with and without each mechanism, and say what each is worth.

Every variant starts from the same kept trunks, with heads drawn by the seed, and sees the same batches for equally many
steps; only the mechanism is missing. A run that was stopped goes on where it was.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from model.bars import Bars
from model.data.batches import BatchSampler
from model.data.items import items_digest
from model.data.manifest import load_manifest
from model.losses import LossWeights, RetrievalLoss
from model.memory import keep_freed_memory
from model.progress import Progress
from model.retriever import Retriever
from model.training import parameters, schedule
from model.training.ablation.benchmarks import BENCHMARKS, Benchmark, Material, examine
from model.training.ablation.kept import photographs, sentences, with_kept_trunks
from model.training.ablation.mechanisms import MECHANISMS
from model.training.ablation.report import write_report
from model.training.kept_runs import KeptRuns
from model.training.options import Options, TrainingError

RESULTS: Final = "ablation.json"
VERSION: Final = 3  # raise it when a benchmark asks or counts otherwise: accuracies are kept
CLIP_NORM: Final = 1.0
LOSSES: Final = LossWeights(ctc=0.0, late=True)  # spelling is the trunk's


@dataclass(frozen=True)
class Request:
    """What to train on, for how long, how often."""

    photos: Path
    speech: Path
    out: Path
    steps: int = 150
    seeds: int = 3
    train_items: int = 1500
    held_out: int = 1000
    lr: float = 1e-3
    threads: int = 2


@dataclass(frozen=True)
class Variant:
    """One training: a benchmark, the mechanism that is missing (or none), a seed."""

    benchmark: str
    without: str | None
    seed: int


def variants(seeds: int) -> Iterator[Variant]:
    """Each benchmark whole, then without each mechanism that is for it; seed by seed, so that a stopped run is fair."""
    for seed in range(seeds):
        for benchmark in BENCHMARKS:
            names = [name for name, mechanism in MECHANISMS.items() if mechanism.benchmark == benchmark]
            yield from (Variant(benchmark, name, seed) for name in (None, *names))


def ablate(request: Request, trained: Retriever, progress: Progress) -> list[dict[str, Any]]:
    """The accuracy of every variant, in percent, and what it found; written to `request.out` after each."""
    keep_freed_memory()
    torch.set_num_threads(request.threads)
    request.out.mkdir(parents=True, exist_ok=True)
    results = KeptRuns(request.out / RESULTS, _setting(request, trained))
    wanted, done = list(variants(request.seeds)), [_without_figure(row) for row in results.rows]
    missing = [variant for variant in wanted if asdict(variant) not in done]
    if missing:
        train, held = (_material(request, trained, split, progress) for split in ("train", "val"))
        for variant in missing:
            progress("train without each mechanism", len(results.rows), len(wanted))
            results.add(asdict(variant) | credits(_run(variant, request, trained, train, held)))
    progress("train without each mechanism", len(wanted), len(wanted))
    return [row for row in results.rows if row["seed"] < request.seeds]


def _setting(request: Request, trained: Retriever) -> dict[str, Any]:
    """What an accuracy depends on besides its variant."""
    numbers = {name: n for name, n in asdict(request).items() if isinstance(n, int | float) and name != "seeds"}
    folders = {"photos": request.photos, "speech": request.speech}
    data = {name: items_digest(load_manifest(folder)) for name, folder in folders.items()}
    return {**numbers, **data, "model": trained.fingerprint, "version": VERSION}


def credits(found: Sequence[float]) -> dict[str, Any]:
    """A variant's accuracy, in percent, and what it found: for each query 2, 0, or 1 for half right."""
    return {"accuracy": round(100.0 * float(np.mean(found)), 3), "found": "".join(str(round(2 * one)) for one in found)}


def _without_figure(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in credits([0.0])}


def _material(request: Request, trained: Retriever, split: str, progress: Progress) -> Material:
    most = request.train_items if split == "train" else request.held_out
    found = Material(
        photographs(trained, request.photos, split, most, progress),
        sentences(trained, request.speech, split, most, progress),
    )
    for folder, kind, items in (
        (request.photos, "photograph", found.photographs),
        (request.speech, "said sentence", found.sentences),
    ):
        if not items:
            raise TrainingError(f"the split '{split}' of {folder} has no {kind}.", "Choose another folder.")
    return found


def _run(variant: Variant, request: Request, trained: Retriever, train: Material, held: Material) -> list[float]:
    """Train one variant; what it finds of the held-out items."""
    benchmark = BENCHMARKS[variant.benchmark]
    retriever = with_kept_trunks(Retriever.from_preset(trained.config.preset, seed=variant.seed), trained)
    retriever.spelling = None  # it would find speech without what is being measured
    retriever.coarse.glance = None  # taught by a stage of its own, and no part of the paper
    if variant.without is not None:
        MECHANISMS[variant.without].remove(retriever)
    torch.manual_seed(variant.seed)
    loss = RetrievalLoss(LOSSES, drop_channels=0.0)
    moving = {name: value for name, value in retriever.named_parameters() if value.requires_grad}
    moving |= {f"loss.{name}": value for name, value in loss.named_parameters()}
    optimizer = parameters.optimizer(moving, Options((), request.out, lr=request.lr))
    retriever.train()
    for step, batch_rows in enumerate(_rows(benchmark, train, variant.seed, request.steps)):
        schedule.set_rates(optimizer, "one-cycle", step / request.steps)
        optimizer.zero_grad(set_to_none=True)
        batch = benchmark.batch(train, batch_rows, np.random.default_rng([variant.seed, 8, step]))
        total = loss(retriever, batch)["total"]
        torch.autograd.backward(total)
        torch.nn.utils.clip_grad_norm_(moving.values(), CLIP_NORM)
        optimizer.step()
    return examine(benchmark, retriever.eval(), held, variant.seed)


def _rows(benchmark: Benchmark, train: Material, seed: int, steps: int) -> Iterator[Sequence[int]]:
    items = len(train.sentences if benchmark.spoken else train.photographs)
    sampler = BatchSampler([items], [benchmark.size], [1.0], seed)
    for _ in range(steps):
        yield sampler.next().rows


def run_ablate(request: Request, model: Path | str | None, json_output: bool) -> None:
    """Ablate, and print the rows (`--json`) or the table."""
    trained = Retriever.embedded() if model is None else Retriever.from_pretrained(model)
    with Bars.of_command(json_output) as bars:
        rows = ablate(request, trained, bars)
    table = write_report(rows, request.out)
    sys.stdout.write(json.dumps({"runs": rows}) + "\n" if json_output else table)
