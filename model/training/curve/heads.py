"""The throw-away heads: two layers a side, and their loss."""

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.losses import info_nce

DROPOUT: Final = 0.3


class Side(nn.Module):
    """Two layers: inputs [B, inputs], standardised as the `examples` are, to unit vectors [B, width]."""

    def __init__(self, examples: Tensor, width: int) -> None:
        super().__init__()
        self.mean, self.std = examples.mean(dim=0), examples.std(dim=0).clamp(min=1e-4)
        inner = nn.Linear(examples.shape[1], width)
        self.layers = nn.Sequential(inner, nn.GELU(), nn.Dropout(DROPOUT), nn.Linear(width, width))

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(self.layers((x - self.mean) / self.std), dim=1)


class Heads(nn.Module):
    """A side for pictures and one for texts."""

    def __init__(self, pictures: Tensor, texts: Tensor, width: int) -> None:
        super().__init__()
        self.picture, self.text = Side(pictures, width), Side(texts, width)
        self.log_scale = nn.Parameter(torch.tensor(1 / 0.07).log())

    def loss(self, pictures: Tensor, texts: Tensor, positives: Tensor) -> Tensor:
        """InfoNCE both ways of a Batch."""
        scale = self.log_scale.exp().clamp(max=100.0)
        return info_nce(scale * self.text(texts) @ self.picture(pictures).T, positives)
