"""Fusion, Eqs 14, 15 and 5: `E_final = E_VT + g E_AT`, a CLS query over it, `score = cos(e_CLS, t)`."""

from dataclasses import replace
from typing import Final, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.attention import (
    AlignedAudio,
    AudioTextAttention,
    FusedTokens,
    VideoAttended,
    VideoTextAttention,
)
from model.clip_tokens import ClipTokens
from model.coarse import CoarseScores
from model.text import TextEncoding

LIFTS: Final = 2  # times that a score is led by what is heard; chosen on val (docs/training-log.md)


class PairScores(NamedTuple):
    """Scores of B queries with C clips, each [B, C] and from -1 to 1, and what they were made from."""

    fused: Tensor
    video: Tensor
    audio: Tensor
    mean: Tensor  # of what `fused` sums, led but once by what is heard, by the gates as taught: confidence's own
    video_block: VideoAttended
    audio_block: AlignedAudio | None  # None when no clip has sound
    gate: Tensor  # [B, N] the modality gate g, by its temperature
    cls_weights: Tensor  # [B, N] what the text alone says of each token's weight in CLS
    coarse_share: Tensor | None = None  # [B, 1] what part of the scores the coarse vectors have, 0 to 1
    asked: Tensor | None = None  # [B, C] how far the coarse vectors' part counts a clip's pictures, 0 to 1
    led: Tensor | None = None  # [B, C] how far the order of a query's events leads each score, -1 to 1
    spelled_share: Tensor | None = None  # [B, 1] how far words heard letter by letter may lift the scores, 0 to 1
    lift: Tensor | None = None  # [B, C] how far they do, once, 0 to 1

    def summed(self, coarse: CoarseScores, share: Tensor) -> "PairScores":
        """Late sum with the coarse vectors' scores, which have this share [B, 1]; with glances it might pass 1."""
        both = zip((self.fused, self.video, self.audio), (coarse.both, coarse.video, coarse.audio), strict=True)
        sums = [(1.0 - share) * own + share * other for own, other in both]
        mean = ((1.0 - share) * self.mean + share * coarse.taught) / (1.0 - share + share * coarse.weight)
        fused, video, audio = (score.clamp(-1.0, 1.0) for score in sums)
        return self._replace(fused=fused, video=video, audio=audio, mean=mean, coarse_share=share, asked=coarse.asked)

    def ordered(self, video: Tensor, audio: Tensor, both: Tensor) -> "PairScores":
        """Scores led towards 1 as far as events happen in order [B, C], towards -1 as far as they do not."""
        pairs = ((self.fused, both), (self.video, video), (self.audio, audio), (self.mean, both))
        fused, video, audio, mean = (score + order - order.abs() * score for score, order in pairs)
        return self._replace(fused=fused, video=video, audio=audio, mean=mean, led=both)

    def lifted(self, heard: Tensor, share: Tensor) -> "PairScores":
        """Scores led towards 1 by what is heard [B, C], 0 to 1, by a share [B, 1]; without sound they stay.

        What a score lacks of 1 shrinks that many times, so that what is heard faintly outweighs chance among pictures.
        """
        lift = share * heard
        led = 1.0 - (1.0 - lift) ** LIFTS
        fused, audio = (score + led * (1.0 - score) for score in (self.fused, self.audio))
        mean = self.mean + lift * (1.0 - self.mean)
        return self._replace(fused=fused, audio=audio, mean=mean, spelled_share=share, lift=lift)


class Gated(NamedTuple):
    """A block's output and the gate that it is summed by."""

    output: FusedTokens
    along: Tensor  # [B, C, N] <E_n, cls>: the same in every score that the block has a part in
    gate: Tensor  # [B, N]


class FusionHead(nn.Module):
    """Dual cross-attention, gated element-wise sum, CLS. A score depends on its own (query, clip) pair alone."""

    def __init__(self, width: int, levels: int, gamma: float) -> None:
        super().__init__()
        self.gate_temperature = 1.0
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
        logits = self.modality_gate(torch.cat([text.tokens, context], dim=-1)).squeeze(-1)
        gate, taught = ((logits / heat).clamp(-3.0, 3.0).exp() for heat in (self.gate_temperature, 1.0))
        seen = Gated(video.output, video.output.dot(self.cls), torch.ones_like(gate))
        video_score = self.score([seen], text)
        if not bool(clips.audio_mask.any()):
            nothing = torch.zeros_like(video_score)
            scores = (video_score, video_score, nothing, video_score)
            return PairScores(*scores, video, None, gate, self.token_weights(text))
        audio = self.audio_text(text.tokens, text.mask, text.pooled, clips)
        heard = Gated(audio.output, audio.output.dot(self.cls), taught)
        mean, audio_score = self.score([seen, heard], text), self.score([heard], text)
        fused = mean
        if self.gate_temperature != 1.0:  # which shares out nothing where there is no picture
            tempered = self.score([seen, heard._replace(gate=gate)], text)
            fused = torch.where(clips.video_mask.any(dim=1), tempered, mean)
        return PairScores(fused, video_score, audio_score, mean, video, audio, gate, self.token_weights(text))

    def token_weights(self, text: TextEncoding) -> Tensor:
        """[B, N], rows sum to 1 over the valid tokens."""
        logits: Tensor = self.cls_text(text.tokens).squeeze(-1).masked_fill(~text.mask, -1e4)
        return logits.softmax(dim=1) * text.mask

    def score(self, blocks: list[Gated], text: TextEncoding) -> Tensor:
        """Eqs 14, 15 and 5: the gated sum of the blocks' outputs, CLS over it, its cosine with the query vector.

        Returns [B, C]; a pair with no valid token scores 0.
        """
        logits = self.cls_text(text.tokens).squeeze(-1).unsqueeze(1)  # [B, 1, N]
        for block in blocks:
            logits = logits + block.gate.unsqueeze(1) * block.along
        weights = logits.masked_fill(~text.mask.unsqueeze(1), -1e4).softmax(dim=-1) * text.mask.unsqueeze(1)
        parts = [block.output.pool(weights * block.gate.unsqueeze(1)) for block in blocks]
        summary = torch.stack(parts).sum(dim=0)  # Eq. 14
        return F.cosine_similarity(summary, text.pooled.unsqueeze(1), dim=-1, eps=1e-6)  # Eqs 5, 15
