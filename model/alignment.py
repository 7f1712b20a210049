"""Soft dynamic time warping in closed form, for Eq. 13 (Cuturi & Blondel 2017).

With F the forward table on the cost D, B the forward table on D flipped in both axes within each pair's valid block and
flipped back, and v = F[n-1, a-1]: the expected alignment is `E = exp(-(F + B - D - v) / gamma) = dv/dD`. Tables are filled
over anti-diagonals with pairs last in memory, so that every step is one wide vector operation. Backward needs no autograd
through the recursion: E is a gradient, its Jacobian is symmetric, so `dE = -E (dF + dB - G - dv) / gamma`, where dF and dB
are the tangents of the two tables in direction G, the gradient that arrives.
"""

from typing import Any

import torch
from torch import Tensor

_FAR = 1e8  # the cost of leaving the valid block; finite, so that no inf - inf appears


def expected_alignment(cost: Tensor, text_lengths: Tensor, audio_lengths: Tensor, gamma: float) -> Tensor:
    """Soft-DTW's expected alignment E.

    Parameters
    ----------
    cost: [P, N, A], one cost matrix a pair; only the first `text_lengths` x `audio_lengths` block counts.
    text_lengths, audio_lengths: [P] integers. A pair with an empty side gets E = 0.
    gamma: smoothing; 0 is hard DTW, here it must be positive.

    Returns
    -------
    E [P, N, A], zero outside the valid block. Each cell is the share of monotone paths (by weight) that visit it.
    """
    if gamma <= 0:
        raise ValueError(f"gamma must be positive, got {gamma}")
    E: Tensor = _ExpectedAlignment.apply(cost, text_lengths, audio_lengths, gamma)
    return E


def soft_dtw(cost: Tensor, text_lengths: Tensor, audio_lengths: Tensor, gamma: float) -> Tensor:
    """Soft-DTW's value v [P], 0 for a pair with an empty side. Differentiable: dv/dD = E."""
    value: Tensor = _SoftDtw.apply(cost, text_lengths, audio_lengths, gamma)
    return value


def alignment_rows(E: Tensor) -> Tensor:
    """P = E / sum_j E: for each word, how its time is spread over the sound, [P, N, A]; rows sum to 1 or are 0."""
    total = E.sum(dim=2, keepdim=True)
    return E / torch.where(total > 0, total, torch.ones_like(total))


class _SoftDtw(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, cost: Tensor, text_lengths: Tensor, audio_lengths: Tensor, gamma: float) -> Tensor:
        E, value, *_ = _solve(cost, text_lengths, audio_lengths, gamma)
        ctx.save_for_backward(E)
        return value

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> Any:
        (E,) = ctx.saved_tensors
        return upstream[0][:, None, None] * E, None, None, None


class _ExpectedAlignment(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, cost: Tensor, text_lengths: Tensor, audio_lengths: Tensor, gamma: float) -> Tensor:
        E, _, forward, backward, block = _solve(cost, text_lengths, audio_lengths, gamma)
        ctx.save_for_backward(E, forward, backward, block, text_lengths, audio_lengths)
        ctx.gamma = gamma
        return E

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> Any:
        E, forward, backward, block, text_lengths, audio_lengths = ctx.saved_tensors
        valid = block > 0
        G = (upstream[0] * valid).permute(1, 2, 0)
        flip = _flip_index(text_lengths, audio_lengths, valid.shape[1:])
        both = torch.cat([G, _flipped(G, flip)], dim=2)
        tangent = _tangent_table(both, torch.cat([forward, backward], dim=2), ctx.gamma)
        dF, dB = tangent.chunk(2, dim=2)
        dv = _corner(dF, text_lengths, audio_lengths)
        gradient = (dF + _flipped(dB, flip) - G - dv).permute(2, 0, 1)
        return torch.where(valid, -E * gradient / ctx.gamma, 0.0), None, None, None


