"""The two cross-attention blocks: video-text (Eqs 3, 4) and audio-text (Eqs 11-13).

Both answer, for each text token n and each clip, with one vector indexed by text token. A block's output for a token is
`E_n = W o_n + s_n u_n + (1 - s_n) b`: what was attended (o), the token itself as far as it was found (the paper's
affinity, s), and a learned "not found" direction (b). So a token's evidence survives the later sum over modalities and
tokens.

Every function here works on all B x C pairs; nothing is shared between pairs.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from entmax import entmax_bisect
from torch import Tensor, nn

from model.alignment import alignment_rows, expected_alignment
from model.clip_tokens import ClipTokens
from model.threshold import entmax

SCALES = 3  # temporal scales: frame, clip third, whole clip
_LOWEST_TEMPERATURE = 0.03  # exp((cos - 1) / tau) stays a normal float32 number for every cosine


@dataclass(frozen=True, eq=False)
class FusedTokens:
    """A block's output E [B, C, N, d] in factors.

    What follows needs only inner products with E and weighted sums of it, so E itself, 100 times the size of its
    factors, is formed by `dense` alone: to be read beside the paper, and in tests as the slow reference.
    """

    weights: Tensor  # [B, C, N, K] attention over keys
    keys: Tensor  # [C, K, d] unit vectors
    share: Tensor  # [B, C, N] how far each token was found, 0 to 1
    found: Tensor  # [B, N, d] unit vectors u
    missing: Tensor  # [d] unit vector b
    project: Tensor  # [d, d] W
    valid: Tensor  # [B, C, N] false for padding and for clips without the modality

    def dense(self) -> Tensor:
        """E [B, C, N, d] as the equations write it."""
        B, C, N, K = self.weights.shape
        attended = torch.einsum("bcnk,ckd->bcnd", self.weights, self.keys) @ self.project.T
        share = self.share.unsqueeze(-1)
        output = attended + share * self.found.unsqueeze(1) + (1.0 - share) * self.missing
        return output * self.valid.unsqueeze(-1)

    def dot(self, vector: Tensor) -> Tensor:
        """<E_n, vector> for a vector [d]: [B, C, N]."""
        B, C, N, K = self.weights.shape
        attended = torch.einsum("bcnk,ck->bcn", self.weights, self.keys @ (self.project.T @ vector))
        absent = self.missing @ vector
        return (attended + self.share * (self.found @ vector - absent).unsqueeze(1) + absent) * self.valid

    def pool(self, weights: Tensor) -> Tensor:
        """sum_n weights_n E_n for weights [B, C, N]: [B, C, d]."""
        B, C, N, K = self.weights.shape
        weights = weights * self.valid
        over_keys = torch.einsum("bcn,bcnk->cbk", weights, self.weights)
        attended = torch.bmm(over_keys, self.keys).transpose(0, 1) @ self.project.T
        shared = weights * self.share
        absent = (weights - shared).sum(dim=-1, keepdim=True) * self.missing
        return attended + torch.einsum("bcn,bnd->bcd", shared, self.found) + absent


class Evidence(nn.Module):
    """Attention and affinity to a block's output."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attended = nn.Linear(width, width, bias=False)
        nn.init.eye_(self.attended.weight)
        self.found = nn.Linear(width, width, bias=False)
        nn.init.eye_(self.found.weight)
        self.missing = nn.Parameter(torch.randn(width) * width**-0.5)
        self.slope = nn.Parameter(torch.tensor(6.0))
        self.offset = nn.Parameter(torch.tensor(-3.0))

    def forward(self, weights: Tensor, keys: Tensor, affinity: Tensor, tokens: Tensor, valid: Tensor) -> FusedTokens:
        B, C, N, K = weights.shape
        share = torch.sigmoid(self.slope * affinity + self.offset)
        found = F.normalize(self.found(tokens), dim=-1)
        missing = F.normalize(self.missing, dim=0)
        return FusedTokens(weights, keys, share, found, missing, self.attended.weight, valid)


