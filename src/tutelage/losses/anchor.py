"""Anchors: what it costs to leave a reference, weighted by how certain each number was."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from tutelage.errors import ShapeError


def binary_kl(field: Tensor, reference: Tensor, *, sharpness: float | Tensor = 1.0) -> Tensor:
    """Return the divergence of binary weights from reference ones, `KL(Q_t || Q_t')`, weight by weight.

    `(1+m)/2 log[(1+m)/(1+m')] + (1-m)/2 log[(1-m)/(1-m')]` with `m = tanh(b t)`; its gradient is `b^2 (1 - m^2) (t - t')`, so certain
    weights hardly feel it. Computed from the fields, it stays exact where weights are saturated.

    Args:
        field: t, of any shape.
        reference: t', of the same shape; zeros are the flat prior.
        sharpness: b of both.

    Returns:
        In nats, of the shape of `field`.

    Raises:
        ShapeError: if the shapes differ.

    Source: arXiv 2212.02846.
    """
    _same(field, reference)
    # Turned so that the likelier state is up, the log-probability of down is that of up less the log-odds, and nothing large cancels.
    turn = torch.where(field < 0, -2.0, 2.0).to(field.dtype) * sharpness
    mine, theirs = turn * field, turn * reference
    return F.logsigmoid(mine) - F.logsigmoid(theirs) - torch.sigmoid(-mine) * (mine - theirs)


def quadratic(value: Tensor, reference: Tensor, precision: Tensor) -> Tensor:
    """Return `precision (value - reference)^2 / 2` for every number.

    With a Fisher information as the precision it is elastic weight consolidation; with fields and their Fisher information `b^2 s` it
    is the second-order expansion of `binary_kl` about the reference.

    Args:
        value: of any shape.
        reference: of the same shape.
        precision: of the same shape, not negative.

    Returns:
        Of the shape of `value`.

    Raises:
        ShapeError: if the shapes differ.

    Source: Kirkpatrick et al., Overcoming catastrophic forgetting in neural networks, arXiv 1612.00796, eq. 3.
    """
    _same(value, reference)
    _same(value, precision)
    return 0.5 * precision * (value - reference).square()


def diagonal_fisher(log_likelihood: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    """Return the diagonal of the empirical Fisher information: the mean over samples of squared gradients.

    Args:
        log_likelihood: of every sample, `[N]`, with a graph to the parameters.
        parameters: with respect to what.

    Returns:
        One tensor for each parameter, of its shape; zeros for one that the samples do not touch.
    """
    totals = [torch.zeros_like(p) for p in parameters]
    for sample in torch.eye(len(log_likelihood), dtype=log_likelihood.dtype, device=log_likelihood.device):
        gradients = torch.autograd.grad(log_likelihood, parameters, sample, retain_graph=True, allow_unused=True)
        for total, gradient in zip(totals, gradients, strict=True):
            if gradient is not None:
                total += gradient.detach().square() / len(log_likelihood)
    return totals


def _same(value: Tensor, reference: Tensor) -> None:
    if value.shape != reference.shape:
        raise ShapeError(
            f"A tensor {list(value.shape)} is held to one of shape {list(reference.shape)}; both must have the same shape: "
            "anchor every parameter to its own earlier value."
        )
