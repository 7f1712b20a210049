"""Two wide layers that are added to something trained: zero at the start, so that nothing changes until they learn."""

import torch.nn.functional as F
from torch import Tensor, nn


class WideLayers(nn.Module):
    """`inputs` numbers through `hidden` to `width`, with dropout: what large batches of photographs teach best."""

    def __init__(self, inputs: int, hidden: int, width: int, dropout: float = 0.3) -> None:
        super().__init__()
        self.wide = nn.Linear(inputs, hidden)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(hidden, width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def added(self, x: Tensor) -> Tensor:
        """[..., inputs] to [..., width]."""
        added: Tensor = self.out(self.dropout(F.gelu(self.wide(x))))
        return added


class NormedWideLayers(WideLayers):
    """The same over inputs whose sizes are not alike."""

    def __init__(self, inputs: int, hidden: int, width: int) -> None:
        super().__init__(inputs, hidden, width)
        self.norm = nn.LayerNorm(inputs)

    def forward(self, x: Tensor) -> Tensor:
        """[..., inputs] to [..., width]."""
        return self.added(self.norm(x))


def unit(x: Tensor) -> Tensor:
    """x / |x| along the last axis, exactly 0 for 0."""
    return F.normalize(x, dim=-1, eps=1e-6)
