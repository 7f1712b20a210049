"""Confidence from held-out pairs: what a score is worth, measured on queries with and without an answer.

Each query is asked twice: of the gallery as it is, and of the gallery without the items that answer it. The second is a
query about nothing in the library. All queries together set evidence and bands. How good these are, two halves drawn
by the seed say: what one sets is measured on the other, so that each query is judged by bands that do not know it.
`low` is where the two mistakes are equally likely: to call a right answer none, and to offer an answer to a query whose
answer is gone; but it refuses at most one right answer in eleven. `medium` and `high` are where first results are right
often enough.
"""

import dataclasses
from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model import checkpoint
from model.cachedir import cache_dir
from model.confidence import BANDS, by_chance, evidence, unit, usual_score, weigh
from model.config import ConfidenceConfig
from model.data.examples import Failure
from model.data.manifest import load_manifest
from model.evaluation.evaluate import EvaluationError, QueryScores, score_queries
from model.evaluation.gallery import encode_gallery
from model.evaluation.logistic import logistic
from model.evaluation.queries import Query, gather_queries
from model.evaluation.reliability import calibration_error, draw_reliability
from model.memory import keep_freed_memory
from model.progress import Progress, silent
from model.retriever import Retriever

MEDIUM_RIGHT, HIGH_RIGHT = 0.6, 0.85
REFUSED = 1 / 11  # of right answers, at most
FEWEST = 10  # queries that set confidence and say how good it is: less is noise
SCORED = 100  # best items whose median counts: about as many as a search scores
RIDGE = 3.0  # of the map to usual scores, in queries

PLOTS = (".png", ".svg")

Scores = NDArray[np.float64]
Truth = NDArray[np.bool_]


@dataclasses.dataclass(frozen=True, eq=False)
class Outcomes:
    """What Q queries found."""

    queries: Scores  # [Q, d] their vectors
    median: Scores  # [Q] of the best hundred
    scored: Scores  # [Q] how many these are
    score: Scores  # [Q] of the first result
    right: Truth  # [Q] whether it is
    absent: Scores  # [Q] of the first result once the answers are taken out
    absent_median: Scores  # [Q] of the best hundred then
    absent_scored: Scores  # [Q] how many these are

    def joined(self, other: "Outcomes") -> "Outcomes":
        names = [field.name for field in dataclasses.fields(self)]
        return Outcomes(*(np.concatenate([getattr(self, name), getattr(other, name)]) for name in names))

    def of(self, rows: NDArray[np.int64]) -> "Outcomes":
        return Outcomes(*(getattr(self, field.name)[rows] for field in dataclasses.fields(self)))

    def weighed(self, config: ConfidenceConfig) -> tuple[Scores, Scores]:
        """The evidence for the first results and for those without the answers, each [Q]."""
        chance, without = self.chance(config)
        return weigh(config, self.score, chance), weigh(config, self.absent, without)

    def chance(self, config: ConfidenceConfig) -> tuple[Scores, Scores]:
        """What each query scores by chance, with the answers in the gallery and without them, each [Q]."""
        usual = usual_score(config, self.queries)
        return by_chance(usual, self.median, self.scored), by_chance(usual, self.absent_median, self.absent_scored)


