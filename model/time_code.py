"""Time encodings shared by the encoders."""

import math

import torch
from torch import Tensor


def sinusoid(places: Tensor, width: int) -> Tensor:
    """Places [...] in [0, 1] to codes [..., width]: sines and cosines from half a wave to 64 waves over the whole."""
    frequencies = math.pi * torch.logspace(0, math.log10(128), width // 2, device=places.device)
    angles = places.unsqueeze(-1) * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
