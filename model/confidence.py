"""What a fused score is worth: evidence that a result answers its query, and the band that a user is shown.

The same cosine means much for one query and little for another: "a man" is found a little everywhere. So a score counts
by itself and by how far it stands above what the query scores by chance, which a linear map of the query vector tells.
All of it is calibrated (`htav calibrate`) and kept in the checkpoint's config; numpy alone, for the query path.
"""

import numpy as np
from numpy.typing import NDArray

from model.config import ConfidenceConfig

BANDS = ("high", "medium", "low")

Vector = NDArray[np.float64]


def usual_score(config: ConfidenceConfig, queries: NDArray[np.floating]) -> Vector:
    """What each of B queries [B, d] scores by chance, [B]; 0 where that was not calibrated."""
    if not config.usual:
        return np.zeros(len(queries))
    weights = np.asarray(config.usual)
    usual: Vector = weights[0] + unit(queries) @ weights[1:]
    return usual


def evidence(config: ConfidenceConfig, query: NDArray[np.floating], scores: NDArray[np.floating]) -> Vector:
    """The evidence [M] for results with fused scores [M] of one query [d]: log-odds, once it is calibrated."""
    above = scores - usual_score(config, query[None])[0]
    found: Vector = config.bias + config.score * np.asarray(scores, np.float64) + config.above * above
    return found


def band(config: ConfidenceConfig, value: float) -> str:
    """high, medium, low or none."""
    return next((name for name in BANDS if value >= getattr(config, name)), "none")


def unit(vectors: NDArray[np.floating]) -> Vector:
    """Rows of length 1."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Vector = np.asarray(vectors, np.float64) / np.maximum(lengths, 1e-6)
    return scaled