def calibrate(
    folder: Path,
    data: Sequence[Path],
    split: str,
    queries: int,
    seed: int,
    plot: Path | None = None,
    nothing: Path | None = None,
    progress: Progress = silent,
    *,
    gate_temperature: float | None = None,
) -> dict[str, Any]:
    """Choose evidence and bands of the checkpoint in `folder`, write them into its config.json, and say what they do.

    With `gate_temperature` its gates have that from now on (`RetrieverConfig`), and as they were where it is None.
    `nothing` is a file of queries, one a line, about nothing in the first of `data`: they set nothing and are counted.
    What cannot be read is left out and listed in `failed`. Raises ManifestError, or EvaluationError when the data give
    too few queries, or `nothing` or `plot` cannot be used: then nothing is written.
    """
    texts = _lines(nothing) if nothing is not None else []
    if plot is not None:
        _check_plot(plot)
    for path in data:  # what is wrong with any of them is said before the first is encoded
        load_manifest(path, split)
    keep_freed_memory()
    retriever = Retriever.from_pretrained(folder)
    if gate_temperature is not None:
        retriever.temper(gate_temperature)
    failed: list[Failure] = []
    parts = (outcomes(retriever, path, split, queries, seed, progress, failed) for path in data)
    found = reduce(Outcomes.joined, parts)
    _check_enough(found, failed)
    order = np.random.default_rng(seed).permutation(len(found.score))
    halves = found.of(order[: len(order) // 2]), found.of(order[len(order) // 2 :])
    measured = report([(fit(one), other) for one, other in (halves, halves[::-1])], plot)
    bands = fit(found)
    tempered = retriever.config.gate_temperature
    told = {"bands": {name: getattr(bands, name) for name in BANDS}, "gate_temperature": tempered, **measured}
    if nothing is not None:
        values = nothing_found(retriever, bands, data[0], split, texts, progress)
        told |= {"nothing_queries": len(texts), "nothing_called_none_percent": _percent(values < bands.low)}
    config, digests = checkpoint.read_config(folder)
    checkpoint.write_config(folder, dataclasses.replace(config, confidence=bands, gate_temperature=tempered), digests)
    return told | {"failed": [dataclasses.asdict(failure) for failure in failed]}


def _check_enough(found: Outcomes, failed: Sequence[Failure]) -> None:
    if len(found.score) < FEWEST:
        raise EvaluationError(
            f"only {len(found.score)} queries have an answer that can be read: too few to set confidence by.",
            f"Give --data with {FEWEST} or more held-out queries."
            + "".join(f" {failure.file}: {failure.message}" for failure in failed[:1]),
        )


def _lines(path: Path) -> list[str]:
    """The queries of a file. Raises EvaluationError when there is none, or it is no text."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError as err:
        raise EvaluationError(f"{path} is no UTF-8 text: {err}.", "Save it as UTF-8.") from err
    if not lines:
        raise EvaluationError(f"{path} holds no query.", "Write one a line.")
    return lines


def _check_plot(path: Path) -> None:
    if path.suffix.lower() not in PLOTS or not path.parent.is_dir():
        raise EvaluationError(
            f"no plot can be written to {path}.", f"Name a {' or '.join(PLOTS)} in a folder that is there."
        )


def outcomes(
    retriever: Retriever, data: Path, split: str, most: int, seed: int, progress: Progress, failed: list[Failure]
) -> Outcomes:
    """Ask up to `most` queries of one folder, drawn by the seed. Those whose answers are in `failed` are not asked."""
    items = load_manifest(data, split)
    asked: list[Query] = gather_queries(items)
    if not asked:
        raise EvaluationError(f"no item of the split '{split}' of {data} has a text.", "Choose another split.")
    chosen = np.random.default_rng(seed).permutation(len(asked))[:most]
    asked = [asked[place] for place in sorted(chosen)]
    encoded = encode_gallery(items, retriever, cache_dir("evaluation"), progress)
    failed += encoded.failures
    shown = frozenset(encoded.item_of.tolist())
    asked = [query for query in asked if query.relevant & shown]
    everything = [np.arange(len(encoded.clips)) for _ in asked]
    by_clip = score_queries(retriever, asked, encoded, everything, progress)
    found = []
    for row, (query, clip_scores) in enumerate(zip(asked, by_clip, strict=True)):
        ranked, means = ranking(clip_scores, encoded.item_of)
        best, without = means[:SCORED], means[~np.isin(ranked, list(query.relevant))][:SCORED]
        if len(without):
            found.append(
                (row, np.median(best), len(best), best[0], ranked[0] in query.relevant)
                + (without[0], np.median(without), len(without))
            )
    rows, median, scored, score, right, *absent = np.asarray(found, np.float64).reshape(-1, 8).T
    texts = [asked[int(row)].text for row in rows] or [""]  # where none has an answer, no row of the right width
    vectors = retriever.encode_text(texts).pooled.double().numpy()[: len(rows)]
    return Outcomes(vectors, median, scored, score, right.astype(bool), *absent)


def ranking(scores: QueryScores, item_of: NDArray[np.int64]) -> tuple[NDArray[np.int64], Scores]:
    """The items as a search would rank them, best first, and the mean of each one's best clip.

    By one query's scores of C clips and the items that these belong to, [C].
    """
    order = np.argsort(-scores.fused, kind="stable")
    _, firsts = np.unique(item_of[order], return_index=True)
    best = order[np.sort(firsts)]
    return item_of[best], scores.mean[best].astype(np.float64)


def nothing_found(
    retriever: Retriever, bands: ConfidenceConfig, data: Path, split: str, texts: Sequence[str], progress: Progress
) -> Scores:
    """The evidence for the first result of each text [Q] among the items of `data`.

    Raises EvaluationError where none of them can be read.
    """
    items = load_manifest(data, split)
    encoded = encode_gallery(items, retriever, cache_dir("evaluation"), progress)
    if not encoded.clips:
        raise EvaluationError(f"nothing of {data} can be read.", "Name a folder first in which to look for nothing.")
    asked = [Query(text, (), frozenset(), frozenset()) for text in texts]
    by_clip = score_queries(retriever, asked, encoded, [np.arange(len(encoded.clips))] * len(asked), progress)
    vectors = retriever.encode_text(list(texts)).pooled.double().numpy()
    best = [ranking(scores, encoded.item_of)[1][:SCORED] for scores in by_clip]
    return np.asarray([evidence(bands, query, means)[0] for query, means in zip(vectors, best, strict=True)])


def fit(found: Outcomes) -> ConfidenceConfig:
    """Evidence and bands for these outcomes. Each band is at least as high as the one below it."""
    plain = dataclasses.replace(ConfidenceConfig(), usual=_usual(found))
    above = np.concatenate([found.score, found.absent]) - np.concatenate(found.chance(plain))
    truth = np.concatenate([found.right, np.zeros_like(found.right)])
    # The mean itself has no weight: it is higher among photographs than among films, where pictures have a part of it,
    # so that the weight which the queries for photographs would give it lets nonsense pass among films.
    bias, height = (round(float(value), 6) for value in logistic(above[:, None], truth))
    weights = dataclasses.replace(plain, bias=bias, score=0.0, above=max(height, 0.0))  # more is never less sure
    first, without = found.weighed(weights)
    high, medium, low = choose(first, found.right, without)
    return dataclasses.replace(weights, high=high, medium=medium, low=low)


def _usual(found: Outcomes) -> tuple[float, ...]:
    """Ridge regression of the galleries' median scores on the directions of the queries."""
    directions = unit(found.queries)
    middle, centre = float(found.median.mean()), directions.mean(axis=0)
    centred = directions - centre
    gram = centred.T @ centred + RIDGE * np.eye(centred.shape[1])
    weights = np.linalg.solve(gram, centred.T @ (found.median - middle))
    return tuple(round(float(value), 6) for value in (middle - centre @ weights, *weights))


def choose(first: Scores, right: Truth, absent: Scores) -> tuple[float, float, float]:
    """High, medium and low: bounds for the evidence of first results [Q], whether right, and without an answer [Q]."""
    low = _equal_error(first[right], absent)
    if right.any():
        low = min(low, float(np.quantile(first[right], REFUSED)))
    medium = max(low, _where_right(first, right, MEDIUM_RIGHT))
    high = max(medium, _where_right(first, right, HIGH_RIGHT))
    return round(high, 4), round(medium, 4), round(low, 4)


def _equal_error(right: Scores, absent: Scores) -> float:
    """The value below which as large a share of right answers lies as of the queries about nothing lies above."""
    if not len(right) or not len(absent):
        return float(absent.max(initial=0.0)) + 1e-3
    candidates = np.unique(np.concatenate([right, absent]))
    refused = np.searchsorted(np.sort(right), candidates) / len(right)
    offered = 1.0 - np.searchsorted(np.sort(absent), candidates) / len(absent)
    return float(candidates[np.abs(refused - offered).argmin()])


def _where_right(first: Scores, right: Truth, share: float) -> float:
    """The least value from which on at least `share` of first results are right; above all if there is none."""
    order = np.argsort(-first)
    precision = right[order].cumsum() / np.arange(1, len(order) + 1)
    enough = np.flatnonzero(precision >= share)
    return float(first[order][enough[-1]]) if len(enough) else float(first.max(initial=0.0)) + 1e-3


def report(parts: Sequence[tuple[ConfidenceConfig, Outcomes]], plot: Path | None = None) -> dict[str, Any]:
    """What bands do to queries that they were not set on, all parts together; `plot`: where a diagram goes."""
    weighed = [found.weighed(bands) for bands, found in parts]
    first, absent = (np.concatenate(values) for values in zip(*weighed, strict=True))
    right = np.concatenate([found.right for _, found in parts])
    bounds = {
        name: np.concatenate([np.full(len(found.score), getattr(bands, name)) for bands, found in parts])
        for name in BANDS
    }
    chance = 1.0 / (1.0 + np.exp(-np.concatenate([first, absent])))
    truth = np.concatenate([right, np.zeros_like(right)])
    if plot is not None:
        draw_reliability(chance, truth, plot)
    return {
        "queries": len(first),
        "right_percent": _percent(right),
        "absent_called_none_percent": _percent(absent < bounds["low"]),
        "right_called_none_percent": _percent((first < bounds["low"])[right]),
        "right_percent_of": {name: _percent(right[first >= bounds[name]]) for name in reversed(BANDS)},
        "calibration_error": round(calibration_error(chance, truth), 4),
    }


def _percent(found: Truth) -> float | None:
    return round(100 * float(found.mean()), 1) if len(found) else None
