"""Which examples make up which step: seeded, homogeneous, and resumable from a few numbers.

The order is a function of the seed, the step and each source's place in its epoch. Nothing else is drawn from, so that
a run that was stopped and resumed sees what an uninterrupted one would have seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Draw:
    """One step's examples: which source, in which of its epochs, which of its examples."""

    step: int
    source: int
    epoch: int
    rows: tuple[int, ...]


class BatchSampler:
    """Draws one batch of one source after the other, for ever.

    With several processes (`world`), each takes its own part of a batch `world` times as large; all move together.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        batch_sizes: Sequence[int],
        weights: Sequence[float],
        seed: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        if not sizes or min(sizes) < 1:
            raise ValueError("every source needs an example")
        self.sizes = list(sizes)
        self.batch_sizes = [min(batch * world, size) for batch, size in zip(batch_sizes, sizes, strict=True)]
        total = sum(weights)
        self.weights = [weight / total for weight in weights]
        self.seed, self.rank, self.world = seed, rank, world
        self.step = 0
        self.places = [(0, 0) for _ in sizes]  # (epoch, position) of each source

    def next(self) -> Draw:
        """The next step's examples. What does not fill a batch at an epoch's end is left to the next shuffle."""
        source = int(np.random.default_rng([self.seed, 1, self.step]).choice(len(self.sizes), p=self.weights))
        epoch, position = self.places[source]
        batch = self.batch_sizes[source]
        if position + batch > self.sizes[source]:
            epoch, position = epoch + 1, 0
        order = np.random.default_rng([self.seed, 2, source, epoch]).permutation(self.sizes[source])
        rows = order[position : position + batch][self.rank :: self.world]
        draw = Draw(self.step, source, epoch, tuple(rows.tolist()))
        self.places[source] = (epoch, position + batch)
        self.step += 1
        return draw

    def steps_per_epoch(self) -> int:
        """Steps in which as many examples are drawn as there are, whatever the weights."""
        drawn = sum(weight * batch for weight, batch in zip(self.weights, self.batch_sizes, strict=True))
        return max(round(sum(self.sizes) / drawn), 1)

    def state(self) -> dict[str, Any]:
        """What `restore` needs to go on, ready for JSON."""
        return {
            "step": self.step,
            "places": [list(place) for place in self.places],
            "seed": self.seed,
            "sizes": self.sizes,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken. Raises ValueError when it belongs to other data."""
        if state["sizes"] != self.sizes or state["seed"] != self.seed:
            raise ValueError(
                f"the state is of sources with {state['sizes']} examples, not {self.sizes}, or of another seed"
            )
        self.step = int(state["step"])
        self.places = [(int(epoch), int(position)) for epoch, position in state["places"]]
