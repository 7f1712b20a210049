"""The frame trunk in two: first stages that do not learn, whose maps are kept, and last ones that do.

Most of a training step is the trunk; what cannot change is computed once. Of an EfficientNet the cut may lie between
any two stages; of another trunk there is only all or nothing.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.data.features import MapShape, trunk_digest
from model.transforms import normalise_frames
from model.video import FrameTrunk, VideoEncoder


class CutTrunk:
    """Maps of the stages below the cut, and every level's pooled map from these."""

    def __init__(self, encoder: VideoEncoder, trunk: FrameTrunk, frozen: int) -> None:
        net = trunk.net
        self.config, self.frozen = encoder.config, frozen
        self.start = nn.ModuleList([net.conv_stem, net.bn1, *net.blocks[:frozen]])
        self.moving = net.blocks[frozen:]
        self.head = nn.ModuleList([net.conv_head, net.bn2])
        self.tapped = [net.stage_ends[tap] for tap in trunk.taps[:-1]]  # the last level is what the head gives

    def below(self, frames: Tensor) -> list[Tensor]:
        """uint8 [C, T, 3, S, S] to what is kept: each tapped level's pooled map, then the map at the cut."""
        C, T = frames.shape[:2]
        x = normalise_frames(frames.flatten(0, 1), self.config.mean, self.config.std)
        x = x.contiguous(memory_format=torch.channels_last)
        kept: list[Tensor] = []
        for number, stage in enumerate(self.start, start=-1):  # the stem counts as 0, its convolution comes before
            x = stage(x)
            if number in self.tapped:
                kept.append(self._pooled(x, len(kept), C, T))
        return [*kept, torch.unflatten(x, 0, (C, T))]

    def above(self, kept: list[Tensor]) -> list[Tensor]:
        """What `below` gave to a pooled map a level, [C, T, channels, size, size]; gradients reach moving stages."""
        C, T = kept[0].shape[:2]
        x = kept[-1].flatten(0, 1).contiguous(memory_format=torch.channels_last)
        levels = kept[:-1]
        for number, stage in enumerate(self.moving, start=self.frozen + 1):
            x = stage(x)
            if number in self.tapped:
                levels.append(self._pooled(x, len(levels), C, T))
        for part in self.head:
            x = part(x)
        return [*levels, self._pooled(x, len(levels), C, T)]

    def _pooled(self, x: Tensor, level: int, C: int, T: int) -> Tensor:
        return torch.unflatten(F.adaptive_avg_pool2d(x, self.config.map_sizes[level]), 0, (C, T))

    def shapes(self) -> list[MapShape]:
        """Channels, rows and columns of what is kept of a frame."""
        size = self.config.image_size
        with torch.inference_mode():
            kept = self.below(torch.zeros(1, 1, 3, size, size, dtype=torch.uint8))
        return [(level.shape[2], level.shape[3], level.shape[4]) for level in kept]

    def digest(self) -> str:
        return trunk_digest(self.start, self.config, self.frozen)


def freeze_frames(encoder: VideoEncoder, frozen_stages: int) -> tuple[str, list[MapShape]] | None:
    """Make `encoder` keep what its first stages give; the digest and the map shapes of the store that keeps it.

    None where everything moves, or the trunk cannot be cut there: then a run computes from pixels.
    """
    config, trunk = encoder.config, encoder.trunk
    if all(not value.requires_grad for value in trunk.parameters()):
        shapes = [(channels, size, size) for channels, size in zip(config.channels, config.map_sizes, strict=True)]
        return trunk_digest(trunk, config), shapes
    if frozen_stages == 0 or not isinstance(trunk, FrameTrunk) or not hasattr(trunk.net, "conv_head"):
        return None
    cut = CutTrunk(encoder, trunk, frozen_stages)
    encoder.keep, encoder.finish = cut.below, cut.above  # type: ignore[method-assign]
    return cut.digest(), cut.shapes()
