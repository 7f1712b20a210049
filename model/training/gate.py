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
from model.config import ConfidenceConfig
from model.data.manifest import Item, load_manifest, normalised
from model.evaluation.evaluate import Progress
from model.evaluation.logistic import logistic
from model.retriever import Retriever
from model.training.options import TrainingError
from model.training.start import with_config

FEWEST: Final = 20  # texts of either sense
HELD_OUT: Final = 12  # of so many texts of a sense one teaches nothing and says how well it went
RIDGE: Final = 1.0  # of the logistic regression, in texts
CAUTION: Final = 1500.0  # a text asks for sound where that is so many times as likely: silent films are asked for, too
BATCH: Final = 64


@dataclass(frozen=True)
class Request:
    """Which checkpoint is taught, with the texts of which data."""

    checkpoint: Path
    data: Sequence[Path]
    split: str = "train"
    texts: int = 40_000  # of either sense, at most
    seed: int = 0


def teach_gate(request: Request, progress: Progress) -> dict[str, Any]:
    """Teach the checkpoint in place; the document says how well texts that taught nothing are told apart.

    Confidence was of the scores before, and is uncalibrated again. Raises ManifestError, CheckpointError, or
    TrainingError where there are too few texts of either sense.
    """
    retriever = with_picture_gate(Retriever.from_pretrained(request.checkpoint))
    texts, pictures = drawn(request)
    counts = {"pictures": int(pictures.sum()), "sound": int((~pictures).sum())}
    if min(counts.values()) < FEWEST:
        raise TrainingError(
            f"{counts['pictures']} texts for pictures and {counts['sound']} for sound are too few to learn from.",
            f"Give --data with {FEWEST} or more of either: photographs, and sounds of the kind `sound`.",
        )
    states = gists(retriever, texts, progress)
    teaches = np.where(pictures, pictures.cumsum(), (~pictures).cumsum()) % HELD_OUT > 0
    bias, *weights = logistic(states[teaches], pictures[teaches], RIDGE)
    lessons = pictures[teaches]
    bias += math.log(CAUTION * (~lessons).sum() / lessons.sum())  # as if there were as many of either
    right = (bias + states @ np.asarray(weights) > 0) == pictures
    gate = retriever.coarse.picture_gate
    assert gate is not None
    with torch.no_grad():
        gate.linear.weight.copy_(torch.tensor([weights]))
        gate.linear.bias.fill_(bias)
    retriever.save_pretrained((request.checkpoint / CONFIG).resolve().parent)  # a run's folder links to its checkpoint
    told = {
        name: round(100.0 * float(right[~teaches & sense].mean()), 1)
        for name, sense in (("pictures", pictures), ("sound", ~pictures))
    }
    return {"checkpoint": str(request.checkpoint), "texts": counts, "held_out_right_percent": told}


def with_picture_gate(retriever: Retriever) -> Retriever:
    """The retriever with the gate, untaught where it has none, and without confidence. Raises TrainingError."""
    if not retriever.config.gist:
        raise TrainingError(
            "the checkpoint is of an earlier version, which knows no gist of a query.",
            "Train it on with `htav train --init`; then teach its gate.",
        )
    return with_config(retriever, replace(retriever.config, picture_gate=1, confidence=ConfidenceConfig()), 0)


def drawn(request: Request) -> tuple[list[str], NDArray[np.bool_]]:
    """Up to `texts` of either sense, in an order drawn by the seed, and which of them ask for pictures [M]."""
    rng = np.random.default_rng([request.seed, 11])
    senses = by_sense([item for folder in request.data for item in load_manifest(folder, request.split)])
    chosen = [
        (texts[place], sense == 0)
        for sense, texts in enumerate(senses)
        for place in rng.permutation(len(texts))[: request.texts]
    ]
    mixed = [chosen[place] for place in rng.permutation(len(chosen))]
    return [text for text, _ in mixed], np.array([pictures for _, pictures in mixed], dtype=bool)


def by_sense(items: Sequence[Item]) -> tuple[list[str], list[str]]:
    """Each text that asks for pictures alone, and each that asks for sound alone; what is said asks for neither."""
    seen: dict[str, str] = {}
    heard: dict[str, str] = {}
    for item in items:
        if item.form == "still" or item.kind == "visual":
            seen |= _named(item.texts)
        elif item.kind == "sound":
            heard |= _named(item.texts)
        seen |= _named(item.parts.get("seen", ()))
        heard |= _named(item.parts.get("heard", ()))
    for key in seen.keys() & heard.keys():
        del seen[key], heard[key]
    return list(seen.values()), list(heard.values())


def _named(texts: Sequence[str]) -> dict[str, str]:
    return {normalised(text): text for text in texts}


def gists(retriever: Retriever, texts: Sequence[str], progress: Progress) -> NDArray[np.float64]:
    """RoBERTa's mean state of each text, [M, hidden]; texts of like lengths are encoded together."""
    states = np.empty((len(texts), retriever.config.text.hidden))
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    for start in range(0, len(order), BATCH):
        places = order[start : start + BATCH]
        states[places] = retriever.encode_text([texts[place] for place in places]).gist.double().cpu().numpy()
        progress("encode the texts", start + len(places), len(texts))
    return states
