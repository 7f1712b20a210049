"""How the learning rate moves over a run, as a function of how much of the run is over.

A function of progress, not of a counter: a run limited by hours stretches it to the clock, and a resumed one needs no
state of a scheduler's own.
"""

import math
from dataclasses import dataclass

from torch.optim import Optimizer

WARM_UP = {"one-cycle": 0.25, "cosine": 0.05}
START, END = 0.04, 0.002


def factor(name: str, progress: float) -> float:
    """The share of the peak rate at `progress` in [0, 1]: up along a cosine, then down along one."""
    warm_up, progress = WARM_UP[name], min(max(progress, 0.0), 1.0)
    if progress < warm_up:
        return START + (1.0 - START) * 0.5 * (1.0 - math.cos(math.pi * progress / warm_up))
    return END + (1.0 - END) * 0.5 * (1.0 + math.cos(math.pi * (progress - warm_up) / (1.0 - warm_up)))


def set_rates(optimizer: Optimizer, name: str, progress: float) -> float:
    """Set every group's rate; returns the factor."""
    share = factor(name, progress)
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * share
    return share


@dataclass(frozen=True)
class Length:
    """When a run ends: after so many steps, so many seconds, or whichever comes first."""

    steps: int | None
    seconds: float | None

    def progress(self, step: int, elapsed_s: float) -> float:
        """The share of the run that is over."""
        by_steps = step / self.steps if self.steps else 0.0
        by_clock = elapsed_s / self.seconds if self.seconds else 0.0
        return max(by_steps, by_clock)