class VideoTextAttention(nn.Module):
    """Hierarchical multi-scale spatio-temporal attention, Eqs 3 and 4.

    Keys are grouped by pyramid level and temporal scale. Within a group `alpha = softmax_v(cos(e_n, e_v) / tau)`; a
    learned gate, dependent on the text token, sets each group's share: the dynamic span (the paper's "adaptive
    cross-layer attention", which it leaves undefined).
    """

    def __init__(self, width: int, levels: int) -> None:
        super().__init__()
        self.levels, self.groups = levels, levels * SCALES
        self.query = nn.Linear(width, width, bias=False)
        nn.init.eye_(self.query.weight)
        self.log_temperature = nn.Parameter(torch.full((self.groups,), 0.1).log())
        self.span = nn.Linear(width, self.groups)
        nn.init.zeros_(self.span.weight)
        nn.init.zeros_(self.span.bias)
        self.evidence = Evidence(width)

    def forward(self, tokens: Tensor, mask: Tensor, clips: ClipTokens) -> "VideoAttended":
        B, N, d = tokens.shape
        keys, membership, back = temporal_scales(clips, self.levels)  # [C, K, d], [C, K, G], [C, K, V]
        unit = F.normalize(keys, dim=-1)
        query = F.normalize(self.query(tokens), dim=-1)
        cosine = torch.einsum("bnd,ckd->bcnk", query, unit)
        temperature = self.log_temperature.exp().clamp(min=_LOWEST_TEMPERATURE)
        per_key = (membership @ (1.0 / temperature)).unsqueeze(1)  # [C, 1, K]
        exponential = torch.exp((cosine - 1.0) * per_key) * membership.any(dim=2).unsqueeze(1)
        norm = torch.einsum("bcnk,ckg->bcng", exponential, membership)
        present = membership.any(dim=1).unsqueeze(1)  # [C, 1, G]
        span = self.span(tokens).unsqueeze(1).masked_fill(~present, -1e4).softmax(dim=-1) * present  # [B, C, N, G]
        share = span / torch.where(norm > 0, norm, 1.0)
        weights = exponential * torch.einsum("bcng,ckg->bcnk", share, membership)  # Eq. 3, gated
        affinity = (weights * cosine).sum(dim=-1)
        valid = mask.unsqueeze(1) & clips.video_mask.any(dim=1).view(1, -1, 1)
        output = self.evidence(weights, unit, affinity, tokens, valid)  # Eq. 4
        return VideoAttended(output, affinity * valid, weights, back)


class VideoAttended(NamedTuple):
    output: FusedTokens
    affinity: Tensor  # [B, C, N] how well each token was found, a cosine
    key_weights: Tensor  # [B, C, N, K]
    shares: Tensor  # [C, K, V] each token's share in each key

    def weights(self) -> Tensor:
        """Where each token was found, [B, C, N, V]."""
        return torch.einsum("bcnk,ckv->bcnv", self.key_weights, self.shares)


def temporal_scales(clips: ClipTokens, levels: int) -> tuple[Tensor, Tensor, Tensor]:
    """Frame tokens with their means over thirds and over the whole clip, a level.

    Returns keys [C, K, d], group membership [C, K, levels * SCALES] (one-hot; all zero for an absent key) and the
    share of each token in each key [C, K, V].
    """
    C, V, d = clips.video.shape
    of_level = F.one_hot(clips.video_levels.long().clamp(max=levels - 1), levels).to(clips.video.dtype)
    of_level = of_level * clips.video_mask.unsqueeze(-1)  # [C, V, levels]
    third = F.one_hot((clips.video_places * 3).long().clamp(0, 2), 3).to(clips.video.dtype)
    single = clips.video_mask.to(clips.video.dtype)
    thirds = torch.einsum("cvl,cvt->cltv", of_level, third).flatten(1, 2)
    pooled = torch.cat([thirds, of_level.transpose(1, 2)], dim=1)  # thirds and whole clip of each level, [C, 4 L, V]
    count = pooled.sum(dim=2, keepdim=True)
    pooled = pooled / torch.where(count > 0, count, 1.0)
    keys = torch.cat([clips.video * single.unsqueeze(-1), pooled @ clips.video], dim=1)
    share = torch.cat([torch.diag_embed(single), pooled], dim=1)
    present = torch.cat([clips.video_mask.unsqueeze(-1), count > 0], dim=1)
    level_of_key = torch.arange(levels, device=clips.video.device)
    coarse = torch.cat([level_of_key.repeat_interleave(3) + levels, level_of_key + 2 * levels])
    groups = torch.cat(
        [F.pad(of_level, (0, (SCALES - 1) * levels)), F.one_hot(coarse, SCALES * levels).expand(C, -1, -1)], dim=1
    )
    return keys, groups * present, share


