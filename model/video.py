"""Video encoder, Eq. 1: E_V = FPN(stages(v_1..v_T)).

A backbone with several stages, Video Swin blocks over time, a feature pyramid over the stages, then per frame and level
a few pooled tokens with cell and time encodings (a cell belongs to one level). What a frame says as a whole is added to
its coarsest token. This module needs timm or torchvision; the query path never loads it.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import VideoConfig
from model.time_code import sinusoid
from model.transforms import normalise_frames
from model.video_blocks import ClipGlance, FeaturePyramid, FrameSummary, swin_block


class VideoTokens(NamedTuple):
    tokens: Tensor  # [C, V, d]
    levels: Tensor  # [V] pyramid level of each token, 0 the finest
    steps: Tensor  # [V] time step of each token
    glance: Tensor | None  # [C, d] the clip as a whole, of length 1; None where the network has no glance


class FrameTrunk(nn.Module):
    """A timm image backbone, frame by frame. The coarsest map is the trunk's final one (after its head convolution)."""

    def __init__(self, config: VideoConfig) -> None:
        super().__init__()
        import timm

        self.taps = config.taps
        self.net = timm.create_model(config.backbone, pretrained=False, num_classes=0)

    def forward(self, frames: Tensor) -> list[Tensor]:
        C, T = frames.shape[:2]
        frames = frames.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        final, taps = self.net.forward_intermediates(frames, indices=list(self.taps), norm=False)
        if getattr(self.net, "output_fmt", "NCHW") == "NHWC":  # timm's Swin: its taps are turned, its final map is not
            final = final.permute(0, 3, 1, 2)
        return [torch.unflatten(level, 0, (C, T)) for level in (*taps[:-1], final)]


class SwinTrunk(nn.Module):
    """torchvision's Video Swin, tapped at its four stages before the merges. It halves time once."""

    def __init__(self, config: VideoConfig) -> None:
        super().__init__()
        from torchvision.models import video as torchvision_video

        net = getattr(torchvision_video, config.backbone)(weights=None)
        self.patch_embed, self.pos_drop, self.features, self.norm = (
            net.patch_embed,
            net.pos_drop,
            net.features,
            net.norm,
        )
        self.taps = config.taps

    def forward(self, frames: Tensor) -> list[Tensor]:
        C, T, _, H, W = frames.shape
        x = self.pos_drop(self.patch_embed(frames.transpose(1, 2)))  # [C, T/2, H/4, W/4, channels]
        maps = []
        for index, stage in enumerate(self.features):
            x = stage(x)
            if index in self.taps:
                maps.append(self.norm(x) if index == self.taps[-1] else x)
        return [level.permute(0, 1, 4, 2, 3) for level in maps]


class VideoEncoder(nn.Module):
    """Frames to video tokens [C, V, d]; V = time steps x cells, equal for all clips of equally many frames."""

    def __init__(self, config: VideoConfig, width: int, wide: int = 0, glance: int = 0) -> None:
        super().__init__()
        self.config = config
        swin = config.backbone.startswith("swin3d")
        self.trunk: SwinTrunk | FrameTrunk = SwinTrunk(config) if swin else FrameTrunk(config)
        self.laterals = nn.ModuleList(
            nn.Sequential(nn.Linear(channels, width), nn.LayerNorm(width)) for channels in config.channels
        )
        self.blocks = nn.ModuleList(swin_block(config, width, index) for index in range(config.swin_blocks))
        self.pyramid = FeaturePyramid(len(config.channels), width)
        self.summary = FrameSummary(config.channels, wide, width) if wide else None
        self.glance = ClipGlance(config.channels, glance, width) if glance else None
        cells = sum(rows * columns for rows, columns in config.grids)
        self.cell_code = nn.Parameter(torch.randn(cells, width) * 0.02)
        self.time_code = nn.Linear(width, width, bias=False)
        nn.init.zeros_(self.time_code.weight)
        self.norm = nn.LayerNorm(width)

    def trunk_features(self, frames: Tensor) -> list[Tensor]:
        """uint8 [C, T, 3, S, S] to a pooled map a level, [C, T', channels, size, size]: what a frozen trunk gives."""
        C, T = frames.shape[:2]
        pixels = normalise_frames(frames.flatten(0, 1), self.config.mean, self.config.std).view(frames.shape)
        maps = []
        for level, size in zip(self.trunk(pixels), self.config.map_sizes, strict=True):
            pooled = F.adaptive_avg_pool2d(level.flatten(0, 1), size)
            maps.append(torch.unflatten(pooled, 0, level.shape[:2]))
        return maps

    def keep(self, frames: Tensor) -> list[Tensor]:
        """What training keeps of frames and starts from: the maps, unless last stages learn (`freeze_frames`)."""
        return self.trunk_features(frames)

    def finish(self, kept: list[Tensor]) -> list[Tensor]:
        """The maps of `trunk_features` from what `keep` gave."""
        return kept

    def forward(self, maps: list[Tensor]) -> VideoTokens:
        """Maps of `trunk_features` to tokens. A token's place in time is its step's share of the clip, in [0, 1]."""
        C, T = maps[0].shape[:2]
        grids = [lateral(level.permute(0, 1, 3, 4, 2)) for lateral, level in zip(self.laterals, maps, strict=True)]
        for block in self.blocks:  # [C, T, s, s, d]: time is mixed on the coarsest map and carried down by the pyramid
            grids[-1] = block(grids[-1])
        levels = self.pyramid([grid.flatten(0, 1).permute(0, 3, 1, 2) for grid in grids])  # Eq. 1
        pooled = [
            torch.unflatten(F.adaptive_avg_pool2d(level, cells).flatten(2).transpose(1, 2), 0, (C, T))
            for level, cells in zip(levels, self.config.grids, strict=True)
        ]
        if self.summary is not None:
            pooled[-1] = pooled[-1] + self.summary(maps).unsqueeze(2)
        tokens = torch.cat(pooled, dim=2) + self.cell_code  # [C, T, cells, d]
        places = (torch.arange(T, device=tokens.device) + 0.5) / T
        tokens = tokens + self.time_code(sinusoid(places, tokens.shape[-1])).unsqueeze(1)
        glance = None if self.glance is None else self.glance(maps)
        return VideoTokens(self.norm(tokens).flatten(1, 2), *self.layout(T, tokens.device), glance)

    def layout(self, steps: int, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
        """Levels [V] and time steps [V] of the tokens of a clip with `steps` time steps."""
        cells = [rows * columns for rows, columns in self.config.grids]
        of_step = torch.repeat_interleave(torch.arange(len(cells)), torch.tensor(cells)).to(device)
        return of_step.repeat(steps), torch.arange(steps, device=device).repeat_interleave(len(of_step))
