"""What the shortlist alone compares, added to the third part of the coarse vectors.

Scores use the other two parts, so this one is free to learn which clips the whole network would rank first
(`model.training.distil`). It sees what a mean over the clip has lost: the halves of the clip, and a query's events.
"""

import torch
from torch import Tensor, nn

from model.text import TextEncoding
from model.wide import NormedWideLayers, unit


class Listing(nn.Module):
    """Two wide layers for clips and two for queries; nothing is added until they are taught."""

    def __init__(self, width: int, gist_width: int, hidden: int) -> None:
        super().__init__()
        self.width = width
        self.clip = NormedWideLayers(4 * width, hidden, width)
        self.query = NormedWideLayers(3 * width + gist_width, hidden, width)

    @torch.no_grad()
    def forget(self) -> None:
        """Add nothing again: what was taught is of another network."""
        for layers in (self.clip, self.query):
            layers.out.weight.zero_()
            layers.out.bias.zero_()

    def clips(self, vectors: Tensor, halves: Tensor) -> Tensor:
        """Vectors [C, 3 d] of clips with halves [C, 4 d]; the third part stays of length 1, or 0 for an empty clip."""
        alone, both = vectors[:, : 2 * self.width], vectors[:, 2 * self.width :]
        added = self.clip(halves) * halves.any(dim=-1, keepdim=True)
        return torch.cat([alone, unit(both + added)], dim=-1)

    def queries(self, vectors: Tensor, told: Tensor) -> Tensor:
        """Vectors [B, 3 d] of queries of which this is `told`; the third part may have any length."""
        alone, both = vectors[:, : 2 * self.width], vectors[:, 2 * self.width :]
        return torch.cat([alone, both + self.query(told)], dim=-1)


def told(text: TextEncoding) -> Tensor:
    """[B, 3 d + hidden]: each query's vector and gist, then its first and its last event's vector, 0 where none."""
    nothing = text.pooled.new_zeros(2 * text.pooled.shape[1])
    events = [nothing if event is None else event.pooled[[0, -1]].flatten() for event in text.events]
    ordered = torch.stack(events or [nothing] * len(text.pooled))
    return torch.cat([text.pooled, text.gist, ordered], dim=-1)
