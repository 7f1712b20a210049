"""Ranks and recalls, counted so that no tie and no lucky item flatters a figure."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
CUTS = (1, 5, 10)

Ranks = NDArray[np.float64]


def rank(scores: NDArray[np.floating[Any]], relevant: NDArray[np.bool_]) -> float:
    """Rank of the best relevant item among `scores` [C]: 1 + #greater + 0.5 #equal ones that are not relevant.

    NaN scores worst of all.
    """
    known = np.where(np.isnan(scores), -np.inf, scores)
    best = known[relevant].max()
    return 1.0 + float((known > best).sum()) + 0.5 * float(((known == best) & ~relevant).sum())


def summary(ranks: Ranks) -> dict[str, float]:
    """Recall at 1, 5 and 10 in percent, median rank, mean rank."""
    recalls = {f"r{cut}": 100.0 * float((ranks <= cut).mean()) for cut in CUTS}
    return {**recalls, "mdr": float(np.median(ranks)), "mnr": float(ranks.mean())}


def figures(
    ranks: Sequence[float], owners: Sequence[Sequence[int]], items: int, seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, Any]:
    """The figures of docs/evaluation.md, each with a 95 % interval by bootstrap over items.

    `owners` names, for each query, the items it was written for: they are what is drawn anew, since the texts of one
    item are not independent of each other. A query counts as often as its items were drawn, on average over them.
    """
    of_query = np.asarray(ranks, np.float64)
    weights = _weights(owners, items, seed, resamples)
    weights = weights[weights.sum(axis=1) > 0]
    drawn = {f"r{cut}": 100.0 * _mean(of_query <= cut, weights) for cut in CUTS}
    drawn["mdr"], drawn["mnr"] = _median(of_query, weights), _mean(of_query, weights)
    return {"queries": len(of_query)} | {
        name: {
            "value": round(value, 3),
            "ci95": [round(float(end), 3) for end in np.percentile(drawn[name], (2.5, 97.5))],
        }
        for name, value in summary(of_query).items()
    }


def share(
    right: Sequence[float], owners: Sequence[Sequence[int]], items: int, seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, Any]:
    """The mean of `right` [Q] in percent, with a 95 % interval by bootstrap over items as in `figures`."""
    values = np.asarray(right, np.float64)
    weights = _weights(owners, items, seed, resamples)
    drawn = 100.0 * _mean(values, weights[weights.sum(axis=1) > 0])
    ends = [round(float(end), 3) for end in np.percentile(drawn, (2.5, 97.5))]
    return {"value": round(100.0 * float(values.mean()), 3), "ci95": ends}


def _weights(owners: Sequence[Sequence[int]], items: int, seed: int, resamples: int) -> NDArray[np.float64]:
    """How much each query counts in each resample, [R, Q]."""
    taken = sorted({item for owner in owners for item in owner})
    place = {item: index for index, item in enumerate(taken)}
    rng = np.random.default_rng(seed)
    # Items without a query change nothing but how often the others are drawn.
    counts = rng.multinomial(items, np.full(items, 1.0 / items), size=resamples)[:, : len(taken)]
    columns = [counts[:, [place[item] for item in owner]].mean(axis=1) for owner in owners]
    return np.asarray(np.stack(columns, axis=1), np.float64)


def _mean(values: NDArray[Any], weights: NDArray[np.float64]) -> Ranks:
    """Weighted mean of values [Q] under each row of weights [R, Q]."""
    return np.asarray(weights @ values.astype(np.float64) / weights.sum(axis=1), np.float64)


def _median(values: Ranks, weights: NDArray[np.float64]) -> Ranks:
    """Weighted median of values [Q] under each row of weights [R, Q]; a middle between two values is their mean."""
    order = np.argsort(values, kind="stable")
    passed = np.cumsum(weights[:, order], axis=1)
    half = passed[:, -1:] / 2
    lower, upper = (passed < half).sum(axis=1), (passed <= half).sum(axis=1)
    last = len(values) - 1
    return np.asarray((values[order][np.minimum(lower, last)] + values[order][np.minimum(upper, last)]) / 2, np.float64)
