"""Do things that are said to be likely happen as often? Expected calibration error, and the diagram that shows it."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

BINS = 10


def binned(chance: NDArray[np.float64], truth: NDArray[np.bool_]) -> list[tuple[float, float, int]]:
    """Mean chance, share that came true and count of each tenth of the range from 0 to 1 that holds anything."""
    places = np.minimum((chance * BINS).astype(int), BINS - 1)
    inside = [places == place for place in range(BINS)]
    return [(float(chance[of].mean()), float(truth[of].mean()), int(of.sum())) for of in inside if of.any()]


def calibration_error(chance: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    """Expected calibration error (Guo et al. 2017): how far chance and share are apart, by count; 0 to 1."""
    return sum(count * abs(said - came) for said, came, count in binned(chance, truth)) / max(len(chance), 1)


def draw_reliability(chance: NDArray[np.float64], truth: NDArray[np.bool_], path: Path) -> None:
    """The reliability diagram as a picture; the format follows the suffix."""
    from matplotlib.figure import Figure

    found = binned(chance, truth)
    figure = Figure(figsize=(5, 4.6), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.7", linestyle="--", label="as said")
    axes.plot([said for said, _, _ in found], [came for _, came, _ in found], marker="o", label="measured")
    for said, came, count in found:
        axes.annotate(str(count), (said, came), textcoords="offset points", xytext=(6, -10), fontsize=8)
    axes.set(xlabel="chance that a first result is right", ylabel="share that is right", xlim=(0, 1), ylim=(0, 1))
    axes.set_title(f"{len(chance)} results, calibration error {calibration_error(chance, truth):.3f}")
    axes.legend(loc="upper left")
    figure.savefig(path, dpi=110)