def _solve(cost: Tensor, text_lengths: Tensor, audio_lengths: Tensor, gamma: float) -> tuple[Tensor, ...]:
    """E [P, N, A], value [P], both tables [N, A, P] (the second still flipped) and the valid block [P, N, A]."""
    P, N, A = cost.shape
    inside_text = torch.arange(N, device=cost.device) < text_lengths.unsqueeze(1)
    inside_audio = torch.arange(A, device=cost.device) < audio_lengths.unsqueeze(1)
    valid = inside_text.unsqueeze(2) & inside_audio.unsqueeze(1)
    D = torch.where(valid, cost, _FAR).permute(1, 2, 0).contiguous()
    flip = _flip_index(text_lengths, audio_lengths, (N, A))
    tables = _forward_table(torch.cat([D, _flipped(D, flip)], dim=2), gamma)
    forward, backward = tables.chunk(2, dim=2)
    value = _corner(forward, text_lengths, audio_lengths)
    exponent = -(forward + _flipped(backward, flip) - D - value) / gamma
    E = torch.where(valid, exponent.permute(2, 0, 1).clamp(max=0.0).exp(), 0.0)
    empty = (text_lengths == 0) | (audio_lengths == 0)
    return E, value.masked_fill(empty, 0.0), forward, backward, valid.to(cost.dtype)


def _forward_table(D: Tensor, gamma: float) -> Tensor:
    """R_ij = D_ij + softmin_gamma(R_i-1,j-1, R_i-1,j, R_i,j-1) over anti-diagonals; D [N, A, P] to R of the same shape."""
    N, A, P = D.shape
    table = D.new_full((N + 1, A + 1, P), _FAR)
    table[0, 0] = 0.0
    for i, j in _diagonals(N, A, D.device):
        steps = torch.stack([table[i, j], table[i, j + 1], table[i + 1, j]])
        table[i + 1, j + 1] = D[i, j] - gamma * torch.logsumexp(steps / -gamma, dim=0)
    return table[1:, 1:]


def _tangent_table(G: Tensor, table: Tensor, gamma: float) -> Tensor:
    """The tangent of `_forward_table` in direction G [N, A, P], given the finished table."""
    N, A, P = G.shape
    padded = table.new_full((N + 1, A + 1, P), _FAR)
    padded[1:, 1:] = table
    padded[0, 0] = 0.0
    tangent = G.new_zeros(N + 1, A + 1, P)
    for i, j in _diagonals(N, A, G.device):
        steps = torch.stack([padded[i, j], padded[i, j + 1], padded[i + 1, j]])
        weights = torch.softmax(steps / -gamma, dim=0)
        before = torch.stack([tangent[i, j], tangent[i, j + 1], tangent[i + 1, j]])
        tangent[i + 1, j + 1] = G[i, j] + (weights * before).sum(dim=0)
    return tangent[1:, 1:]


def _diagonals(N: int, A: int, device: torch.device) -> list[tuple[Tensor, Tensor]]:
    """Row and column indices of each anti-diagonal of an N x A table, first to last."""
    diagonals = []
    for total in range(N + A - 1):
        i = torch.arange(max(0, total - A + 1), min(N, total + 1), device=device)
        diagonals.append((i, total - i))
    return diagonals


def _flip_index(text_lengths: Tensor, audio_lengths: Tensor, shape: Any) -> Tensor:
    """For each pair, the flat index of every cell's mirror image in its own valid block; cells outside map to themselves."""
    N, A = shape
    rows, columns = torch.arange(N, device=text_lengths.device), torch.arange(A, device=text_lengths.device)
    i = torch.where(rows < text_lengths.unsqueeze(1), text_lengths.unsqueeze(1) - 1 - rows, rows)
    j = torch.where(columns < audio_lengths.unsqueeze(1), audio_lengths.unsqueeze(1) - 1 - columns, columns)
    return (i.unsqueeze(2) * A + j.unsqueeze(1)).permute(1, 2, 0).flatten(0, 1)


def _flipped(table: Tensor, flip: Tensor) -> Tensor:
    """Table [N, A, P] with every pair's valid block flipped in both axes."""
    N, A, P = table.shape
    return table.flatten(0, 1).gather(0, flip).view(N, A, P)


def _corner(table: Tensor, text_lengths: Tensor, audio_lengths: Tensor) -> Tensor:
    """The last valid cell of each pair of a table [N, A, P], [P]."""
    N, A, P = table.shape
    last = (text_lengths - 1).clamp(min=0) * A + (audio_lengths - 1).clamp(min=0)
    return table.flatten(0, 1).gather(0, last.unsqueeze(0)).squeeze(0)
