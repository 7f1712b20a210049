"""Do the transcripts belong to their sounds? A check by a trained checkpoint, for want of ears.

Each drawn sound is aligned with its own transcript and with others of about the same length. A checkpoint that
has never heard such voices reads them badly, but where texts and sounds belong together their own fits better far
more often than one time in two.
"""

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from model.checkpoint import CheckpointError
from model.data.manifest import Item, load_manifest
from model.data.sources.common import SourceError
from model.letters import spelled
from model.media import read_audio
from model.retriever import Retriever
from model.spelling import FRAMES, Spelling

SEED = 0  # of the draw of sounds
OTHERS = 8  # transcripts that each sound is compared with


@dataclass(frozen=True)
class Match:
    """Median CTC losses in nats a character, and how often the own transcript fits better than another."""

    clips: int
    own: float
    other: float
    wins: float


@torch.inference_mode()
def listen(folder: Path, count: int, model: Path | None = None) -> Match:
    """Align up to `count` sounds of a gathered folder with their transcripts and with others'."""
    items = [item for item in load_manifest(folder) if item.spoken()]
    if len(items) < 2:
        raise SourceError(f"{folder} has no two transcripts to tell apart.", "Leave out --listen.")
    drawn = random.Random(SEED).sample(items, min(max(count, 2), len(items)))
    retriever = Retriever.embedded() if model is None else Retriever.from_pretrained(model)
    if retriever.spelling is None:
        raise CheckpointError(f"{retriever.name} cannot spell.", "Give a checkpoint of HTAV's present version.")
    ranked = sorted(drawn, key=lambda item: len(item.spoken() or ""))
    own, other = [], []
    for place, item in enumerate(ranked):
        first = max(0, min(place - OTHERS // 2, len(ranked) - OTHERS - 1))
        near = [item, *(each for each in ranked[first : first + OTHERS + 1] if each is not item)]
        losses = alignment_losses(retriever, retriever.spelling, item, [each.spoken() or "" for each in near])
        own.append(losses[0])
        other.append(losses[1:])
    wins = torch.stack([(mine < rest).float().mean() for mine, rest in zip(own, other, strict=True)])
    return Match(len(drawn), float(torch.stack(own).median()), float(torch.cat(other).median()), float(wins.mean()))


def alignment_losses(retriever: Retriever, spelling: Spelling, item: Item, transcripts: list[str]) -> Tensor:
    """The CTC loss a character of each transcript [transcripts] for one sound."""
    samples = read_audio(item.paths()[0]).astype(np.float32) / 32768
    sound = retriever.audio([torch.from_numpy(samples)])
    log_probabilities = spelling.letters(sound.tokens).transpose(0, 1)
    targets = [torch.tensor(spelled(transcript)) for transcript in transcripts]
    lengths = torch.tensor([max(1, len(target)) for target in targets])
    return (
        F.ctc_loss(
            log_probabilities.expand(-1, len(targets), -1),
            torch.nn.utils.rnn.pad_sequence(targets, batch_first=True),
            (FRAMES * sound.lengths).expand(len(targets)),
            lengths,
            reduction="none",
        )
        / lengths
    )
