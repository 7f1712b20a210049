"""What part of a pair's score something beside the fusion has, by the query."""

import math

import torch
from torch import Tensor, nn


class QueryShare(nn.Module):
    """A share s in (0, 1) by the query, `start` for all at first.

    It is set on held-out pairs (the recipe's stage `weigh`): training pairs are known by heart, so that there the
    fusion needs no help.
    """

    def __init__(self, width: int, start: float) -> None:
        super().__init__()
        self.share = nn.Linear(width, 1, bias=False)
        nn.init.zeros_(self.share.weight)
        self.offset = nn.Parameter(torch.tensor(math.log(start / (1.0 - start))))

    def forward(self, pooled: Tensor) -> Tensor:
        """s [B, 1] of queries t [B, d]."""
        return torch.sigmoid(self.share(pooled.to(self.offset.dtype)) + self.offset)
