"""Soft dynamic time warping in closed form, for Eq. 13 (Cuturi & Blondel 2017).

With F the forward table on the cost D, B the forward table on D flipped in both axes within each pair's valid block and
flipped back, and v = F[n-1, a-1]: the expected alignment is `E = exp(-(F + B - D - v) / gamma) = dv/dD`. Backward needs
no autograd through the recursion: E is a gradient, its Jacobian is symmetric, so `dE = -E (dF + dB - G - dv) / gamma`,
where dF and dB are the tangents of the two tables in direction G, the gradient that arrives.

Tables are kept as log-weights of paths, -F / gamma, and *skewed*: [T, N, P] with cell (i, j) at [i + j, i] and pairs
last, so that each of the T = N + A - 1 anti-diagonals is one contiguous slice. Both tables are filled at once.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

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
    cost = _checked(cost, gamma)
    if cost.numel() == 0:
        return cost
    E: Tensor = _ExpectedAlignment.apply(cost, text_lengths, audio_lengths, gamma)
    return E


def soft_dtw(cost: Tensor, text_lengths: Tensor, audio_lengths: Tensor, gamma: float) -> Tensor:
    """Soft-DTW's value v [P], 0 for a pair with an empty side. Differentiable: dv/dD = E."""
    cost = _checked(cost, gamma)
    if cost.numel() == 0:
        return cost.sum(dim=(1, 2))
    value: Tensor = _SoftDtw.apply(cost, text_lengths, audio_lengths, gamma)
    return value


def monotone_score(similarity: Tensor, text_lengths: Tensor, audio_lengths: Tensor, gamma: float) -> Tensor:
    """How well words are found in order: each word in one sound token, later words in later tokens, other tokens free.

    Parameters
    ----------
    similarity: [P, N, A]; text_lengths, audio_lengths: [P]; gamma: smoothing of the maximum over placements.

    Returns
    -------
    [P], the smooth maximum over all placements of the mean similarity of the words, less the logarithm of the number
    of placements, so that equal similarities give just that similarity whatever the lengths. A pair with fewer sound
    tokens than words, or an empty side, gets the least value, -1. Used in training: it teaches speech faster than
    soft-DTW's own value, whose every sound token must be matched.
    """
    P, N, A = similarity.shape
    columns = torch.arange(A, device=similarity.device)
    scores = (similarity / gamma).masked_fill(columns >= audio_lengths.view(-1, 1, 1), -_FAR)
    reached = scores[:, 0]  # log-weight of the placements whose last word so far stands at each token, [P, A]
    last = [reached]
    for word in range(1, N):
        before = F.pad(reached.logcumsumexp(dim=1)[:, :-1], (1, 0), value=-_FAR)
        reached = scores[:, word] + before
        last.append(reached)
    rows = (text_lengths - 1).clamp(min=0)
    total = torch.stack(last, dim=1)[torch.arange(P, device=rows.device), rows].logsumexp(dim=1)
    a, n = audio_lengths.to(total.dtype), text_lengths.to(total.dtype)
    possible = (text_lengths > 0) & (audio_lengths >= text_lengths)
    placements = torch.lgamma(a + 1) - torch.lgamma(n + 1) - torch.lgamma((a - n).clamp(min=0) + 1)
    return torch.where(possible, gamma * (total - placements) / n.clamp(min=1), -1.0)


def alignment_rows(E: Tensor) -> Tensor:
    """P = E / sum_j E: for each word, how its time is spread over the sound, [P, N, A]; rows sum to 1 or are 0."""
    total = E.sum(dim=2, keepdim=True)
    return E / torch.where(total > 0, total, torch.ones_like(total))


def _checked(cost: Tensor, gamma: float) -> Tensor:
    """The cost in at least fp32: sums of it over paths, divided by gamma, are meaningless in half precision."""
    if gamma <= 0:
        raise ValueError(f"gamma must be positive, got {gamma}")
    return cost.float() if cost.dtype in (torch.bfloat16, torch.float16) else cost


class _SoftDtw(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, cost: Tensor, text_lengths: Tensor, audio_lengths: Tensor, gamma: float) -> Tensor:
        E, value, *_ = _solve(cost, text_lengths, audio_lengths, gamma)
        ctx.save_for_backward(E)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        (E,) = ctx.saved_tensors
        return upstream[0][:, None, None] * E, None, None, None


class _ExpectedAlignment(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, cost: Tensor, text_lengths: Tensor, audio_lengths: Tensor, gamma: float) -> Tensor:
        E, _, tables, steps = _solve(cost, text_lengths, audio_lengths, gamma)
        ctx.save_for_backward(E, tables, steps, text_lengths, audio_lengths)
        ctx.gamma = gamma
        return E

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        E, tables, steps, text_lengths, audio_lengths = ctx.saved_tensors
        valid = _valid(text_lengths, audio_lengths, E.shape)
        G = (upstream[0] * valid).permute(1, 2, 0)
        flip = _flip_index(text_lengths, audio_lengths, G.shape)
        both = torch.cat([G, _flipped(G, flip)], dim=2)
        dF, dB = _straight(_tangents(_skewed(both, 0.0), tables, steps), G.shape[1]).chunk(2, dim=2)
        dv = _corner(dF, text_lengths, audio_lengths)
        gradient = (dF + _flipped(dB, flip) - G - dv).permute(2, 0, 1)
        return torch.where(valid, -E * gradient / ctx.gamma, 0.0), None, None, None