class AudioTextAttention(nn.Module):
    """Threshold-based audio-text dynamic time cross-attention, Eqs 11-13.

    Scaled dot products pass a dynamic threshold per text token (alpha-entmax with learned alpha: exact zeros) beside
    a learned null token that takes the mass when nothing is relevant; soft-DTW aligns words with sound in order; a
    learned, query-dependent gate mixes the two, since captions need not follow the order of their sounds.
    """

    def __init__(self, width: int, gamma: float) -> None:
        super().__init__()
        self.gamma = gamma
        self.query = nn.Linear(width, width, bias=False)
        nn.init.eye_(self.query.weight)
        self.scale = nn.Parameter(torch.tensor(10.0))
        self.null = nn.Parameter(torch.tensor(0.0))
        self.alpha_logit = nn.Parameter(torch.tensor(0.0))
        self.order = nn.Linear(width, 1)
        nn.init.zeros_(self.order.weight)
        nn.init.zeros_(self.order.bias)
        self.evidence = Evidence(width)

    @property
    def alpha(self) -> Tensor:
        """The threshold's sharpness: 1.05 (almost softmax) to 2 (sparsemax), 1.5 at the start."""
        return 1.05 + 0.95 * torch.sigmoid(self.alpha_logit - 0.105)

    def forward(self, tokens: Tensor, mask: Tensor, pooled: Tensor, clips: ClipTokens) -> "AlignedAudio":
        B, N, d = tokens.shape
        unit = F.normalize(clips.audio, dim=-1)
        query = F.normalize(self.query(tokens), dim=-1)
        cosine = torch.einsum("bnd,cad->bcna", query, unit)
        kept = self.threshold(cosine, clips.audio_mask)  # Eq. 11
        aligned = self.align(cosine, mask, clips.audio_mask)  # Eq. 13
        order = torch.sigmoid(self.order(pooled)).view(B, 1, 1, 1)
        weights = (1.0 - order) * kept + order * aligned
        kept_affinity, aligned_affinity = (kept * cosine).sum(dim=-1), (aligned * cosine).sum(dim=-1)
        order = order.squeeze(-1)
        affinity = (1.0 - order) * kept_affinity + order * aligned_affinity
        valid = mask.unsqueeze(1) & clips.audio_mask.any(dim=1).view(1, -1, 1)
        output = self.evidence(weights, unit, affinity, tokens, valid)  # Eq. 12
        return AlignedAudio(output, cosine, weights, kept, aligned, kept_affinity * valid, order)

    def threshold(self, cosine: Tensor, audio_mask: Tensor) -> Tensor:
        """Eq. 11 with a dynamic threshold: [B, C, N, A] with exact zeros; what the null token takes is left out."""
        B, C, N, A = cosine.shape
        scores = (self.scale * cosine).masked_fill(~audio_mask[None, :, None, :], -1e4)
        scores = torch.cat([scores, self.null.expand(B, C, N, 1)], dim=-1)
        if not torch.is_grad_enabled():
            return entmax(scores, float(self.alpha))[..., :A] * audio_mask[None, :, None, :]
        halvings = 12 if self.training else 24 if scores.dtype == torch.float32 else 53  # as far as the type resolves
        weights: Tensor = entmax_bisect(scores, self.alpha, dim=-1, n_iter=halvings)
        return weights[..., :A] * audio_mask[None, :, None, :]

    def align(self, cosine: Tensor, mask: Tensor, audio_mask: Tensor) -> Tensor:
        """Eq. 13: each word's share of the expected soft-DTW alignment, [B, C, N, A]."""
        B, C, N, A = cosine.shape
        text_lengths = mask.sum(dim=1).repeat_interleave(C)
        audio_lengths = audio_mask.sum(dim=1).repeat(B)
        E = expected_alignment((1.0 - cosine).flatten(0, 1), text_lengths, audio_lengths, self.gamma)
        return alignment_rows(E).view(B, C, N, A)


class AlignedAudio(NamedTuple):
    output: FusedTokens
    cosine: Tensor  # [B, C, N, A]
    weights: Tensor  # [B, C, N, A] where each token was heard
    kept: Tensor  # [B, C, N, A] thresholded attention, exact zeros kept
    aligned: Tensor  # [B, C, N, A] soft-DTW rows
    kept_affinity: Tensor  # [B, C, N]
    order: Tensor  # [B, 1, 1] the gate between the two
