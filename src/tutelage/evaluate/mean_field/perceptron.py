"""Order parameters of variational learning of a binary perceptron from a teacher: the first task.

`q` is the overlap of two replicas of the magnetisations m, `q_d` their self-overlap, `r` their overlap with the teacher; hatted ones
are their conjugates. All in the limit of many weights N with `load = patterns / N`, replica symmetric, at inverse temperature B.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tutelage.errors import OptionError
from tutelage.evaluate.mean_field.fixed_point import fixed_point
from tutelage.evaluate.mean_field.quadrature import Rule, legendre, normal

_EDGE = 1e-7
"""Least distance of the order parameters from where the energy is singular."""


@dataclass(frozen=True)
class Theory:
    """A solution of the saddle-point equations.

    Args:
        q: overlap of two replicas.
        r: overlap with the teacher of the task.
        q_d: self-overlap.
        q_hat: conjugate of q.
        r_hat: conjugate of r.
        q_d_hat: conjugate of q_d.
        overlaps: for each task so far, mean of the sign of a weight times the teacher's.
        iterations: how many it took.
        residual: largest change of an order parameter in the last of them.
    """

    q: float
    r: float
    q_d: float
    q_hat: float
    r_hat: float
    q_d_hat: float
    overlaps: tuple[float, ...]
    iterations: int
    residual: float

    @classmethod
    def of(cls, order: Tensor, hats: Tensor, overlaps: tuple[float, ...], iterations: int, residual: float) -> Theory:
        """Return a solution from its vectors.

        Args:
            order: `q`, `r`, `q_d`.
            hats: their conjugates.
            overlaps: one for each task so far.
            iterations: how many it took.
            residual: largest change in the last of them.
        """
        q, r, q_d = order.tolist()
        q_hat, r_hat, q_d_hat = hats.tolist()
        return cls(q, r, q_d, q_hat, r_hat, q_d_hat, overlaps, iterations, residual)

    @property
    def errors(self) -> tuple[float, ...]:
        """Generalisation error on each task so far."""
        return tuple(generalisation_error(p) for p in self.overlaps)


def generalisation_error(overlap: float) -> float:
    """Return `arccos(p) / pi`, the share of random inputs that two perceptrons of overlap p label differently.

    Args:
        overlap: p, in [-1, 1].
    """
    return math.acos(max(-1.0, min(1.0, overlap))) / math.pi


def energy(q: Tensor, r: Tensor, q_d: Tensor, *, inverse_temperature: float = 20.0, points: int = 241, rule: Rule = "trapezoid") -> Tensor:
    """Return the energy of one pattern, `2 INT Dz H(z r / sqrt(q - r^2)) log INT Dx H(g)^B`.

    `g = (sqrt(q_d - q) x + sqrt(q) z) / sqrt(1 - q_d)`; H is the upper tail of the normal distribution.

    Args:
        q: overlap of two replicas, scalar float64.
        r: overlap with the teacher, scalar.
        q_d: self-overlap, scalar.
        inverse_temperature: B.
        points: nodes of both integrals.
        rule: their quadrature.

    Returns:
        Scalar, differentiable in the three.
    """
    nodes, weights = normal(rule, points)
    ratio = r / (q - r.square()).clamp_min(_EDGE).sqrt()
    g = ((q_d - q).clamp_min(_EDGE).sqrt() * nodes + q.clamp_min(_EDGE**2).sqrt() * nodes[:, None]) / (1 - q_d).clamp_min(_EDGE).sqrt()
    inner = torch.logsumexp(inverse_temperature * torch.special.log_ndtr(-g) + weights.log(), -1)
    found: Tensor = 2 * (weights * torch.special.ndtr(-ratio * nodes) * inner).sum()
    return found


def conjugates(order: Tensor, load: float, **integrals: Any) -> Tensor:
    """Return `q^ = -2 a dE/dq`, `r^ = a dE/dr` and `q_d^ = a dE/dq_d`.

    Args:
        order: `q`, `r`, `q_d`, float64 `[3]`.
        load: a.
        **integrals: options of `energy`.

    Returns:
        float64 `[3]`.
    """
    order = order.detach().requires_grad_()
    with torch.enable_grad():
        gradient = torch.autograd.grad(energy(*order.unbind(), **integrals), order)[0]
    return load * gradient * torch.tensor([-2.0, 1.0, 1.0], dtype=order.dtype)


def binary_entropy(mean: Tensor) -> Tensor:
    """Return the entropy in nats of a spin of a given mean.

    Args:
        mean: m, within [-1, 1].
    """
    up, down = (1 + mean) / 2, (1 - mean) / 2
    return -torch.xlogy(up, up) - torch.xlogy(down, down)


def tilted(hats: Tensor, entropy_weight: float, field: Tensor, mean_points: int) -> Tensor:
    """Return the measure of one weight's magnetisation, `exp[(q_d^ - q^ / 2) m^2 + c S(m) + h m]`, for every field h.

    Args:
        hats: `q^`, `r^`, `q_d^`.
        entropy_weight: c, factor of the binary entropy S.
        field: h, of any shape.
        mean_points: Legendre nodes of m.

    Returns:
        Weights `[*h, mean_points]` that sum to 1 along the last axis.
    """
    m, weights = legendre(mean_points)
    potential = (hats[2] - hats[0] / 2) * m.square() + entropy_weight * binary_entropy(m)
    return torch.softmax(potential + weights.log() + field[..., None] * m, -1)


def averages(measure: Tensor) -> Tensor:
    """Return `<m>`, `<m^2>` and `<sign m>` under measures on the Legendre nodes.

    Args:
        measure: `[..., points]`.

    Returns:
        float64 `[3, ...]`.
    """
    m, _ = legendre(measure.shape[-1])
    return torch.stack([measure @ m, measure @ m.square(), measure @ m.sign()])


def first_task(
    load: float,
    *,
    inverse_temperature: float = 20.0,
    flat_prior: float = 0.0,
    start: tuple[float, float, float] = (0.1, 0.1, 0.4),
    damping: float = 0.7,
    tolerance: float = 1e-5,
    steps: int = 500,
    points: int = 241,
    mean_points: int = 400,
    rule: Rule = "trapezoid",
) -> Theory:
    """Solve the saddle-point equations of learning one task.

    Args:
        load: a, patterns per weight.
        inverse_temperature: B.
        flat_prior: weight of a divergence to the flat prior in the loss; 0 for none.
        start: q, r and q_d at which the iteration begins.
        damping: share of the old order parameters that an iteration keeps.
        tolerance: change at which it ends.
        steps: most iterations.
        points: nodes of the integrals over z and x.
        mean_points: Gauss-Legendre nodes of the integral over m.
        rule: quadrature of z and x. `"hermite"` with 60 points is the usual choice, and is 0.01 to 0.03 off in the error at loads from
            1 on, where the integrands have steps between its nodes; `"trapezoid"` is ours.

    Returns:
        The solution, with one overlap.

    Raises:
        OptionError: for a negative load.

    Source: arXiv 2212.02846, mean-field theory of the first task.
    """
    check_load(load)
    z, weights = normal(rule, points)

    def respond(order: Tensor) -> tuple[Tensor, Tensor]:
        hats = conjugates(order, load, inverse_temperature=inverse_temperature, points=points, rule=rule)
        field = hats[0].clamp_min(0).sqrt() * z + hats[1]
        return hats, averages(tilted(hats, inverse_temperature * flat_prior, field, mean_points))

    def update(order: Tensor) -> Tensor:
        mean, square, _ = respond(order)[1].unbind()
        return torch.stack([mean.square(), mean, square]) @ weights

    first = torch.tensor(start, dtype=torch.float64)
    order, iterations, residual = fixed_point(update, first, damping=damping, tolerance=tolerance, steps=steps)
    hats, found = respond(order)
    return Theory.of(order, hats, (float(found[2] @ weights),), iterations, residual)


def check_load(load: float) -> None:
    """Refuse a load below zero.

    Raises:
        OptionError: if it is.
    """
    if not load >= 0:
        raise OptionError(f"load is {load}; expected patterns per weight, 0 or more.")
