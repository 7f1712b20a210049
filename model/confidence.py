"""What a pair's scores are worth: evidence that a result answers its query, and the band that a user is shown.

The same cosine means much for one query and little for another: "a man" is found a little everywhere. So what counts is
how far the mean of a pair's cosines (`PairScores.mean`) stands above what the query has by chance. That is the median
of all that the search scored; where it scored little, what a linear map of the query vector expects counts too. All of
it is calibrated (`htav calibrate`) and kept in the checkpoint's config, where earlier ones weigh the mean itself, too;
numpy alone, for the query path.
"""

import numpy as np
from numpy.typing import NDArray

from model.config import ConfidenceConfig

BANDS = ("high", "medium", "low")
EXPECTED_WORTH = 10  # scored videos that the expectation counts as many as

Vector = NDArray[np.float64]


def usual_score(config: ConfidenceConfig, queries: NDArray[np.floating]) -> Vector:
    """What each of B queries [B, d] is expected to score by chance, [B]; 0 where that was not calibrated."""
    if not config.usual:
        return np.zeros(len(queries))
    weights = np.asarray(config.usual)
    usual: Vector = weights[0] + unit(queries) @ weights[1:]
    return usual


def by_chance(usual: Vector, median: Vector, scored: Vector) -> Vector:
    """What queries score by chance [B], from what is expected and the medians of so many scored videos, each [B]."""
    level: Vector = (scored * median + EXPECTED_WORTH * usual) / (scored + EXPECTED_WORTH)
    return level


def weigh(config: ConfidenceConfig, means: NDArray[np.floating], chance: Vector | float) -> Vector:
    """The evidence for means, given what the query has by chance: log-odds, once it is calibrated."""
    exact = np.asarray(means, np.float64)
    found: Vector = config.bias + config.score * exact + config.above * (exact - chance)
    return found


def evidence(config: ConfidenceConfig, query: NDArray[np.floating], means: NDArray[np.floating]) -> Vector:
    """The evidence [M] for one query's [d] means [M] of all videos that the search scored."""
    if not len(means):
        return np.zeros(0)
    median, scored = np.array([np.median(means)]), np.array([float(len(means))])
    return weigh(config, means, by_chance(usual_score(config, query[None]), median, scored))


def band(config: ConfidenceConfig, value: float) -> str:
    """high, medium, low or none."""
    return next((name for name in BANDS if value >= getattr(config, name)), "none")


def unit(vectors: NDArray[np.floating]) -> Vector:
    """Rows of length 1."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Vector = np.asarray(vectors, np.float64) / np.maximum(lengths, 1e-6)
    return scaled
