"""What the video encoder is made of beside its trunk: Video Swin blocks, the pyramid, a frame and a clip whole."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import VideoConfig
from model.wide import WideLayers, unit


class FeaturePyramid(nn.Module):
    """Top-down pathway with lateral connections (Lin et al. 2017), its 3x3 smoothing depthwise-separable."""

    def __init__(self, levels: int, width: int) -> None:
        super().__init__()
        self.smooth = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, width, 3, padding=1, groups=width), nn.Conv2d(width, width, 1))
            for _ in range(levels)
        )

    def forward(self, laterals: list[Tensor]) -> list[Tensor]:
        merged = [laterals[-1]]
        for lateral in reversed(laterals[:-1]):
            above = F.interpolate(merged[0], size=lateral.shape[-2:], mode="nearest")
            merged.insert(0, lateral + above)
        return [level + smooth(level) for level, smooth in zip(merged, self.smooth, strict=True)]


class FrameSummary(WideLayers):
    """A frame as a whole [C, T, d]: its maps of all levels averaged over places, then two wide layers.

    What the trunk knows of a photograph does not pass through one linear map a level (docs/training-log.md).
    """

    def __init__(self, channels: tuple[int, ...], hidden: int, width: int) -> None:
        super().__init__(sum(channels), hidden, width)
        self.norms = nn.ModuleList(nn.LayerNorm(count) for count in channels)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """From maps [C, T, channels, rows, columns], a level."""
        levels = [norm(level.mean(dim=(3, 4))) for norm, level in zip(self.norms, maps, strict=True)]
        return self.added(torch.cat(levels, dim=-1))


class ClipGlance(FrameSummary):
    """A clip as a whole, a unit vector [C, d]: its maps averaged over places and time, then two wide layers of its own.

    It is compared with a query as a whole, beside the tokens, and taught by itself (`htav train --loss glance=1`): it
    finds fewer photographs and errs otherwise, so the sum finds more (ADR 19).
    """

    def __init__(self, channels: tuple[int, ...], hidden: int, width: int) -> None:
        super().__init__(channels, hidden, width)
        nn.init.normal_(self.out.weight, std=hidden**-0.5)  # the query's are zero: untaught it adds nothing

    def forward(self, maps: list[Tensor]) -> Tensor:
        """From maps [C, T, channels, rows, columns], a level."""
        return unit(super().forward([level.mean(dim=1, keepdim=True) for level in maps]).squeeze(1))


def swin_block(config: VideoConfig, width: int, index: int) -> nn.Module:
    """One Video Swin block (Liu et al. 2022); every second one is shifted by half a window in time."""
    from torchvision.models.swin_transformer import SwinTransformerBlock
    from torchvision.models.video.swin_transformer import ShiftedWindowAttention3d

    window = list(config.swin_window)
    shift = [window[0] // 2, 0, 0] if index % 2 else [0, 0, 0]
    block: nn.Module = SwinTransformerBlock(
        width, config.swin_heads, window, shift, mlp_ratio=2.0, attn_layer=ShiftedWindowAttention3d
    )
    return block
