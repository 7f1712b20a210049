"""The mechanisms of the paper and our own, and how a fresh network is built without one of them.

What takes a mechanism's place keeps shapes and masks and adds no weight, so that nothing but the mechanism is missing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch.nn.functional as F
from torch import Tensor, nn

from model.audio_blocks import length_mask
from model.retriever import Retriever


@dataclass(frozen=True)
class Mechanism:
    """A mechanism, what it is for (a benchmark's name), and its removal from a network."""

    name: str
    equation: str
    benchmark: str
    remove: Callable[[Retriever], None]


class Narrowed(nn.Module):
    """A span gate that only knows frames, not thirds or the whole clip."""

    def __init__(self, span: nn.Module, levels: int) -> None:
        super().__init__()
        self.span, self.levels = span, levels

    def forward(self, tokens: Tensor) -> Tensor:
        frames: Tensor = self.span(tokens)[..., : self.levels]
        return F.pad(frames, (0, 2 * self.levels), value=-1e4)


class Even(nn.Module):
    """A span gate that treats all pyramid levels and temporal scales alike, whatever is asked."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens.new_zeros(*tokens.shape[:-1], self.groups)


class NeverInOrder(nn.Module):
    """An order gate that is shut: attention alone says where words are heard."""

    def forward(self, pooled: Tensor) -> Tensor:
        return pooled.new_full((*pooled.shape[:-1], 1), -1e4)


class Unchanged(nn.Module):
    """Instead of the temporal graph network: the nodes as they are."""

    def forward(self, nodes: Tensor, _mask: Tensor) -> Tensor:
        return nodes


class Separate(nn.Module):
    """Instead of the pyramid: every level by itself, smoothed as before, with nothing from above."""

    def __init__(self, smooth: nn.ModuleList) -> None:
        super().__init__()
        self.smooth = smooth

    def forward(self, laterals: list[Tensor]) -> list[Tensor]:
        return [level + smooth(level) for level, smooth in zip(laterals, self.smooth, strict=True)]


def _one_scale(retriever: Retriever) -> None:
    block = retriever.fusion.video_text
    block.span = Narrowed(block.span, block.levels)  # type: ignore[assignment]


def _even_levels(retriever: Retriever) -> None:
    block = retriever.fusion.video_text
    block.span = Even(block.groups)  # type: ignore[assignment]


def _softmax(retriever: Retriever) -> None:
    block = retriever.fusion.audio_text

    def threshold(cosine: Tensor, audio_mask: Tensor) -> Tensor:
        scores = (block.scale * cosine).masked_fill(~audio_mask[None, :, None, :], -1e4)
        return scores.softmax(dim=-1) * audio_mask[None, :, None, :]

    block.threshold = threshold  # type: ignore[method-assign]


def _no_alignment(retriever: Retriever) -> None:
    retriever.fusion.audio_text.order = NeverInOrder()  # type: ignore[assignment]


def _no_graph(retriever: Retriever) -> None:
    retriever.text.graph = Unchanged()  # type: ignore[assignment]


def _no_recurrence(retriever: Retriever) -> None:
    def recurrent(tokens: Tensor, lengths: Tensor) -> Tensor:
        return tokens * length_mask(lengths, tokens.shape[1]).unsqueeze(-1)

    retriever.audio.recurrent = recurrent  # type: ignore[method-assign]


def _no_pyramid(retriever: Retriever) -> None:
    retriever.video.pyramid = Separate(retriever.video.pyramid.smooth)  # type: ignore[assignment]


def _no_summary(retriever: Retriever) -> None:
    retriever.video.summary = None


def _no_late_sum(retriever: Retriever) -> None:
    retriever.late = None


MECHANISMS: Final = {
    mechanism.name: mechanism
    for mechanism in (
        Mechanism("multi-scale attention", "Eqs 3-5", "scenes", _one_scale),
        Mechanism("level gate", "Eqs 3-5", "photographs", _even_levels),
        Mechanism("feature pyramid", "Eq. 1", "photographs", _no_pyramid),
        Mechanism("temporal graph network", "Eqs 2, 10", "order", _no_graph),
        Mechanism("LSTM", "Eqs 7, 8", "noise", _no_recurrence),
        Mechanism("dynamic time warping", "Eq. 13", "speech", _no_alignment),
        Mechanism("threshold", "Eq. 11", "noise", _softmax),
        Mechanism("frame summary", "ours", "photographs", _no_summary),
        Mechanism("late sum with the coarse vectors", "ours", "photographs", _no_late_sum),
    )
}
