"""Weights that share one unit of attention between two losses of the same sample."""

from __future__ import annotations

import torch
from torch import Tensor


def entropy_balance(
    student_entropy: Tensor, teacher_entropy: Tensor, *, delta: float = 2.0, sharpness: float | None = None
) -> tuple[Tensor, Tensor]:
    """Return per-sample weights of a mass-covering and a mode-seeking loss, from who is the more certain.

    Where the teacher is the more uncertain the student is over-confident and the covering (forward) loss gets `delta`;
    elsewhere, ties included, the seeking (reverse) loss gets it. The other one gets 1. With a sharpness the switch is a
    sigmoid of the entropy gap instead of a step.

    Args:
        student_entropy: entropies of the student's predictions, in nats, any shape.
        teacher_entropy: entropies of the teacher's, same shape.
        delta: weight of the emphasised loss; 1 gives equal weights. Default 2.
        sharpness: slope of the sigmoid per nat; `None` (default) for the step.

    Returns:
        Weight of the forward loss and weight of the reverse loss, each of the entropies' shape, without gradient.

    Source: sample-wise balancing of Amara et al., arXiv 2212.12965; the step, its factor and the sigmoid are ours.
    """
    gap = (teacher_entropy - student_entropy).detach()
    if sharpness is None:
        forward = (gap > 0).to(gap.dtype)
        reverse = 1 - forward
    else:
        forward, reverse = torch.sigmoid(sharpness * gap), torch.sigmoid(-sharpness * gap)
    return 1 + (delta - 1) * forward, 1 + (delta - 1) * reverse
