"""The divergences on a block of rows: value and gradient in one go, in place where memory allows.

Each function takes log-probabilities of student and teacher over the same outcomes, overwrites both, and returns the divergence of each row
and, if wanted, its gradient with respect to the student's logits at temperature 1. Outcomes are the classes, or the kept classes and the
rest (`stored`). All numbers are finite (`targets.log_soften`), so that an outcome that both exclude adds nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

KINDS = ("forward", "reverse", "jsd", "ce")

Divergence = Callable[[Tensor, Tensor, bool], tuple[Tensor, Tensor | None]]


def forward(log_s: Tensor, log_t: Tensor, wanted: bool) -> tuple[Tensor, Tensor | None]:
    """KL(p_t || p_s), with gradient p_s - p_t."""
    p_t = log_t.exp()
    loss = log_t.sub_(log_s).mul_(p_t).sum(-1)
    return loss, log_s.exp_().sub_(p_t) if wanted else None


def cross_entropy(log_s: Tensor, log_t: Tensor, wanted: bool) -> tuple[Tensor, Tensor | None]:
    """-sum p_t log p_s, with gradient p_s - p_t."""
    p_t = log_t.exp_()
    loss = -(p_t * log_s).sum(-1)
    return loss, log_s.exp_().sub_(p_t) if wanted else None


def reverse(log_s: Tensor, log_t: Tensor, wanted: bool) -> tuple[Tensor, Tensor | None]:
    """KL(p_s || p_t), with gradient p_s (log p_s - log p_t - KL)."""
    gap = log_t.neg_().add_(log_s)
    p_s = log_s.exp_()
    loss = (p_s * gap).sum(-1)
    return loss, gap.sub_(loss.unsqueeze(-1)).mul_(p_s) if wanted else None


def jensen_shannon(beta: float) -> Divergence:
    """The mixture m = beta p_t + (1 - beta) p_s: beta KL(p_t || m) + (1 - beta) KL(p_s || m).

    Its gradient is (1 - beta) p_s (log p_s - log m - KL(p_s || m)).
    """

    def divergence(log_s: Tensor, log_t: Tensor, wanted: bool) -> tuple[Tensor, Tensor | None]:
        # In log space, since the mixture of two probabilities that both underflow would be 0.
        log_m = torch.logaddexp(log_t + math.log(beta), log_s + math.log1p(-beta))
        p_t = log_t.exp()
        of_teacher = log_t.sub_(log_m).mul_(p_t).sum(-1)
        gap = log_m.neg_().add_(log_s)
        p_s = log_s.exp_()
        of_student = torch.mul(p_s, gap, out=p_t).sum(-1)
        loss = beta * of_teacher + (1.0 - beta) * of_student
        return loss, gap.sub_(of_student.unsqueeze(-1)).mul_(p_s).mul_(1.0 - beta) if wanted else None

    return divergence


def by_name(kind: str, beta: float) -> Divergence:
    """Return the divergence of a checked name; the ends of beta are the two KL divergences, as in `losses.jensen_shannon`."""
    if kind == "jsd":
        kind = {0.0: "forward", 1.0: "reverse"}.get(beta, kind)
    return {"forward": forward, "reverse": reverse, "ce": cross_entropy}.get(kind) or jensen_shannon(beta)


def stored(
    divergence: Divergence, log_s: Tensor, kept: Tensor, indices: Tensor, log_rest: Tensor, wanted: bool
) -> tuple[Tensor, Tensor | None]:
    """Return a divergence over the teacher's kept classes and the rest, k + 1 outcomes.

    Args:
        divergence: one of this file.
        log_s: the student's log-probabilities, [n, V]; overwritten.
        kept: the teacher's log-probabilities, [n, k].
        indices: their classes, [n, k].
        log_rest: log of the teacher's other mass, [n].
        wanted: whether the gradient is.

    Returns:
        The divergence [n] and its gradient with respect to the student's logits [n, V].
    """
    least = torch.finfo(log_s.dtype).min
    ours = log_s.gather(-1, indices)
    # Summed over the other classes in log space: one minus the kept mass would lose a small rest to rounding.
    others = log_s.scatter_(-1, indices, -math.inf)
    rest = others.logsumexp(-1, keepdim=True)
    theirs = torch.cat([kept, log_rest.unsqueeze(-1)], -1).clamp_min(least)
    loss, gradient = divergence(torch.cat([ours, rest], -1).clamp_min(least), theirs, wanted)
    if gradient is None:
        return loss, None
    # The rest's share goes to the other classes by their shares of it.
    spread = others.sub_(rest.clamp_min(least)).exp_().mul_(gradient[:, -1:])
    return loss, spread.scatter_(-1, indices, gradient[:, :-1])
