"""What the audio encoder is built of: the patch stem, the transformer block, and its kind that sees time alone."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import AudioConfig

_REACH = 15  # states, 40 ms each, that a temporal block's convolution spans: two or three syllables


class PatchStem(nn.Module):
    """Log-mel [C, frames, mel] to patches [C, frames / 4, rows, width]: strided convolutions, then bands to rows."""

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        channels = config.stem_channels
        self.rows = config.frequency_rows
        self.first = nn.Conv2d(1, channels, 3, stride=2, padding=1)
        self.second = nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1)
        band = config.mel_bins // 4 // self.rows
        self.project = nn.Linear(2 * channels * band, config.width)
        self.row_code = nn.Parameter(torch.randn(self.rows, config.width) * 0.02)

    def forward(self, mel: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        C, frames, mel_bins = mel.shape
        x = mel.unsqueeze(1)
        for convolution in (self.first, self.second):
            x = F.gelu(convolution(x))
            lengths = (lengths + 1) // 2
            x = x * length_mask(lengths, x.shape[2])[:, None, :, None]  # what padding would leak through the kernel
        x = x.permute(0, 2, 1, 3)[..., : mel_bins // 4 // self.rows * self.rows]
        x = torch.unflatten(x, 3, (self.rows, -1)).transpose(2, 3).flatten(3)  # [C, frames / 4, rows, channels * band]
        return self.project(x) + self.row_code, lengths


class TransformerBlock(nn.Module):
    """Pre-norm self-attention and MLP with a key mask."""

    def __init__(self, width: int, heads: int, mlp_ratio: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, mlp_ratio * width), nn.GELU(), nn.Linear(mlp_ratio * width, width))

    def forward(self, x: Tensor, keys: Tensor) -> Tensor:
        C, S, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        # a row with nothing valid attends everywhere; its output is masked later
        safe = keys | ~keys.any(dim=1, keepdim=True)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=safe[:, None, None, :])
        x = x + self.out(attended.transpose(1, 2).flatten(2))
        x = x + self.mlp(self.norm2(x))
        return x


class TemporalBlock(nn.Module):
    """A convolution over neighbours in time, then self-attention and MLP, for states [C, S, width] (after Gulati et al.
    2020). It starts as the identity, so that a trained encoder can be deepened without a loss.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.along = nn.Conv1d(width, width, _REACH, padding=_REACH // 2, groups=width)
        self.mix = nn.Linear(width, width)
        self.block = TransformerBlock(width, heads)
        for last in (self.mix, self.block.out, self.block.mlp[-1]):
            nn.init.zeros_(last.weight)  # type: ignore[arg-type]
            nn.init.zeros_(last.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        present = valid.unsqueeze(-1)
        normed = self.norm(x) * present  # what padding would leak through the kernel
        x = x + self.mix(F.gelu(self.along(normed.transpose(1, 2)).transpose(1, 2)))
        y: Tensor = self.block(x, valid) * present
        return y


def length_mask(lengths: Tensor, size: int) -> Tensor:
    """Lengths [C] to a boolean mask [C, size], true where valid."""
    return torch.arange(size, device=lengths.device) < lengths.unsqueeze(1)
