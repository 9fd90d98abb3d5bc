"""Losses of rankings: LambdaLoss per list, RankNet per pair."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from tutelage.errors import OptionError, ShapeError
from tutelage.losses.checks import same_shape
from tutelage.targets.soften import HALF


def ranknet(positive: Tensor, negative: Tensor) -> Tensor:
    """Return RankNet's loss of pairs, `-log sigmoid(s_pos - s_neg)`.

    Args:
        positive: scores of the items that should rank higher, float `[...]`.
        negative: scores of the others, `[...]`.

    Returns:
        One loss per pair in nats, `[...]`; log 2 where both scores are equal.

    Raises:
        ShapeError: if the shapes differ.

    Source: Burges et al., Learning to rank using gradient descent, ICML 2005, eq. 3.
    """
    same_shape(positive, negative, "scores of the better and of the worse items")
    return F.softplus((negative - positive).float() if positive.dtype in HALF else negative - positive)


def lambda_loss(scores: Tensor, gains: Tensor, mask: Tensor | None = None, *, sigma: float = 1.0, eps: float = 1e-6) -> Tensor:
    """Return LambdaLoss with the weights of NDCG-Loss2: a bound on one minus nDCG, by pairs of one list.

    `L = -sum_{y_i > y_j} log2 max(sigmoid(sigma (s_i - s_j))^{w_ij}, eps)` with `w_ij = |1/D_d - 1/D_{d+1}| |G_i - G_j|`,
    `D_r = log2(1 + r)`, `G_i = (2^{y_i} - 1) / maxDCG`, and `d` the difference of the ranks that the scores give items i and j.

    Args:
        scores: float `[..., P]`, one list in the last axis.
        gains: graded gains y, not negative, `[..., P]`.
        mask: bool `[..., P]`, False for padding, which takes no part; `None` if there is none.
        sigma: slope of the sigmoid. Default 1.
        eps: the smallest power of a sigmoid. Default 1e-6 (released code).

    Returns:
        One loss per list in bits, `[...]`; 0 for a list of equal gains.

    Raises:
        ShapeError: if the shapes differ.
        OptionError: if `sigma` or `eps` is not above 0, or `eps` not below 1.

    Source: Wang et al., The LambdaLoss Framework for Ranking Metric Optimization, CIKM 2018, eq. 20.
    """
    same_shape(scores, gains, "scores and gains")
    if mask is not None and mask.shape != scores.shape:
        raise ShapeError(f"mask of shape {tuple(mask.shape)} does not fit scores of shape {tuple(scores.shape)}.")
    if not sigma > 0 or not 0 < eps < 1:
        raise OptionError(f"lambda_loss takes sigma above 0 and eps between 0 and 1, got {sigma} and {eps}.")
    if scores.dtype in HALF:
        scores = scores.float()
    real = torch.ones_like(scores, dtype=torch.bool) if mask is None else mask
    gains = gains.to(scores.dtype).masked_fill(~real, 0.0)
    with torch.no_grad():
        # Padding comes last, whatever its scores are.
        order = scores.detach().masked_fill(~real, -torch.inf).argsort(dim=-1, descending=True, stable=True)
        rank = torch.empty_like(order).scatter_(-1, order, torch.arange(scores.shape[-1], device=scores.device).expand_as(order))
        places = torch.arange(1, scores.shape[-1] + 1, device=scores.device, dtype=scores.dtype)
        ideal = ((2.0 ** gains.sort(dim=-1, descending=True).values - 1.0) / torch.log2(1.0 + places)).sum(-1, keepdim=True)
        gain = (2.0**gains - 1.0) / ideal.masked_fill(ideal == 0, 1.0)
        distance = (rank.unsqueeze(-1) - rank.unsqueeze(-2)).abs().clamp_min(1).to(scores.dtype)
        discount = 1.0 / torch.log2(1.0 + distance) - 1.0 / torch.log2(2.0 + distance)
        weight = discount.abs() * (gain.unsqueeze(-1) - gain.unsqueeze(-2)).abs()
        pairs = (gains.unsqueeze(-1) > gains.unsqueeze(-2)) & real.unsqueeze(-1) & real.unsqueeze(-2)
    # log2 max(p^w, eps) = max(w log2 p, log2 eps). Padding may hold anything, so its differences are set to 0 first.
    difference = (scores.unsqueeze(-1) - scores.unsqueeze(-2)).masked_fill(~pairs, 0.0)
    log_power = weight * F.logsigmoid(sigma * difference) / torch.log(scores.new_tensor(2.0))
    floor = torch.log2(scores.new_tensor(eps))
    return -torch.maximum(log_power, floor).masked_fill(~pairs, 0.0).sum((-1, -2))
