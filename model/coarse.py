"""Coarse vectors: one a modality and one for both, for the shortlist; and their share in a pair's score."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.clip_tokens import ClipTokens
from model.listing import Listing, told
from model.sound_gate import SoundGate
from model.text import TextEncoding
from model.wide import NormedWideLayers, unit


class CoarseScores(NamedTuple):
    """Cosines of B queries with C clips, each [B, C]; 0 for a modality that a clip lacks."""

    both: Tensor  # gated by the query over what the clip has
    video: Tensor
    audio: Tensor
    taught: Tensor  # `both` by the gate as it was taught, whatever its temperature
    weight: Tensor  # of the cosines in `taught`, were all asked for: 1, and more where the glance is added
    asked: Tensor  # by the sound gate, how far a clip's pictures count in `both`: 1 but for silent clips


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

    def __init__(
        self, width: int, wide: int = 0, gist_width: int = 0, listing: int = 0, glance: int = 0, sound_gate: int = 0
    ) -> None:
        """`wide` and `listing` are hidden widths of what is added to the query for pictures and for the shortlist,
        `glance` that of the query as a whole, `gist_width` is RoBERTa's, `sound_gate` is 1; 0 for none."""
        super().__init__()
        self.gate_temperature = 1.0  # in the rerank; the shortlist asks by the gate as it was taught
        self.video_pool, self.audio_pool = AttentionPool(width), AttentionPool(width)
        self.fused = nn.Linear(2 * width, width, bias=False)
        with torch.no_grad():
            self.fused.weight.copy_(torch.cat([torch.eye(width), torch.eye(width)], dim=1))
        self.query = nn.Linear(width, 3 * width)
        with torch.no_grad():
            self.query.weight.copy_(torch.eye(width).repeat(3, 1))
            self.query.bias.zero_()
        self.widened = NormedWideLayers(width, wide, width) if wide else None
        self.gist = NormedWideLayers(gist_width, wide, width) if gist_width else None
        self.listing = Listing(width, gist_width, listing) if listing else None
        self.glance = NormedWideLayers(gist_width, glance, width) if glance else None
        self.sound_gate = SoundGate(gist_width) if sound_gate else None
        self.gate = nn.Linear(width, 3)
        nn.init.zeros_(self.gate.weight)
        nn.init.zeros_(self.gate.bias)
        self.logit_scale = nn.Parameter(torch.tensor(10.0).log())

    def clips(self, clips: ClipTokens) -> Tensor:
        """[C, 3 d]: video | audio | fused, each L2-normalised, zeros where the modality is missing."""
        vectors = self.plain_clips(clips)
        return vectors if self.listing is None else self.listing.clips(vectors, self.halves(clips))

    def queries(self, text: TextEncoding, modalities: tuple[str, ...] = ("video", "audio")) -> Tensor:
        """Queries to [B, 3 d] with the gates multiplied in; `modalities` picks the parts that count."""
        vectors = self.plain_queries(text, modalities)
        if self.listing is None or not set(modalities) >= {"video", "audio"}:
            return vectors
        return self.listing.queries(vectors, told(text))

    def plain_clips(self, clips: ClipTokens) -> Tensor:
        """`clips` without what the listing adds."""
        video, audio = self.pooled(clips)
        fused = self.fused(torch.cat([video, audio], dim=-1))
        return torch.cat([unit(video), unit(audio), unit(fused)], dim=-1)

    def pooled(self, clips: ClipTokens) -> tuple[Tensor, Tensor]:
        """Pictures and sound of C clips, each [C, d]; exactly zero where there are none."""
        return self.video_pool(clips.video, clips.video_mask), self.audio_pool(clips.audio, clips.audio_mask)

    def halves(self, clips: ClipTokens) -> Tensor:
        """[C, 4 d]: pictures of the first and of the second half, then sound; L2-normalised, zeros where missing."""
        seen = self.video_pool, clips.video, clips.video_mask, clips.video_places
        heard = self.audio_pool, clips.audio, clips.audio_mask, clips.audio_places()
        halves = [
            pool(tokens, mask & half)
            for pool, tokens, mask, places in (seen, heard)
            for half in (places < 0.5, places >= 0.5)
        ]
        return torch.cat([unit(half) for half in halves], dim=-1)

    def plain_queries(self, text: TextEncoding, modalities: tuple[str, ...] = ("video", "audio")) -> Tensor:
        """`queries` without what the listing adds."""
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
        return unit(torch.stack([seen, *others], dim=1))

    def compare(self, text: TextEncoding, clips: ClipTokens, *, glance: bool = False) -> CoarseScores:
        """B queries with C clips, each modality by itself and both; never in half precision.

        With `glance` the cosine of the pictures as a whole is added to that of their coarse vector (ADR 19).
        """
        dtype = self.logit_scale.dtype
        text = replace(text, pooled=text.pooled.to(dtype), gist=text.gist.to(dtype))
        clips = replace(clips, video=clips.video.to(dtype), audio=clips.audio.to(dtype))
        with torch.autocast(text.pooled.device.type, enabled=False):
            return self.cosines(text, clips, glance)

    def cosines(self, text: TextEncoding, clips: ClipTokens, glance: bool) -> CoarseScores:
        video, audio = map(unit, self.pooled(clips))
        seen, heard, _ = self.parts(text).unbind(dim=1)
        pictures = seen @ video.T
        whole = self.glances(text, clips) if glance else torch.zeros_like(pictures)
        cosines = torch.stack([pictures + whole, heard @ audio.T], dim=-1)  # [B, C, 2]
        present = torch.stack([clips.video_mask.any(dim=1), clips.audio_mask.any(dim=1)], dim=-1)
        logits = self.gate(text.pooled)[:, None, :2]
        gates, taught = (
            (logits / heat).masked_fill(~present, -1e4).softmax(dim=-1) * present
            for heat in (self.gate_temperature, 1.0)
        )
        weight = 1.0 + taught[..., 0] * (whole != 0)  # exactly 0 where there is no glance
        asked = torch.ones_like(pictures)
        if self.sound_gate is not None:
            asked = torch.where(clips.silent & present[:, 0], 1.0 - self.sound_gate(text.gist)[:, None], asked)
        sums = [(shares * cosines).sum(dim=-1) for shares in (gates, taught)]
        # What is not asked for lifts nothing, but may lower.
        both, taught_sum = (torch.where(value > 0, asked * value, value) for value in sums)
        return CoarseScores(both, cosines[..., 0], cosines[..., 1], taught_sum, weight, asked)

    def glances(self, text: TextEncoding, clips: ClipTokens) -> Tensor:
        """B queries with C clips, each as a whole, [B, C]; 0 for a clip without pictures, or without a glance."""
        dtype = self.logit_scale.dtype
        if self.glance is None:
            return text.gist.new_zeros(len(text.gist), len(clips), dtype=dtype)
        shown = clips.glance.to(dtype) * clips.video_mask.any(dim=1, keepdim=True)
        with torch.autocast(text.gist.device.type, enabled=False):
            return unit(self.glance(text.gist.to(dtype))) @ shown.T


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
