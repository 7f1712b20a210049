"""The picture gate (`model.picture_gate`), taught by texts alone: some ask for pictures, some for sound.

A pair's score cannot teach it: whether a query asks for pictures has no say where a clip has none, and in training no
sound is looked for among silent pictures. But captions are not worded as the names of sounds are, and RoBERTa's mean
state tells them apart (a linear probe: Alain and Bengio 2016).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from model.checkpoint import CONFIG
from model.data.manifest import Item, load_manifest
from model.evaluation.evaluate import Progress
from model.evaluation.logistic import logistic
from model.retriever import Retriever
from model.training.options import TrainingError
from model.training.start import with_config

FEWEST: Final = 20  # texts of either sense
HELD_OUT: Final = 12  # of so many texts of a sense one teaches nothing and says how well it went
RIDGE: Final = 1.0  # of the logistic regression, in texts
CAUTION: Final = 30.0  # a text asks for sound where that is so many times as likely: silent films are asked for, too
BATCH: Final = 64


@dataclass(frozen=True)
class Request:
    """Which checkpoint is taught, with the texts of which data."""

    checkpoint: Path
    data: Sequence[Path]
    split: str = "train"
    texts: int = 40_000  # of either sense of a folder, at most
    seed: int = 0


def teach_gate(request: Request, progress: Progress) -> dict[str, Any]:
    """Teach the checkpoint in place; the document says how well texts that taught nothing are told apart.

    Raises ManifestError, CheckpointError, or TrainingError where there are too few texts of either sense.
    """
    retriever = with_picture_gate(Retriever.from_pretrained(request.checkpoint), request.seed)
    texts, pictures = drawn(request)
    if min(pictures.sum(), (~pictures).sum()) < FEWEST:
        raise TrainingError(
            f"{pictures.sum()} texts for pictures and {(~pictures).sum()} for sound are too few to learn from.",
            f"Give --data with {FEWEST} or more of either: photographs, and sounds of the kind `sound`.",
        )
    states = gists(retriever, texts, progress)
    teaches = np.where(pictures, pictures.cumsum(), (~pictures).cumsum()) % HELD_OUT > 0
    bias, *weights = logistic(states[teaches], pictures[teaches], RIDGE)
    bias += math.log(CAUTION)
    right = (bias + states @ np.asarray(weights) > 0) == pictures
    gate = retriever.coarse.picture_gate
    assert gate is not None
    with torch.no_grad():
        gate.asks.weight.copy_(torch.tensor([weights]))
        gate.asks.bias.fill_(bias)
    retriever.save_pretrained((request.checkpoint / CONFIG).resolve().parent)  # a run's folder links to its checkpoint
    told = {
        name: round(100.0 * float(right[~teaches & sense].mean()), 1)
        for name, sense in (("pictures", pictures), ("sound", ~pictures))
    }
    counts = {"pictures": int(pictures.sum()), "sound": int((~pictures).sum())}
    return {"checkpoint": str(request.checkpoint), "texts": counts, "held_out_right_percent": told}


def with_picture_gate(retriever: Retriever, seed: int) -> Retriever:
    """The retriever with the gate, untaught where it has none. Raises TrainingError."""
    if not retriever.config.gist:
        raise TrainingError(
            "the checkpoint is of an earlier version, which knows no gist of a query.",
            "Train it on with `htav train --init`; then teach its gate.",
        )
    return with_config(retriever, replace(retriever.config, picture_gate=1), seed)


def drawn(request: Request) -> tuple[list[str], NDArray[np.bool_]]:
    """Up to `texts` of either sense of each folder, in an order drawn by the seed, and which ask for pictures [M]."""
    rng = np.random.default_rng([request.seed, 11])
    found: dict[str, bool] = {}
    for folder in request.data:
        for sense, texts in enumerate(by_sense(load_manifest(folder, request.split))):
            places = rng.permutation(len(texts))[: request.texts]
            found |= {texts[place]: not sense for place in places}
    texts = list(found)
    order = rng.permutation(len(texts))
    return [texts[place] for place in order], np.array([found[texts[place]] for place in order])


def by_sense(items: Sequence[Item]) -> tuple[list[str], list[str]]:
    """Each text that asks for pictures alone, and each that asks for sound alone; what is said asks for neither."""
    seen: dict[str, None] = {}
    heard: dict[str, None] = {}
    for item in items:
        if item.form == "still" or item.kind == "visual":
            seen |= dict.fromkeys(item.texts)
        elif item.kind == "sound":
            heard |= dict.fromkeys(item.texts)
        seen |= dict.fromkeys(item.parts.get("seen", ()))
        heard |= dict.fromkeys(item.parts.get("heard", ()))
    both = seen.keys() & heard.keys()
    return [text for text in seen if text not in both], [text for text in heard if text not in both]


def gists(retriever: Retriever, texts: Sequence[str], progress: Progress) -> NDArray[np.float64]:
    """RoBERTa's mean state of each text, [M, hidden]; texts of like lengths are encoded together."""
    states = np.empty((len(texts), retriever.config.text.hidden))
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    for start in range(0, len(order), BATCH):
        places = order[start : start + BATCH]
        states[places] = retriever.encode_text([texts[place] for place in places]).gist.double().cpu().numpy()
        progress("encode the texts", start + len(places), len(texts))
    return states
