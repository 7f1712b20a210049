"""The mean of a run's last weights, which generalises better than any of them: what is validated and published."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from model.training.options import TrainingError


class WeightAverage:
    """Exponential moving average of the moving weights: `decay` of the old and 1 - `decay` of the new each step.

    With `decay` 0 it is the newest weights themselves and costs nothing.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], decay: float) -> None:
        self.parameters, self.decay = parameters, decay
        self.means = {name: value.detach().clone() for name, value in parameters.items()} if decay else {}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after `step` steps; early on the mean forgets faster, for it began with the start."""
        decay = min(self.decay, step / (step + 4))
        for name, mean in self.means.items():
            mean.lerp_(self.parameters[name].detach(), 1.0 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within it the network has the averaged weights."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def restore(self, saved: Mapping[str, Tensor]) -> None:
        """Go on from saved means. Raises TrainingError when the run was saved with another choice of weights."""
        if saved.keys() != self.means.keys():
            raise TrainingError("the saved run averaged other weights.", "Resume it with the same --average.")
        for name, mean in self.means.items():
            mean.copy_(saved[name])

    @torch.no_grad()
    def _swap(self) -> None:
        for name, mean in self.means.items():
            parameter = self.parameters[name]
            newest = parameter.detach().clone()
            parameter.copy_(mean)
            mean.copy_(newest)