def _solve(cost: Tensor, text_lengths: Tensor, audio_lengths: Tensor, gamma: float) -> tuple[Tensor, ...]:
    """E [P, N, A], value [P], and what tangents need: both tables and the steps they were made from, skewed."""
    A = cost.shape[2]
    valid = _valid(text_lengths, audio_lengths, cost.shape)
    step = torch.where(valid, cost, _FAR).permute(1, 2, 0) / -gamma  # [N, A, P]
    flip = _flip_index(text_lengths, audio_lengths, step.shape)
    steps = _skewed(torch.cat([step, _flipped(step, flip)], dim=2), -_FAR / gamma)
    tables = _log_weights(steps, -_FAR / gamma)
    forward, backward = _straight(tables[2:, 1:], A).chunk(2, dim=2)
    total = _corner(forward, text_lengths, audio_lengths)
    E = (forward + _flipped(backward, flip) - step - total).clamp_(max=0.0).exp_()
    E = torch.where(valid, E.permute(2, 0, 1), 0.0)
    empty = (text_lengths == 0) | (audio_lengths == 0)
    return E, (-gamma * total).masked_fill(empty, 0.0), tables, steps


def _log_weights(steps: Tensor, far: float) -> Tensor:
    """log W_ij = step_ij + log(W_i-1,j-1 + W_i-1,j + W_i,j-1), diagonal by diagonal, for steps [T, N, P].

    The table keeps its border, [T + 2, N + 1, P]: two diagonals and a row, in whose corner paths start with log 1 = 0.
    """
    T, N, P = steps.shape
    table = steps.new_full((T + 2, N + 1, P), far)
    table[0, 0] = 0.0
    for t in range(T):
        here = table[t + 2, 1:]
        torch.logaddexp(table[t + 1, :-1], table[t + 1, 1:], out=here)
        torch.logaddexp(here, table[t, :-1], out=here)
        here += steps[t]
    return table


def _tangents(G: Tensor, table: Tensor, steps: Tensor) -> Tensor:
    """The tangents, in units of cost, of the tables of `_log_weights` in direction G, [T, N, P] as the steps."""
    T, N, P = G.shape
    entered = table[2:, 1:] - steps  # log of what came in over the three ways
    above, left, both = table[1:-1, :-1] - entered, table[1:-1, 1:] - entered, table[:-2, :-1] - entered
    ways = [way.exp_() for way in (above, left, both)]
    tangent = G.new_zeros(T + 2, N + 1, P)
    for t in range(T):
        here = tangent[t + 2, 1:]
        here += G[t]
        here.addcmul_(ways[0][t], tangent[t + 1, :-1])
        here.addcmul_(ways[1][t], tangent[t + 1, 1:])
        here.addcmul_(ways[2][t], tangent[t, :-1])
    return tangent[2:, 1:]


def _skewed(cells: Tensor, fill: float) -> Tensor:
    """Cells [N, A, P] laid out by anti-diagonals, [N + A - 1, N, P]; `fill` where a diagonal leaves the table."""
    N, A, P = cells.shape
    skewed = cells.new_full((N + A - 1, N, P), fill)
    _straight(skewed, A).copy_(cells)
    return skewed


def _straight(skewed: Tensor, A: int) -> Tensor:
    """A view of a skewed table [T, N, P] as rows and columns, [N, A, P]."""
    T, N, P = skewed.shape
    diagonal, row, pair = skewed.stride()
    return skewed.as_strided((N, A, P), (diagonal + row, diagonal, pair), skewed.storage_offset())


def _valid(text_lengths: Tensor, audio_lengths: Tensor, shape: torch.Size) -> Tensor:
    """[P, N, A], true inside each pair's block."""
    P, N, A = shape
    rows, columns = torch.arange(N, device=text_lengths.device), torch.arange(A, device=text_lengths.device)
    return (rows < text_lengths.unsqueeze(1)).unsqueeze(2) & (columns < audio_lengths.unsqueeze(1)).unsqueeze(1)


def _flip_index(text_lengths: Tensor, audio_lengths: Tensor, shape: torch.Size) -> Tensor:
    """For each pair, the flat index [N * A, P] of every cell's mirror image in its valid block; others keep theirs."""
    N, A, P = shape
    rows, columns = torch.arange(N, device=text_lengths.device), torch.arange(A, device=text_lengths.device)
    i = torch.where(rows < text_lengths.unsqueeze(1), text_lengths.unsqueeze(1) - 1 - rows, rows)
    j = torch.where(columns < audio_lengths.unsqueeze(1), audio_lengths.unsqueeze(1) - 1 - columns, columns)
    return (i.unsqueeze(2) * A + j.unsqueeze(1)).permute(1, 2, 0).flatten(0, 1)


def _flipped(table: Tensor, flip: Tensor) -> Tensor:
    """Table [N, A, P] with every pair's valid block flipped in both axes."""
    return table.flatten(0, 1).gather(0, flip).view(table.shape)


def _corner(table: Tensor, text_lengths: Tensor, audio_lengths: Tensor) -> Tensor:
    """The last valid cell of each pair of a table [N, A, P], [P]."""
    N, A, P = table.shape
    last = (text_lengths - 1).clamp(min=0) * A + (audio_lengths - 1).clamp(min=0)
    return table.flatten(0, 1).gather(0, last.unsqueeze(0)).view(P)
