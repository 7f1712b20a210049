"""The trainings of a learning curve, one after the other; each is kept as it ends."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from model.data.items import items_digest
from model.data.manifest import load_manifest
from model.memory import keep_freed_memory
from model.progress import Progress
from model.retriever import Retriever
from model.training import schedule
from model.training.curve.heads import Heads
from model.training.curve.held_out import CHOSEN_BY, GOALS, Asked, Recalls
from model.training.curve.kept import Kept
from model.training.curve.lessons import PARTS, Names, Photographs
from model.training.kept_runs import KeptRuns
from model.training.named import Classifier

Row = dict[str, Any]  # a run with its recalls

PHOTOGRAPHS, CLIPS = "flickr8k", "clips"  # folders of the data
RESULTS: Final = "curve.json"


@dataclass(frozen=True)
class Request:
    """What to train on, how long, how often."""

    data: Path
    out: Path
    seeds: int = 3
    steps: int = 180  # the same for all parts
    every: int = 20  # steps, after which a run is looked at
    batch: int = 1024
    width: int = 1024
    lr: float = 1e-3
    weight_decay: float = 0.05


@dataclass(frozen=True)
class Run:
    """One training: of a part of the photographs and a part of ImageNet's names, 0 for none, from a seed."""

    part: float
    names: float
    seed: int


def runs(seeds: int) -> list[Run]:
    """All trainings, seed by seed: parts of the photographs without names and with all, then all with parts of them."""
    *fewer, whole = PARTS
    pairs = [(part, names) for part in PARTS for names in (0.0, whole)] + [(whole, names) for names in fewer]
    return [Run(part, names, seed) for seed in range(seeds) for part, names in pairs]


def learning_curve(request: Request, retriever: Retriever, classifier: Classifier, progress: Progress) -> list[Row]:
    """The recalls of every run, written to `request.out` after each; a run that is there is not made again.

    `classifier` is that of the frame trunk's publisher. Raises HtavError.
    """
    keep_freed_memory()
    request.out.mkdir(parents=True, exist_ok=True)
    results = KeptRuns(request.out / RESULTS, _setting(request, retriever))
    wanted, done = runs(request.seeds), [Run(row["part"], row["names"], row["seed"]) for row in results.rows]
    missing = [run for run in wanted if run not in done]
    if missing:
        kept = Kept(retriever, request.out / "features", progress)
        folders = request.data / PHOTOGRAPHS, request.data / CLIPS
        held = Asked(kept, folders[0], "val"), Asked(kept, folders[0], "test"), Asked(kept, folders[1], "val", "visual")
        asked, photographs = dict(zip(GOALS, held, strict=True)), Photographs(kept, folders[0])
        names = Names(kept, photographs, classifier)
        for run in missing:
            progress("train on each part", len(results.rows), len(wanted))
            results.add(_train(run, request, photographs, names, asked))
    progress("train on each part", len(wanted), len(wanted))
    return [row for row in results.rows if row["seed"] < request.seeds]


def _setting(request: Request, retriever: Retriever) -> dict[str, Any]:
    """What a figure depends on besides its run."""
    numbers = {name: n for name, n in asdict(request).items() if isinstance(n, int | float) and name != "seeds"}
    data = {name: items_digest(load_manifest(request.data / name)) for name in (PHOTOGRAPHS, CLIPS)}
    return {**numbers, **data, "parts": list(PARTS), "trunks": retriever.fingerprint}


def _train(run: Run, request: Request, photographs: Photographs, names: Names, asked: dict[str, Asked]) -> Row:
    """A run's recalls at the step that finds most of `CHOSEN_BY`."""
    rows, best, best_step = photographs.part(run.part, run.seed), Recalls(), 0
    captions = [caption for row in rows for caption in photographs.captions[row]]
    classes = names.part(run.names, run.seed)
    slopes = names.slopes(rows) if classes else None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)
        heads = Heads(photographs.pictures[rows], photographs.texts[captions], request.width)
        groups = [{"params": list(heads.parameters()), "lr": request.lr, "peak_lr": request.lr}]
        optimizer = torch.optim.AdamW(groups, weight_decay=request.weight_decay)
        for step in range(1, request.steps + 1):
            rng = np.random.default_rng([run.seed, step])
            schedule.set_rates(optimizer, "one-cycle", step / request.steps)
            loss = heads.train().loss(*photographs.batch(rows, request.batch, rng))
            if slopes is not None:
                loss = 0.5 * loss + 0.5 * heads.loss(*names.batch(rows, classes, slopes, request.batch // 2, rng))
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()
            if step % request.every == 0 or step == request.steps:
                found = asked[CHOSEN_BY].recalls(heads.eval())
                if not best or sum(found.values()) > sum(best[CHOSEN_BY].values()):
                    best, best_step = {name: one.recalls(heads) for name, one in asked.items()}, step
    counts = {"photographs": len(rows), "classes": len(classes)}
    return asdict(run) | counts | {"step": best_step, "recalls": best}
