"""The rerank as the equations write it, one pair, one word, one key at a time: what the fast path must equal.

Reads only the parameters of the blocks, never their code. Slow, and meant to be held beside the paper's equations.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from model.attention import Evidence
from model.fusion import FusionHead


@dataclass(frozen=True)
class Clip:
    """One clip's tokens, without padding."""

    video: Tensor  # [V, d]
    levels: list[int]
    places: list[float]
    audio: Tensor  # [A, d]


def unit(x: Tensor) -> Tensor:
    return x / x.norm()


def softmax(values: list[float]) -> list[float]:
    largest = max(values)
    exponentials = [math.exp(value - largest) for value in values]
    return [value / sum(exponentials) for value in exponentials]


def sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x))


def entmax(values: list[float], alpha: float) -> list[float]:
    """p_i = [(alpha - 1) z_i - tau]_+ ^ (1 / (alpha - 1)), the tau that makes them sum to 1 found by halving."""
    scaled = [(alpha - 1.0) * value for value in values]
    low, high = max(scaled) - 1.0, max(scaled)
    for _ in range(200):
        tau = (low + high) / 2
        weights = [max(value - tau, 0.0) ** (1.0 / (alpha - 1.0)) for value in scaled]
        low, high = (tau, high) if sum(weights) > 1.0 else (low, tau)
    return [weight / sum(weights) for weight in weights]


def soft_minimum(values: list[float], gamma: float) -> float:
    least = min(values)
    return least - gamma * math.log(sum(math.exp(-(value - least) / gamma) for value in values))


def soft_dtw(D: list[list[float]], gamma: float) -> float:
    """Soft-DTW's value, by its recursion."""
    rows, columns = len(D), len(D[0])
    R = {(0, 0): 0.0}
    for i in range(1, rows + 1):
        for j in range(1, columns + 1):
            before = [R[k] for k in ((i - 1, j - 1), (i - 1, j), (i, j - 1)) if k in R]
            R[i, j] = D[i - 1][j - 1] + soft_minimum(before, gamma)
    return R[rows, columns]


def paths(rows: int, columns: int) -> list[list[tuple[int, int]]]:
    """Every monotone path from the first to the last cell."""
    if rows == 1 and columns == 1:
        return [[(0, 0)]]
    shorter = [(rows - 1, columns - 1), (rows - 1, columns), (rows, columns - 1)]
    return [[*path, (rows - 1, columns - 1)] for r, c in shorter if r > 0 and c > 0 for path in paths(r, c)]


def expected_alignment_by_paths(D: list[list[float]], gamma: float) -> list[list[float]]:
    """E by counting: each cell gets the weight of the paths that visit it."""
    found = paths(len(D), len(D[0]))
    weights = softmax([-sum(D[i][j] for i, j in path) / gamma for path in found])
    E = [[0.0] * len(D[0]) for _ in D]
    for path, weight in zip(found, weights, strict=True):
        for i, j in path:
            E[i][j] += weight
    return E


def expected_alignment(D: list[list[float]], gamma: float) -> list[list[float]]:
    """E = dv/dD through automatic differentiation of the recursion, cell by cell."""
    with torch.enable_grad():
        cost = torch.tensor(D, dtype=torch.float64, requires_grad=True)
        value = soft_dtw_of(cost, gamma)
    (E,) = torch.autograd.grad(value, cost)
    return E.tolist()


def soft_dtw_of(cost: Tensor, gamma: float) -> Tensor:
    rows, columns = cost.shape
    R = {(0, 0): torch.zeros((), dtype=torch.float64)}
    for i in range(1, rows + 1):
        for j in range(1, columns + 1):
            before = torch.stack([R[k] for k in ((i - 1, j - 1), (i - 1, j), (i, j - 1)) if k in R])
            R[i, j] = cost[i - 1, j - 1] - gamma * torch.logsumexp(before / -gamma, dim=0)
    return R[rows, columns]


def evidence(block: Evidence, attended: Tensor, affinity: float, word: Tensor) -> Tensor:
    share = sigmoid(float(block.slope) * affinity + float(block.offset))
    found, missing = unit(block.found.weight @ word), unit(block.missing)
    return block.attended.weight @ attended + share * found + (1.0 - share) * missing


