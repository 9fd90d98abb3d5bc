"""Divergences between two categorical distributions given by logits.

p_t and p_s are the teacher's and the student's probabilities at the given temperature; sums run over classes, results are in nats.
All work from log-softmax, never from the logarithm of a probability, so values and gradients are finite for any finite logits, in
float32 and in half types (which are computed in float32). A class that both exclude by a logit of minus infinity adds nothing; where
only the second argument of a KL excludes it, the divergence is not infinite but of the order of the largest number of its type.
A teacher of whom only the top k classes and the rest of the mass are known (`TopK`) is compared on these k + 1 outcomes: a lower bound.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tutelage.errors import OptionError
from tutelage.losses.checks import same_shape
from tutelage.targets import TopK, log_soften


def _log_probs(student_logits: Tensor, teacher_logits: Tensor | TopK, temperature: float | Tensor) -> tuple[Tensor, Tensor]:
    if isinstance(teacher_logits, TopK):
        return teacher_logits.beside(student_logits, temperature)
    same_shape(student_logits, teacher_logits, "logits")
    return log_soften(student_logits, temperature), log_soften(teacher_logits, temperature)


def forward_kl(student_logits: Tensor, teacher_logits: Tensor | TopK, *, temperature: float | Tensor = 1.0) -> Tensor:
    """Return KL(p_t || p_s) = sum p_t (log p_t - log p_s): the student must cover all that the teacher finds probable.

    Its gradient with respect to the student's logits is (p_s - p_t) / temperature.

    Args:
        student_logits: float [..., C].
        teacher_logits: float [..., C], or the `TopK` of a distribution; not detached here.
        temperature: above 0, divides both logits; a number or a tensor of the leading shape. Default 1.

    Returns:
        One divergence per distribution, [...].

    Raises:
        ShapeError: if the shapes differ.
        OptionError: if the temperature is not above 0.

    Source: Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, 2015, section 2 (up to the teacher's entropy).
    """
    log_s, log_t = _log_probs(student_logits, teacher_logits, temperature)
    return (log_t.exp() * (log_t - log_s)).sum(-1)


def reverse_kl(student_logits: Tensor, teacher_logits: Tensor | TopK, *, temperature: float | Tensor = 1.0) -> Tensor:
    """Return KL(p_s || p_t) = sum p_s (log p_s - log p_t): the student must avoid what the teacher finds improbable.

    Its gradient with respect to the student's logit k is p_s,k (log p_s,k - log p_t,k - KL(p_s || p_t)) / temperature.

    Args:
        student_logits: float [..., C].
        teacher_logits: float [..., C], or the `TopK` of a distribution; not detached here.
        temperature: above 0, divides both logits; a number or a tensor of the leading shape. Default 1.

    Returns:
        One divergence per distribution, [...].

    Raises:
        ShapeError: if the shapes differ.
        OptionError: if the temperature is not above 0.

    Source: Gu et al., MiniLLM, ICLR 2024, eq. 1.
    """
    log_s, log_t = _log_probs(student_logits, teacher_logits, temperature)
    return (log_s.exp() * (log_s - log_t)).sum(-1)


def forward_and_reverse_kl(
    student_logits: Tensor, teacher_logits: Tensor | TopK, *, temperature: float | Tensor = 1.0
) -> tuple[Tensor, Tensor]:
    """Return `forward_kl` and `reverse_kl` at the cost of little more than one, for methods that weigh both.

    Args:
        student_logits: float [..., C].
        teacher_logits: float [..., C], or the `TopK` of a distribution; not detached here.
        temperature: above 0, divides both logits; a number or a tensor of the leading shape. Default 1.

    Returns:
        KL(p_t || p_s) and KL(p_s || p_t), each [...].

    Raises:
        ShapeError: if the shapes differ.
        OptionError: if the temperature is not above 0.
    """
    log_s, log_t = _log_probs(student_logits, teacher_logits, temperature)
    gap = log_t - log_s
    return (log_t.exp() * gap).sum(-1), -(log_s.exp() * gap).sum(-1)


def jeffreys(student_logits: Tensor, teacher_logits: Tensor | TopK, *, temperature: float | Tensor = 1.0) -> Tensor:
    """Return KL(p_t || p_s) + KL(p_s || p_t) = sum (p_t - p_s)(log p_t - log p_s), the symmetric sum of both directions.

    Args:
        student_logits: float [..., C].
        teacher_logits: float [..., C], or the `TopK` of a distribution; not detached here.
        temperature: above 0, divides both logits; a number or a tensor of the leading shape. Default 1.

    Returns:
        One divergence per distribution, [...].

    Raises:
        ShapeError: if the shapes differ.
        OptionError: if the temperature is not above 0.

    Source: Jeffreys, An invariant form for the prior probability in estimation problems, 1946, eq. 1.
    """
    log_s, log_t = _log_probs(student_logits, teacher_logits, temperature)
    return ((log_t.exp() - log_s.exp()) * (log_t - log_s)).sum(-1)


def jensen_shannon(
    student_logits: Tensor,
    teacher_logits: Tensor | TopK,
    *,
    beta: float = 0.5,
    temperature: float | Tensor = 1.0,
    scaled: bool = False,
) -> Tensor:
    """Return the generalised Jensen-Shannon divergence beta KL(p_t || m) + (1 - beta) KL(p_s || m) with m = beta p_t + (1 - beta) p_s.

    At beta = 0.5 this is the usual Jensen-Shannon divergence, at most log 2. Towards both ends it vanishes like beta KL(p_t || p_s) and
    (1 - beta) KL(p_s || p_t); at beta = 0 and beta = 1 exactly, the forward and the reverse KL are returned, as users of on-policy
    distillation expect. With `scaled=True` the divergence is divided by beta (1 - beta), which makes it continuous in beta up to and
    including both ends (and 4 times as large at 0.5); in float32 it then loses about 1e-7 / beta to rounding.

    Args:
        student_logits: float [..., C].
        teacher_logits: float [..., C], or the `TopK` of a distribution; not detached here.
        beta: the teacher's share of the mixture, in [0, 1]; 0 is forward KL, 1 is reverse KL. Default 0.5.
        temperature: above 0, divides both logits; a number or a tensor of the leading shape. Default 1.
        scaled: divide by beta (1 - beta). Default no, as in the paper.

    Returns:
        One divergence per distribution, [...].

    Raises:
        ShapeError: if the shapes differ.
        OptionError: if beta leaves [0, 1] or the temperature is not above 0.

    Source: Agarwal et al., On-Policy Distillation of Language Models (GKD), ICLR 2024, eq. 1.
    """
    if not 0.0 <= beta <= 1.0:
        raise OptionError(f"beta is {beta!r}; expected a number from 0 (forward KL) to 1 (reverse KL)")
    if beta == 0.0:
        return forward_kl(student_logits, teacher_logits, temperature=temperature)
    if beta == 1.0:
        return reverse_kl(student_logits, teacher_logits, temperature=temperature)
    log_s, log_t = _log_probs(student_logits, teacher_logits, temperature)
    # In log space, since the mixture of two probabilities that both underflow would be 0.
    log_m = torch.logaddexp(log_t + math.log(beta), log_s + math.log1p(-beta))
    # Both divergences in one sum over classes.
    divergence = (beta * log_t.exp() * (log_t - log_m) + (1.0 - beta) * log_s.exp() * (log_s - log_m)).sum(-1)
    return divergence / (beta * (1.0 - beta)) if scaled else divergence


def entropy(logits: Tensor | TopK, *, temperature: float | Tensor = 1.0) -> Tensor:
    """Return the entropy of the prediction, H(p) = -sum p log p, from 0 (certain) to log C (uniform).

    Args:
        logits: float [..., C].
        temperature: above 0, divides the logits; a number or a tensor of the leading shape. Default 1.

    Returns:
        One entropy per distribution in nats, [...].

    Raises:
        OptionError: if the temperature is not above 0, or for a `TopK`.
    """
    if isinstance(logits, TopK):
        raise OptionError("The entropy of a prediction needs all its classes, but only the top k are known. Keep logits in the store.")
    log_p = log_soften(logits, temperature)
    return -(log_p.exp() * log_p).sum(-1)
