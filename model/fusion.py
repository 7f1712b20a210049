"""Fusion, Eqs 14, 15 and 5: `E_final = E_VT + g E_AT`, a CLS query over it, `score = cos(e_CLS, t)`; coarse vectors."""

from dataclasses import replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.attention import (
    AlignedAudio,
    AudioTextAttention,
    ClipTokens,
    FusedTokens,
    VideoAttended,
    VideoTextAttention,
)
from model.text import TextEncoding


class PairScores(NamedTuple):
    """Cosines of B queries with C clips, each [B, C], and what they were made from."""

    fused: Tensor
    video: Tensor
    audio: Tensor
    video_block: VideoAttended
    audio_block: AlignedAudio | None  # None when no clip has sound
    gate: Tensor  # [B, N] the modality gate g
    cls_weights: Tensor  # [B, N] what the text alone says of each token's weight in CLS


class FusionHead(nn.Module):
    """Dual cross-attention, gated element-wise sum, CLS. A score depends on its own (query, clip) pair alone."""

    def __init__(self, width: int, levels: int, gamma: float) -> None:
        super().__init__()
        self.video_text = VideoTextAttention(width, levels)
        self.audio_text = AudioTextAttention(width, gamma)
        self.modality_gate = nn.Linear(2 * width, 1)
        nn.init.zeros_(self.modality_gate.weight)
        nn.init.zeros_(self.modality_gate.bias)
        self.cls = nn.Parameter(torch.zeros(width))
        self.cls_text = nn.Linear(width, 1)
        nn.init.zeros_(self.cls_text.weight)
        self.logit_scale = nn.Parameter(torch.tensor(10.0).log())

    def forward(self, text: TextEncoding, clips: ClipTokens) -> PairScores:
        """All B x C pairs; never in half precision, in which thresholds and sums over paths lose their meaning."""
        dtype = self.cls.dtype
        text = replace(text, tokens=text.tokens.to(dtype), pooled=text.pooled.to(dtype))
        clips = replace(clips, video=clips.video.to(dtype), audio=clips.audio.to(dtype))
        with torch.autocast(text.tokens.device.type, enabled=False):
            return self.pairs(text, clips)

    def pairs(self, text: TextEncoding, clips: ClipTokens) -> PairScores:
        B, N, d = text.tokens.shape
        video = self.video_text(text.tokens, text.mask, clips)
        context = text.pooled.unsqueeze(1).expand(B, N, d)
        gate = self.modality_gate(torch.cat([text.tokens, context], dim=-1)).squeeze(-1).clamp(-3.0, 3.0).exp()
        seen = (video.output, torch.ones_like(gate))
        video_score = self.score([seen], text)
        if not bool(clips.audio_mask.any()):
            nothing = torch.zeros_like(video_score)
            return PairScores(video_score, video_score, nothing, video, None, gate, self.token_weights(text))
        audio = self.audio_text(text.tokens, text.mask, text.pooled, clips)
        heard = (audio.output, gate)
        fused, audio_score = self.score([seen, heard], text), self.score([heard], text)
        return PairScores(fused, video_score, audio_score, video, audio, gate, self.token_weights(text))

    def token_weights(self, text: TextEncoding) -> Tensor:
        """[B, N], rows sum to 1 over the valid tokens."""
        logits: Tensor = self.cls_text(text.tokens).squeeze(-1).masked_fill(~text.mask, -1e4)
        return logits.softmax(dim=1) * text.mask

    def score(self, blocks: list[tuple[FusedTokens, Tensor]], text: TextEncoding) -> Tensor:
        """Eqs 14, 15 and 5: the gated sum of the blocks' outputs, CLS over it, its cosine with the query vector.

        `blocks` are outputs with a gate [B, N] each. Returns [B, C]; a pair with no valid token scores 0.
        """
        logits = self.cls_text(text.tokens).squeeze(-1).unsqueeze(1)  # [B, 1, N]
        for block, gate in blocks:
            logits = logits + gate.unsqueeze(1) * block.dot(self.cls)
        weights = logits.masked_fill(~text.mask.unsqueeze(1), -1e4).softmax(dim=-1) * text.mask.unsqueeze(1)
        summary = torch.stack([block.pool(weights * gate.unsqueeze(1)) for block, gate in blocks]).sum(dim=0)  # Eq. 14
        return F.cosine_similarity(summary, text.pooled.unsqueeze(1), dim=-1, eps=1e-6)  # Eqs 5, 15


class CoarseEncoder(nn.Module):
    """One vector a modality and one for both, 3 d numbers a clip, so that the shortlist is one inner product."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.video_pool, self.audio_pool = AttentionPool(width), AttentionPool(width)
        self.fused = nn.Linear(2 * width, width, bias=False)
        with torch.no_grad():
            self.fused.weight.copy_(torch.cat([torch.eye(width), torch.eye(width)], dim=1))
        self.query = nn.Linear(width, 3 * width)
        with torch.no_grad():
            self.query.weight.copy_(torch.eye(width).repeat(3, 1))
            self.query.bias.zero_()
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

    def queries(self, pooled: Tensor, modalities: tuple[str, ...] = ("video", "audio")) -> Tensor:
        """Query vectors t [B, d] to [B, 3 d] with the gates multiplied in; `modalities` picks the parts that count."""
        allowed = torch.tensor(
            ["video" in modalities, "audio" in modalities, set(modalities) >= {"video", "audio"}], device=pooled.device
        )
        gates = self.gate(pooled).masked_fill(~allowed, float("-inf")).softmax(dim=-1)  # [B, 3]
        parts = _unit(self.query(pooled).unflatten(-1, (3, -1)))
        vectors: Tensor = (gates.unsqueeze(-1) * parts).flatten(-2)
        return vectors


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
