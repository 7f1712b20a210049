"""The sound gate (`model.sound_gate`), taught by texts alone: names of sounds against captions and what people say.

A pair's score cannot teach it: whether a query asks for pictures has no say where a clip has none, and in training no
sound is looked for among silent pictures. But names of sounds are worded as nothing else is, and RoBERTa's mean state
tells them apart (a linear probe: Alain and Bengio 2016).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from model.config import ConfidenceConfig
from model.data.manifest import Item, load_manifest, normalised
from model.evaluation.logistic import logistic
from model.progress import Progress
from model.retriever import Retriever
from model.training.options import TrainingError
from model.training.start import with_taught_part

FEWEST: Final = 20  # texts of either kind
HELD_OUT: Final = 12  # of so many texts of a kind one teaches nothing and says how well it went
RIDGE: Final = 0.03  # of the logistic regression, in texts: so little that few texts are undecided
CAUTION: Final = 50_000.0  # a text names a sound where that is so many times as likely: else nothing is lost
BATCH: Final = 64


@dataclass(frozen=True)
class Request:
    """Which checkpoint is taught, with the texts of which data."""

    checkpoint: Path
    data: Sequence[Path]
    split: str = "train"
    texts: int = 100_000  # of either kind, at most
    seed: int = 0


def teach_gate(request: Request, progress: Progress) -> dict[str, Any]:
    """Teach the checkpoint in place; the document says how well texts that taught nothing are told apart.

    Confidence was of the scores before, and is uncalibrated again. Raises ManifestError, CheckpointError, or
    TrainingError where there are too few texts of either kind.
    """
    retriever = with_sound_gate(Retriever.from_pretrained(request.checkpoint))
    texts, names = drawn(request)
    counts = {"sounds": int(names.sum()), "others": int((~names).sum())}
    if min(counts.values()) < FEWEST:
        raise TrainingError(
            f"{counts['sounds']} names of sounds and {counts['others']} other texts are too few to learn from.",
            f"Give --data with {FEWEST} or more of either: sounds of the kind `sound`, and photographs.",
        )
    states = gists(retriever, texts, progress)
    teaches = np.where(names, names.cumsum(), (~names).cumsum()) % HELD_OUT > 0
    lessons = names[teaches]
    bias, *weights = logistic(states[teaches], lessons, RIDGE)
    bias -= math.log(CAUTION * lessons.sum() / (~lessons).sum())  # as if there were as many of either
    right = (bias + states @ np.asarray(weights) > 0) == names
    gate = retriever.coarse.sound_gate
    assert gate is not None
    with torch.no_grad():
        gate.linear.weight.copy_(torch.tensor([weights]))
        gate.linear.bias.fill_(bias)
    retriever.save_pretrained(request.checkpoint)
    told = {
        kind: round(100.0 * float(right[~teaches & chosen].mean()), 1)
        for kind, chosen in (("sounds", names), ("others", ~names))
    }
    return {"checkpoint": str(request.checkpoint), "texts": counts, "held_out_right_percent": told}


def with_sound_gate(retriever: Retriever) -> Retriever:
    """The retriever with the gate, untaught where it has none, and without confidence. Raises TrainingError."""
    return with_taught_part(retriever, 0, "teach its gate", sound_gate=1, confidence=ConfidenceConfig())


def drawn(request: Request) -> tuple[list[str], NDArray[np.bool_]]:
    """Up to `texts` of either kind, in an order drawn by the seed, and which of them name a sound [M]."""
    rng = np.random.default_rng([request.seed, 11])
    kinds = by_kind([item for folder in request.data for item in load_manifest(folder, request.split)])
    chosen = [
        (texts[place], kind == 0)
        for kind, texts in enumerate(kinds)
        for place in rng.permutation(len(texts))[: request.texts]
    ]
    mixed = [chosen[place] for place in rng.permutation(len(chosen))]
    return [text for text, _ in mixed], np.array([names for _, names in mixed], dtype=bool)


def by_kind(items: Sequence[Item]) -> tuple[list[str], list[str]]:
    """Each text that names a sound, and each that tells what is seen or said; none that does both."""
    heard: dict[str, str] = {}
    others: dict[str, str] = {}
    for item in items:
        if item.kind == "sound":
            heard |= _by_wording(item.texts)
        elif item.form == "still" or item.kind in {"visual", "speech"}:
            others |= _by_wording(item.texts)
        heard |= _by_wording(item.parts.get("heard", ()))
        for part in ("seen", "said", "together"):
            others |= _by_wording(item.parts.get(part, ()))
    for wording in heard.keys() & others.keys():
        del heard[wording], others[wording]
    return list(heard.values()), list(others.values())


def _by_wording(texts: Sequence[str]) -> dict[str, str]:
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