def video_text(head: FusionHead, word: Tensor, clip: Clip) -> Tensor:
    """Eqs 3, 4 for one word: E_VT,n [d]."""
    block = head.video_text
    query = unit(block.query.weight @ word)
    groups: dict[int, list[Tensor]] = {}
    for level in range(block.levels):
        members = [v for v, of in enumerate(clip.levels) if of == level]
        groups[level] = [clip.video[v] for v in members]
        thirds = [[v for v in members if int(clip.places[v] * 3) == third] for third in range(3)]
        groups[block.levels + level] = [clip.video[third].mean(dim=0) for third in thirds if third]
        groups[2 * block.levels + level] = [clip.video[members].mean(dim=0)] if members else []
    present = [group for group in sorted(groups) if groups[group]]
    gates = block.span.weight @ word + block.span.bias
    shares = softmax([float(gates[group]) for group in present])
    attended, affinity = torch.zeros_like(word), 0.0
    for group, share in zip(present, shares, strict=True):
        temperature = max(math.exp(float(block.log_temperature[group])), 0.03)
        cosines = [float(query @ unit(key)) for key in groups[group]]
        for key, cosine, alpha in zip(groups[group], cosines, softmax([c / temperature for c in cosines]), strict=True):
            attended = attended + share * alpha * unit(key)
            affinity += share * alpha * cosine
    return evidence(block.evidence, attended, affinity, word)


def audio_text(head: FusionHead, words: Tensor, pooled: Tensor, clip: Clip) -> list[Tensor]:
    """Eqs 11-13 for all words of a query: E_AT,n [d] each."""
    block = head.audio_text
    cosines = [[float(unit(block.query.weight @ word) @ unit(token)) for token in clip.audio] for word in words]
    E = expected_alignment([[1.0 - cosine for cosine in row] for row in cosines], block.gamma)
    order = sigmoid(float(block.order.weight[0] @ pooled + block.order.bias[0]))
    outputs = []
    for word, row, path in zip(words, cosines, E, strict=True):
        kept = entmax([*(float(block.scale) * cosine for cosine in row), float(block.null)], float(block.alpha))[:-1]
        aligned = [cell / sum(path) for cell in path]
        weights = [(1.0 - order) * k + order * a for k, a in zip(kept, aligned, strict=True)]
        attended = sum((weight * unit(token) for weight, token in zip(weights, clip.audio, strict=True)), 0.0 * word)
        affinity = sum(weight * cosine for weight, cosine in zip(weights, row, strict=True))
        outputs.append(evidence(block.evidence, attended, affinity, word))
    return outputs


def scores(head: FusionHead, words: Tensor, pooled: Tensor, clip: Clip, heat: float) -> tuple[float, float, float]:
    """Eqs 5, 14, 15: the fused, video and audio score of one query (words [N, d], pooled [d]) and one clip.

    `heat` is the temperature of the modality gate.
    """
    nothing = [torch.zeros_like(pooled) for _ in words]
    seen = [video_text(head, word, clip) for word in words] if len(clip.video) else nothing
    heard = audio_text(head, words, pooled, clip) if len(clip.audio) else nothing
    heard = [modality_gate(head, word, pooled, heat) * part for word, part in zip(words, heard, strict=True)]
    both = [s + h for s, h in zip(seen, heard, strict=True)]  # Eq. 14
    return (
        summary_cosine(head, both, words, pooled),
        summary_cosine(head, seen, words, pooled),
        summary_cosine(head, heard, words, pooled),
    )


def modality_gate(head: FusionHead, word: Tensor, pooled: Tensor, heat: float) -> float:
    linear = head.modality_gate
    value = float(linear.weight[0] @ torch.cat([word, pooled]) + linear.bias[0]) / heat
    return math.exp(min(max(value, -3.0), 3.0))


def summary_cosine(head: FusionHead, E: list[Tensor], words: Tensor, pooled: Tensor) -> float:
    logits = [
        float(head.cls_text.weight[0] @ w + head.cls_text.bias[0] + e @ head.cls) for w, e in zip(words, E, strict=True)
    ]
    summary = sum((weight * e for weight, e in zip(softmax(logits), E, strict=True)), torch.zeros_like(pooled))
    return float(summary @ pooled / (summary.norm() * pooled.norm())) if float(summary.norm()) > 0 else 0.0
