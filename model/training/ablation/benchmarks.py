"""What each mechanism is for, as a small task: batches to train on, and held-out items to be found among.

A benchmark holds nothing but kept maps and states. Its items are put together by a seed, the same for every variant.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import torch
from torch import Tensor

from model.losses import encode_batch
from model.retriever import Retriever
from model.training.ablation.kept import Photograph, Sentence
from model.training.batch import TrainBatch
from model.training.wording import joined_in_order

SHOTS, SHOT_FRAMES = 3, 2  # photographs of a clip of the benchmark `scenes`, and frames of each
QUERIES, CLIPS = 16, 64  # scored together
GALLERY: Final = 250  # held-out items that a query is asked among


@dataclass(frozen=True, eq=False)
class Material:
    """Photographs and sentences of one split."""

    photographs: Sequence[Photograph]
    sentences: Sequence[Sentence]

    def part(self, chosen: slice) -> "Material":
        """Some of either."""
        return Material(self.photographs[chosen], self.sentences[chosen])


@dataclass(frozen=True)
class Benchmark:
    """A task: how C items become a batch, how many a step takes, and what counts as right."""

    name: str
    tells: str
    batch: Callable[[Material, Sequence[int], np.random.Generator], TrainBatch]
    size: int
    pairs: bool = False  # the clips come in pairs, and a query need only tell its own from the other
    spoken: bool = False  # of sentences, not of photographs


def _captioned(material: Material, rows: Sequence[int], rng: np.random.Generator) -> TrainBatch:
    shown = [material.photographs[row] for row in rows]
    texts = [_one(photograph, rng) for photograph in shown]
    return TrainBatch(texts, _own(len(rows)), video_features=_film([[photograph] for photograph in shown]))


def _scenes(material: Material, rows: Sequence[int], rng: np.random.Generator) -> TrainBatch:
    """Clips of three photographs, asked for one of them: every clip that shows it is right."""
    photographs = material.photographs
    held = [[row, *rng.integers(len(photographs), size=SHOTS - 1).tolist()] for row in rows]
    texts = [_one(photographs[row], rng) for row in rows]
    films = [[photographs[shot] for shot in rng.permutation(shots) for _ in range(SHOT_FRAMES)] for shots in held]
    shows = torch.tensor([[row in shots for shots in held] for row in rows])
    return TrainBatch(texts, shows, video_features=_film(films))


def _ordered(material: Material, rows: Sequence[int], rng: np.random.Generator) -> TrainBatch:
    """Pairs of clips that show two photographs in both orders, asked for in order."""
    films, texts = [], []
    for row in rows[: len(rows) // 2]:
        first, last = material.photographs[row], material.photographs[int(rng.integers(len(material.photographs)))]
        one, other = _one(first, rng), _one(last, rng)
        films += [[first, first, last, last], [last, last, first, first]]
        texts += [joined_in_order(one, other, rng), joined_in_order(other, one, rng)]
    return TrainBatch(texts, _own(len(films)), video_features=_film(films))


def _said(material: Material, rows: Sequence[int], _rng: np.random.Generator, *, in_noise: bool) -> TrainBatch:
    said = [material.sentences[row] for row in rows]
    states = [sentence.noisy if in_noise else sentence.clean for sentence in said]
    return TrainBatch([sentence.text for sentence in said], _own(len(rows)), waveforms=states)


def _one(photograph: Photograph, rng: np.random.Generator) -> str:
    return photograph.captions[int(rng.integers(len(photograph.captions)))]


def _own(size: int) -> Tensor:
    return torch.eye(size, dtype=torch.bool)


def _film(frames: Sequence[Sequence[Photograph]]) -> list[Tensor]:
    """Clips of equally many photographs as maps, a level [C, T, channels, rows, columns]."""
    levels = range(len(frames[0][0].maps))
    return [
        torch.stack([torch.stack([shot.maps[level] for shot in clip]) for clip in frames]).float() for level in levels
    ]


BENCHMARKS: Final = {
    benchmark.name: benchmark
    for benchmark in (
        Benchmark("photographs", "a caption finds its photograph", _captioned, 48),
        Benchmark("scenes", "a caption finds the clip that shows it among other scenes", _scenes, 24),
        Benchmark("order", '"first A, then B" tells A before B from B before A', _ordered, 24, pairs=True),
        Benchmark("speech", "a sentence finds its recording", partial(_said, in_noise=False), 32, spoken=True),
        Benchmark("noise", "a sentence finds its recording in noise", partial(_said, in_noise=True), 32, spoken=True),
    )
}


@torch.inference_mode()
def examine(benchmark: Benchmark, retriever: Retriever, material: Material, seed: int) -> list[float]:
    """For each held-out query 1 if it finds a right clip first in its gallery, or its own before the other of its pair.

    A tie with a wrong clip finds nothing; within a pair it is half right, as chance would be. Galleries are equal parts
    of at most `GALLERY` items: more items make the figure surer, not the task harder.
    """
    held = len(material.sentences if benchmark.spoken else material.photographs)
    found: list[float] = []
    ends = np.linspace(0, held, math.ceil(held / GALLERY) + 1).round().astype(int).tolist()
    for start, end in itertools.pairwise(ends):
        of_gallery = material.part(slice(start, end))
        batch = benchmark.batch(of_gallery, range(end - start), np.random.default_rng([seed, 7, start]))
        found += _found(benchmark, _scores(retriever, batch), batch.positives)
    return found


def _scores(retriever: Retriever, batch: TrainBatch) -> Tensor:
    """All texts of a batch with all of its clips."""
    clips = encode_batch(retriever, batch)[0]
    rows = []
    for start in range(0, len(batch.texts), QUERIES):
        text = retriever.text(batch.texts[start : start + QUERIES])
        parts = [
            retriever.pair_scores(text, clips.rows(slice(first, first + CLIPS))).fused
            for first in range(0, len(clips), CLIPS)
        ]
        rows.append(torch.cat(parts, dim=1))
    return torch.cat(rows)


def _found(benchmark: Benchmark, scores: Tensor, positives: Tensor) -> list[float]:
    if benchmark.pairs:
        own, other = scores.diagonal(), scores[torch.arange(len(scores)), torch.arange(len(scores)) ^ 1]
        right = (own > other).float() + 0.5 * (own == other).float()
    else:
        best = scores.masked_fill(~positives, float("-inf")).amax(dim=1)
        right = (best > scores.masked_fill(positives, float("-inf")).amax(dim=1)).float()
    return [float(one) for one in right]
