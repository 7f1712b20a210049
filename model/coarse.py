"""Coarse vectors: one a modality and one for both, for the shortlist; and their share in a pair's score."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from model.clip_tokens import ClipTokens
from model.text import TextEncoding
from model.wide import WideLayers


class CoarseScores(NamedTuple):
    """Cosines of B queries with C clips, each [B, C]; 0 for a modality that a clip lacks."""

    both: Tensor  # gated by the query over what the clip has
    video: Tensor
    audio: Tensor


class Wanted(NamedTuple):
    """A query as the shortlist knows it."""

    vector: NDArray[np.float32]  # [3 d], gates multiplied in
    letters: str  # of the words that are said, without spaces


class Offered(NamedTuple):
    """C clips as the shortlist knows them."""

    vectors: NDArray[np.float32]  # [C, 3 d]
    readings: list[str]  # what is heard in each, letter by letter and without spaces


class CoarseEncoder(nn.Module):
    """One vector a modality and one for both, 3 d numbers a clip, so that the shortlist is one inner product."""

    def __init__(self, width: int, wide: int = 0, gist_width: int = 0) -> None:
        """`wide` is the hidden width of what is added to the query for pictures, `gist_width` RoBERTa's; 0 for none."""
        super().__init__()
        self.video_pool, self.audio_pool = AttentionPool(width), AttentionPool(width)
        self.fused = nn.Linear(2 * width, width, bias=False)
        with torch.no_grad():
            self.fused.weight.copy_(torch.cat([torch.eye(width), torch.eye(width)], dim=1))
        self.query = nn.Linear(width, 3 * width)
        with torch.no_grad():
            self.query.weight.copy_(torch.eye(width).repeat(3, 1))
            self.query.bias.zero_()
        self.widened = WideQuery(width, wide, width) if wide else None
        self.gist = WideQuery(gist_width, wide, width) if gist_width else None
        self.gate = nn.Linear(width, 3)
        nn.init.zeros_(self.gate.weight)
        nn.init.zeros_(self.gate.bias)
        self.logit_scale = nn.Parameter(torch.tensor(10.0).log())

    def clips(self, clips: ClipTokens) -> Tensor:
        """[C, 3 d]: video | audio | fused, each L2-normalised, zeros where the modality is missing."""
        video = self.video_pool(clips.video, clips.video_mask)
        audio = self.audio_pool(clips.audio, clips.audio_mask)
        fused = self.fused(torch.cat([video, audio], dim=-1))
        return torch.cat([_unit(video), _unit(audio), _unit(fused)], dim=-1)

    def queries(self, text: TextEncoding, modalities: tuple[str, ...] = ("video", "audio")) -> Tensor:
        """Queries to [B, 3 d] with the gates multiplied in; `modalities` picks the parts that count."""
        allowed = torch.tensor(
            ["video" in modalities, "audio" in modalities, set(modalities) >= {"video", "audio"}],
            device=text.pooled.device,
        )
        gates = self.gate(text.pooled).masked_fill(~allowed, float("-inf")).softmax(dim=-1)  # [B, 3]
        parts = self.parts(text)
        vectors: Tensor = (gates.unsqueeze(-1) * parts).flatten(-2)
        return vectors

    def parts(self, text: TextEncoding) -> Tensor:
        """Queries to what is compared with each part of a clip's vectors, [B, 3, d], L2-normalised."""
        seen, *others = self.query(text.pooled).unflatten(-1, (3, -1)).unbind(dim=1)
        if self.widened is not None:
            seen = seen + self.widened(text.pooled)
        if self.gist is not None:
            seen = seen + self.gist(text.gist)
        return _unit(torch.stack([seen, *others], dim=1))

    def compare(self, text: TextEncoding, clips: ClipTokens) -> CoarseScores:
        """B queries with C clips, each modality by itself and both; never in half precision."""
        dtype = self.logit_scale.dtype
        text = replace(text, pooled=text.pooled.to(dtype), gist=text.gist.to(dtype))
        clips = replace(clips, video=clips.video.to(dtype), audio=clips.audio.to(dtype))
        with torch.autocast(text.pooled.device.type, enabled=False):
            return self.cosines(text, clips)

    def cosines(self, text: TextEncoding, clips: ClipTokens) -> CoarseScores:
        video, audio, _ = self.clips(clips).chunk(3, dim=-1)
        seen, heard, _ = self.parts(text).unbind(dim=1)
        cosines = torch.stack([seen @ video.T, heard @ audio.T], dim=-1)  # [B, C, 2]
        present = torch.stack([clips.video_mask.any(dim=1), clips.audio_mask.any(dim=1)], dim=-1)
        gates = self.gate(text.pooled)[:, None, :2].masked_fill(~present, -1e4).softmax(dim=-1) * present
        return CoarseScores((gates * cosines).sum(dim=-1), cosines[..., 0], cosines[..., 1])


class WideQuery(WideLayers):
    """What two wide layers add to the query for pictures [B, d], out of what is known of a text [B, inputs]."""

    def __init__(self, inputs: int, hidden: int, width: int) -> None:
        super().__init__(inputs, hidden, width)
        self.norm = nn.LayerNorm(inputs)

    def forward(self, text: Tensor) -> Tensor:
        return self.added(self.norm(text))


class AttentionPool(nn.Module):
    """A learned query's weighted mean of tokens [C, M, d], then a linear map; exactly zero when no token is valid."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.score = nn.Linear(width, 1)
        nn.init.zeros_(self.score.weight)
        self.out = nn.Linear(width, width, bias=False)
        nn.init.eye_(self.out.weight)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        weights = self.score(tokens).squeeze(-1).masked_fill(~mask, -1e4).softmax(dim=-1) * mask
        pooled: Tensor = self.out((weights.unsqueeze(1) @ tokens).squeeze(1))
        return pooled


def _unit(x: Tensor) -> Tensor:
    """x / |x| along the last axis, exactly 0 for 0."""
    return F.normalize(x, dim=-1, eps=1e-6)
