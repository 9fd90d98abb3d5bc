"""Cross-entropies: against labels, against distributions, and per class with sigmoids."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from tutelage.errors import ShapeError
from tutelage.losses.checks import same_shape
from tutelage.targets import log_soften
from tutelage.targets.soften import HALF, divide


def cross_entropy(student_logits: Tensor, labels: Tensor, *, temperature: float | Tensor = 1.0) -> Tensor:
    """Return the cross-entropy with labels, -log p_s[label].

    Classes are in the last axis, unlike in `torch.nn.functional.cross_entropy`, so that sequences and pixels need no transposing.

    Args:
        student_logits: float [..., C].
        labels: int64 [...], from 0 to C - 1; a label of -100 (padding) gives 0, and should get weight 0 in `mean`.
        temperature: above 0, divides the logits; a number or a tensor of the leading shape. Default 1.

    Returns:
        One loss per label in nats, [...].

    Raises:
        ShapeError: if the labels are not of the logits' leading shape.
        OptionError: if the temperature is not above 0.
    """
    if labels.shape != student_logits.shape[:-1]:
        raise ShapeError(
            f"labels of shape {tuple(labels.shape)} do not fit logits of shape {tuple(student_logits.shape)}; "
            "expected one label per row of logits, with classes in the last axis"
        )
    logits = divide(student_logits, temperature)
    if logits.dtype in HALF:
        logits = logits.float()
    losses = functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1), reduction="none")
    return losses.reshape(labels.shape)


def soft_cross_entropy(student_logits: Tensor, target_probs: Tensor, *, temperature: float | Tensor = 1.0) -> Tensor:
    """Return the cross-entropy with a distribution, -sum q log p_s.

    It differs from the forward KL by the entropy of the target, which has no gradient for the student. The target is used as it is: soften
    it with the same temperature before (`targets.soften`). It need not sum to 1.

    Args:
        student_logits: float [..., C].
        target_probs: float [..., C], not negative; not detached here.
        temperature: above 0, divides the student's logits; a number or a tensor of the leading shape. Default 1.

    Returns:
        One loss per distribution in nats, [...].

    Raises:
        ShapeError: if the shapes differ.
        OptionError: if the temperature is not above 0.

    Source: Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, 2015, section 2.
    """
    same_shape(student_logits, target_probs, "logits and target probabilities")
    return -(target_probs * log_soften(student_logits, temperature)).sum(-1)


def soft_kl(student_logits: Tensor, target_probs: Tensor, *, temperature: float | Tensor = 1.0) -> Tensor:
    """Return the forward KL to a distribution, sum q (log q - log p_s): `soft_cross_entropy` less the entropy of the target.

    Classes of target probability 0 add nothing. Where a teacher's logits are at hand, `forward_kl` is the same.

    Args:
        student_logits: float [..., C].
        target_probs: float [..., C], not negative, summing to 1; not detached here.
        temperature: above 0, divides the student's logits; a number or a tensor of the leading shape. Default 1.

    Returns:
        One divergence per distribution in nats, [...]; 0 where p_s is q.

    Raises:
        ShapeError: if the shapes differ.
        OptionError: if the temperature is not above 0.
    """
    return soft_cross_entropy(student_logits, target_probs, temperature=temperature) + torch.xlogy(target_probs, target_probs).sum(-1)


def sigmoid_cross_entropy(student_logits: Tensor, target_probs: Tensor, *, temperature: float | Tensor = 1.0) -> Tensor:
    """Return the binary cross-entropy of each class, -q log s(x) - (1 - q) log(1 - s(x)) with s the sigmoid.

    For labels that do not exclude each other. Its minimum, at s(x) = q, is the binary entropy of q, not 0.

    Args:
        student_logits: float [..., C], finite.
        target_probs: float [..., C] in [0, 1]: labels or sigmoid probabilities; not detached here.
        temperature: above 0, divides the student's logits; a number or a tensor of the leading shape. Default 1.

    Returns:
        One loss per class in nats, [..., C].

    Raises:
        ShapeError: if the shapes differ.
        OptionError: if the temperature is not above 0.

    Source: Gao et al., Knowledge Concentration, 2017, section 3.
    """
    same_shape(student_logits, target_probs, "logits and target probabilities")
    logits = divide(student_logits, temperature)
    if logits.dtype in HALF:
        logits = logits.float()
    return functional.binary_cross_entropy_with_logits(logits, target_probs.to(logits.dtype), reduction="none")
