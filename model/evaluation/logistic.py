"""Logistic regression by Newton's method: few enough numbers that each step solves them all."""

import numpy as np
from numpy.typing import NDArray

STEPS = 50  # at most
NEAR = 1e-9
Numbers = NDArray[np.float64]


def logistic(features: Numbers, truth: NDArray[np.bool_], ridge: float = 1e-3) -> Numbers:
    """Bias and weights [1 + F] that tell the truth [M] by features [M, F]; `ridge` times half their square is added
    to the sum of the log losses."""
    design = np.column_stack([np.ones(len(features)), features])
    weights = np.zeros(design.shape[1])
    for _ in range(STEPS):
        chance = 1.0 / (1.0 + np.exp(-np.clip(design @ weights, -30, 30)))
        gradient = design.T @ (truth - chance) - ridge * weights
        curvature = (design * (chance * (1.0 - chance))[:, None]).T @ design + ridge * np.eye(len(weights))
        step = np.linalg.solve(curvature, gradient)
        weights = weights + step
        if abs(step).max() < NEAR:
            break
    return weights
