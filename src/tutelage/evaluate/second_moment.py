"""The second moment of a quadratic committee's weights: all that its answers, its tangent kernel and its losses depend on.

Of augmented weights (w, 1) it is `[[M, wbar], [wbar', 1]]`, with M the mean of w w' and wbar the mean of w over neurons.
"""

from __future__ import annotations

import torch
from torch import Tensor


def augmented(weight: Tensor) -> Tensor:
    """Return weights with a column of ones, `(w, 1)`.

    Args:
        weight: `[..., N, D]`.
    """
    return torch.cat([weight, torch.ones_like(weight[..., :1])], -1)


def second_moment(weight: Tensor) -> Tensor:
    """Return the mean over neurons of `(w, 1)(w, 1)'`, which holds M, wbar and 1.

    Args:
        weight: `[..., N, D]`.

    Returns:
        `[..., D + 1, D + 1]`.
    """
    rows = augmented(weight)
    return rows.mT @ rows / weight.shape[-2]


def answers(moment: Tensor, inputs: Tensor, alpha: float | Tensor, epsilon: float | Tensor) -> Tensor:
    """Return `alpha wbar . x + (alpha epsilon / 2) x' M x`, not centred.

    Args:
        moment: `[..., D + 1, D + 1]`.
        inputs: `[..., P, D]`.
        alpha: scale of the output, a number or `[..., 1]`.
        epsilon: share of the square, a number or `[..., 1]`.

    Returns:
        `[..., P]`.
    """
    mean, matrix = moment[..., :-1, -1], moment[..., :-1, :-1]
    linear = (inputs @ mean[..., None])[..., 0]
    square = ((inputs @ matrix) * inputs).sum(-1)
    return alpha * (linear + 0.5 * epsilon * square)


def committee_kernel(moment: Tensor, left: Tensor, right: Tensor, *, alpha: float, epsilon: float, width: int) -> Tensor:
    """Return the tangent kernel `(alpha^2 / N)(x . x') [1 + epsilon wbar . (x + x') + epsilon^2 x' M x']`.

    Args:
        moment: `[D + 1, D + 1]`.
        left: `[P, D]`.
        right: `[Q, D]`.
        alpha: scale of the output.
        epsilon: share of the square.
        width: N.

    Returns:
        `[P, Q]`.
    """
    mean, matrix = moment[:-1, -1], moment[:-1, :-1]
    linear = (left @ mean)[:, None] + (right @ mean)[None]
    return alpha**2 / width * (left @ right.mT) * (1 + epsilon * linear + epsilon**2 * (left @ matrix @ right.mT))


def loss_parts(moment: Tensor, direction: Tensor, *, alpha: float, epsilon: float, origin: Tensor | None = None) -> dict[str, float]:
    """Split the expected test loss on the quadratic teacher: A, wrong size; B, features off its direction; C, linear functions learned.

    Args:
        moment: of the student's weights, `[D + 1, D + 1]`.
        direction: the teacher's vector `[D]`.
        alpha: scale of the output.
        epsilon: share of the square.
        origin: moment at initialisation where the student is centred.

    Returns:
        `A`, `B` and `C`, which add up to the loss over x from N(0, I/D); none is negative.
    """
    moved = moment if origin is None else moment - origin
    mean, matrix, size = moved[:-1, -1], alpha * epsilon * moved[:-1, :-1], len(direction)
    scale = 0.25 * ((direction @ direction - matrix.trace()) / size) ** 2
    turned = ((matrix - torch.outer(direction, direction)) ** 2).sum() / (2 * size**2)
    return {"A": float(scale), "B": float(turned), "C": float(alpha**2 * (mean @ mean) / size)}


def alignment(moment: Tensor, origin: Tensor, direction: Tensor) -> float:
    """Return the alignment of the change of M with the teacher, `b' dM b / (|dM| |b|^2)`, in [-1, 1]; 0 before anything moved.

    Args:
        moment: `[D + 1, D + 1]`.
        origin: at initialisation.
        direction: the teacher's vector b, `[D]`.
    """
    change = (moment - origin)[:-1, :-1]
    size = float(torch.linalg.matrix_norm(change) * (direction @ direction))
    return float(direction @ change @ direction) / size if size > 0 else 0.0
