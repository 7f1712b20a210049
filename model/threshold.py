"""alpha-entmax without gradients, for Eq. 11 in service: the weights of `entmax_bisect` at a fraction of its time."""

import torch
from torch import Tensor


@torch.no_grad()
def entmax(scores: Tensor, alpha: float) -> Tensor:
    """p_i = [(alpha - 1) z_i - tau]_+ ^ (1 / (alpha - 1)) along the last axis, summing to 1; 1 < alpha <= 2.

    The sum is 1 where the norm of [(alpha - 1) z - tau]_+ with exponent 1 / (alpha - 1) is. A norm falls convexly in
    tau, so that Newton's steps from the left, where the largest entry alone gives 1, rise to the root without passing
    it; and almost in a straight line, so that they are few.
    """
    power = 1.0 / (alpha - 1.0)
    scaled = scores * (alpha - 1.0)
    tau = scaled.amax(dim=-1, keepdim=True) - 1.0
    near = 8 * torch.finfo(scores.dtype).eps
    for _ in range(16):  # as many as entries like those of sparsemax could need
        gap = (scaled - tau).clamp_(min=0.0)
        slope = gap.pow(power - 1.0).mul_(gap > 0)
        norm = (slope * gap).sum(dim=-1, keepdim=True).pow_(1.0 / power)
        step = (norm - 1.0) * norm.pow(power - 1.0) / slope.sum(dim=-1, keepdim=True)
        tau += step
        if not bool((step > near).any()):
            break
    weights = (scaled - tau).clamp_(min=0.0).pow_(power)
    return weights / weights.sum(dim=-1, keepdim=True)
