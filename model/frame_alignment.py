"""Words and frames in order: Eq. 13's alignment for pictures, for queries such as "first A, then B".

Attention finds A and B wherever they are, so that a clip and its reverse look alike. What soft-DTW does for words and
sounds it does here for words and frames.
"""

import torch
from torch import Tensor, nn

from model.alignment import alignment_rows, expected_alignment
from model.clip_tokens import ClipTokens


class FrameAlignment(nn.Module):
    """The expected soft-DTW alignment of words with the coarsest token of each frame, and the share it has by query.

    The share is a half at the start: one that starts nearly shut stays shut (docs/training-log.md).
    """

    def __init__(self, width: int, level: int, gamma: float) -> None:
        super().__init__()
        self.level, self.gamma = level, gamma
        self.order = nn.Linear(width, 1, bias=False)
        nn.init.zeros_(self.order.weight)
        self.offset = nn.Parameter(torch.tensor(0.0))

    def share(self, pooled: Tensor) -> Tensor:
        """[B, 1], 0 to 1, of queries t [B, d]."""
        return torch.sigmoid(self.order(pooled) + self.offset)

    def forward(self, cosine: Tensor, mask: Tensor, clips: ClipTokens) -> Tensor:
        """Cosines [B, C, N, V] of words and video tokens to weights [B, C, N, V], whose rows sum to 1 over frames."""
        B, C, N, V = cosine.shape
        frames = clips.video_mask & (clips.video_levels == self.level)
        lengths = frames.sum(dim=1)
        places = (~frames).to(torch.int8).argsort(dim=1, stable=True)[:, : max(int(lengths.max()), 1)]  # [C, T]
        index = places[None, :, None, :].expand(B, C, N, -1)
        cost = (1.0 - cosine.gather(3, index)).flatten(0, 1)
        E = expected_alignment(cost, mask.sum(dim=1).repeat_interleave(C), lengths.repeat(B), self.gamma)
        return torch.zeros_like(cosine).scatter(3, index, alignment_rows(E).view(B, C, N, -1))
