"""Belief by entropy: how uncertain predictions are, and the most certain share of them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tutelage.errors import OptionError
from tutelage.targets import log_soften


@torch.no_grad()
def uncertainty(logits: Tensor, *, normalised: bool = False, temperature: float = 1.0) -> Tensor:
    """Return the entropy of each prediction as a score for selectors.

    Args:
        logits: float [..., C].
        normalised: divide by log C, so that a uniform prediction scores 1.
        temperature: above 0, divides the logits. Default 1.

    Returns:
        Entropies, nats or shares of log C, float32 [...], without a graph: 0 for a one-hot prediction.

    Raises:
        OptionError: if the temperature is not above 0.
    """
    log_p = log_soften(logits, temperature)
    entropies = -(log_p.exp() * log_p).sum(-1)
    # A difference of rounding below 0 is no certainty beyond certainty.
    entropies = entropies.float().clamp_min(0.0)
    return entropies / math.log(max(logits.shape[-1], 2)) if normalised else entropies


@torch.no_grad()
def entropy_percentile(logits: Tensor, q: float, *, temperature: float = 1.0) -> Tensor:
    """Return 1 for the share q of predictions with the lowest entropy, else 0.

    All leading axes are ranked together: samples of a batch, or pixels of all its images. round(q n) of n are kept, and those tied with the
    last of them too.

    Args:
        logits: float [..., C].
        q: share to keep, from 0 to 1. A paper that drops the most uncertain a % has q = 1 - a / 100.
        temperature: above 0, divides the logits. Default 1.

    Returns:
        Weights in {0, 1}, float32 [...], without a graph.

    Raises:
        OptionError: if q leaves [0, 1] or the temperature is not above 0.

    Source: Wang et al., Semi-Supervised Semantic Segmentation Using Unreliable Pseudo-Labels (U2PL), CVPR 2022, eq. 5 and 6. ST++ (Yang et
        al., CVPR 2022) keeps a share of whole images in the same way, by another score.
    """
    if not 0.0 <= q <= 1.0:
        raise OptionError(f"q is {q!r}; expected the share of predictions to keep, from 0 to 1")
    entropies = uncertainty(logits, temperature=temperature)
    kept = round(q * entropies.numel())
    if kept == 0:
        return torch.zeros_like(entropies, dtype=torch.float32)
    # The k-th smallest, not torch.quantile, which refuses more than 16 million elements.
    return (entropies <= entropies.flatten().kthvalue(kept).values).float()
