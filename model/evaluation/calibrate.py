"""Confidence bands from held-out pairs: what a score is worth, measured on queries with and without an answer.

Each query is asked twice: of the gallery as it is, and of the gallery without the items that answer it. The second is a
query about nothing in the library. `low` is where the two mistakes are equally likely: to call a right answer none, and
to offer an answer to a query about nothing. `medium` and `high` are where first results are right often enough.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model import checkpoint
from model.cachedir import cache_dir
from model.config import ConfidenceConfig
from model.data.manifest import load_manifest
from model.evaluation.evaluate import EvaluationError, Progress, item_scores, score_queries, silent
from model.evaluation.gallery import encode_gallery
from model.evaluation.queries import Query, gather_queries
from model.retriever import Retriever

MEDIUM_RIGHT, HIGH_RIGHT = 0.6, 0.85

Scores = NDArray[np.float64]


@dataclasses.dataclass(frozen=True, eq=False)
class Outcomes:
    """First results of Q queries: score and whether right, [Q]; `absent` is the score without the answers, [Q]."""

    score: Scores
    right: NDArray[np.bool_]
    absent: Scores

    def joined(self, other: "Outcomes") -> "Outcomes":
        return Outcomes(
            np.concatenate([self.score, other.score]),
            np.concatenate([self.right, other.right]),
            np.concatenate([self.absent, other.absent]),
        )


def calibrate(
    folder: Path, data: Sequence[Path], split: str, queries: int, seed: int, progress: Progress = silent
) -> dict[str, Any]:
    """Choose the bands of the checkpoint in `folder`, write them into its config.json, and return what they do.

    Raises ManifestError or EvaluationError when the data give no queries.
    """
    retriever = Retriever.from_pretrained(folder)
    found = Outcomes(np.zeros(0), np.zeros(0, bool), np.zeros(0))
    for path in data:
        found = found.joined(outcomes(retriever, path, split, queries, seed, progress))
    bands = choose(found)
    config, digests = checkpoint.read_config(folder)
    checkpoint.write_config(folder, dataclasses.replace(config, confidence=bands), digests)
    return {
        "bands": dataclasses.asdict(bands),
        "queries": len(found.score),
        "right_percent": round(100 * float(found.right.mean()), 1),
        "absent_called_none_percent": round(100 * float((found.absent < bands.low).mean()), 1),
        "right_called_none_percent": round(100 * float((found.score[found.right] < bands.low).mean()), 1),
        "right_percent_of": {
            name: _share(found.right[found.score >= getattr(bands, name)]) for name in ("low", "medium", "high")
        },
    }


def outcomes(retriever: Retriever, data: Path, split: str, most: int, seed: int, progress: Progress) -> Outcomes:
    """Ask up to `most` queries of one folder, drawn by the seed."""
    items = load_manifest(data, split)
    asked: list[Query] = gather_queries(items)
    if not asked:
        raise EvaluationError(f"no item of the split '{split}' of {data} has a text.", "Choose another split.")
    chosen = np.random.default_rng(seed).permutation(len(asked))[:most]
    asked = [asked[place] for place in sorted(chosen)]
    encoded = encode_gallery(items, retriever, cache_dir("evaluation"), progress)
    everything = [np.arange(len(encoded.clips)) for _ in asked]
    by_clip = score_queries(retriever, asked, encoded, everything, progress)
    score, right, absent = np.zeros(len(asked)), np.zeros(len(asked), bool), np.zeros(len(asked))
    for row, (query, clip_scores) in enumerate(zip(asked, by_clip, strict=True)):
        by_item = item_scores(clip_scores, encoded.item_of, len(items))
        first = int(by_item.argmax())
        score[row], right[row] = by_item[first], first in query.relevant
        by_item[list(query.relevant)] = -np.inf
        absent[row] = by_item.max()
    kept = np.isfinite(absent)
    return Outcomes(score[kept], right[kept], absent[kept])


def choose(found: Outcomes) -> ConfidenceConfig:
    """The bands for these outcomes. Each is at least as high as the one below it."""
    low = _equal_error(found)
    medium = max(low, _where_right(found, MEDIUM_RIGHT))
    high = max(medium, _where_right(found, HIGH_RIGHT))
    return ConfidenceConfig(high=round(high, 4), medium=round(medium, 4), low=round(low, 4))


def _equal_error(found: Outcomes) -> float:
    """The score below which as large a share of right answers lies as of the queries about nothing lies above."""
    right = found.score[found.right]
    if not len(right) or not len(found.absent):
        return float(found.absent.max(initial=0.0)) + 1e-3
    candidates = np.unique(np.concatenate([right, found.absent]))
    refused = np.searchsorted(np.sort(right), candidates) / len(right)
    offered = 1.0 - np.searchsorted(np.sort(found.absent), candidates) / len(found.absent)
    return float(candidates[np.abs(refused - offered).argmin()])


def _where_right(found: Outcomes, share: float) -> float:
    """The least score from which on at least `share` of first results are right; above all if there is none."""
    order = np.argsort(-found.score)
    right = found.right[order].cumsum() / np.arange(1, len(order) + 1)
    enough = np.flatnonzero(right >= share)
    return float(found.score[order][enough[-1]]) if len(enough) else float(found.score.max(initial=0.0)) + 1e-3


def _share(right: NDArray[np.bool_]) -> float | None:
    return round(100 * float(right.mean()), 1) if len(right) else None


def run_calibrate(folder: Path, data: Sequence[Path], split: str, queries: int, seed: int) -> str:
    """`htav calibrate`: the document as one line of JSON."""
    return json.dumps(calibrate(folder, data, split, queries, seed))
