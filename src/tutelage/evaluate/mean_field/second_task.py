"""The Franz-Parisi potential of a second task: its student is held near magnetisations drawn from the first task's measure."""

from __future__ import annotations

import torch
from torch import Tensor

from tutelage.errors import OptionError
from tutelage.evaluate.mean_field.fixed_point import fixed_point
from tutelage.evaluate.mean_field.perceptron import Theory, averages, check_load, conjugates, tilted
from tutelage.evaluate.mean_field.quadrature import Rule, legendre, normal

_TABLE = 4000
"""Fields at which the inner averages are computed; between them they are interpolated."""


def second_task(
    first: Theory,
    load: float,
    *,
    overlap: float = 0.0,
    gamma: float = 1.0,
    inverse_temperature: float = 20.0,
    flat_prior: float = 0.0,
    start: tuple[float, float, float] | None = None,
    damping: float = 0.7,
    tolerance: float = 1e-5,
    steps: int = 500,
    points: int = 241,
    mean_points: int = 400,
    rule: Rule = "trapezoid",
) -> Theory:
    """Solve the saddle-point equations of learning a second task with a divergence to the first one's posterior.

    The divergence `KL(m || m_1)` is minus the entropy of m, less `m atanh(m_1)`, and a constant: so the inner measure knows the quenched
    `m_1` only as a further field, and its averages are functions of one number.

    Args:
        first: solution of the first task.
        load: a_2, patterns of the second task per weight.
        overlap: r_0 between the teachers of both tasks, in [-1, 1].
        gamma: weight of the divergence; 0 forgets the first task.
        inverse_temperature: B.
        flat_prior: what `first` was solved with.
        start: q, r and q_d at which the iteration begins; `None` for those of the first task, r multiplied by the overlap.
        damping: share of the old order parameters that an iteration keeps.
        tolerance: change at which it ends.
        steps: most iterations.
        points: nodes of the integrals over z and x.
        mean_points: Gauss-Legendre nodes of the integrals over m and m_1.
        rule: quadrature of z and x.

    Returns:
        The solution; its overlaps are with the teachers of the first and of the second task.

    Raises:
        OptionError: for a negative load or gamma, or an overlap outside [-1, 1].

    Source: arXiv 2212.02846, Franz-Parisi potential.
    """
    check_load(load)
    if not -1 <= overlap <= 1 or gamma < 0:
        raise OptionError(f"overlap is {overlap} and gamma {gamma}; expected a number from -1 to 1, and 0 or more.")
    z, normal_weights = normal(rule, points)
    anchor, anchor_weights = _anchors(first, inverse_temperature * flat_prior, z, normal_weights, mean_points)
    sign = torch.tensor([1.0, -1.0], dtype=torch.float64)
    sign_weights = torch.tensor([(1 + overlap) / 2, (1 - overlap) / 2], dtype=torch.float64)
    outer = sign_weights[:, None, None] * anchor_weights[:, None] * normal_weights
    prior = inverse_temperature * gamma

    def respond(order: Tensor) -> tuple[Tensor, Tensor]:
        hats = conjugates(order, load, inverse_temperature=inverse_temperature, points=points, rule=rule)
        field = sign[:, None, None] * hats[1] + prior * anchor[:, None] + hats[0].clamp_min(0).sqrt() * z
        return hats, _interpolated(hats, prior, field, mean_points)

    def update(order: Tensor) -> Tensor:
        mean, square, _ = respond(order)[1].unbind()
        return torch.stack([(outer * value).sum() for value in (mean.square(), sign[:, None, None] * mean, square)])

    begin = torch.tensor(start or (first.q, overlap * first.r, first.q_d), dtype=torch.float64)
    order, iterations, residual = fixed_point(update, begin, damping=damping, tolerance=tolerance, steps=steps)
    hats, found = respond(order)
    overlaps = (float((outer * found[2]).sum()), float((outer * sign[:, None, None] * found[2]).sum()))
    return Theory.of(order, hats, overlaps, iterations, residual)


def _anchors(first: Theory, entropy_weight: float, z: Tensor, weights: Tensor, mean_points: int) -> tuple[Tensor, Tensor]:
    """`atanh(m_1)` at the Legendre nodes, and the weight of each under the first task's measure."""
    m, _ = legendre(mean_points)
    hats = torch.tensor([first.q_hat, first.r_hat, first.q_d_hat], dtype=torch.float64)
    field = hats[0].clamp_min(0).sqrt() * z + hats[1]
    return torch.atanh(m), weights @ tilted(hats, entropy_weight, field, mean_points)


def _interpolated(hats: Tensor, entropy_weight: float, field: Tensor, mean_points: int) -> Tensor:
    """Averages of the inner measure at every field, from a table of fields that are dense around zero, where `<m>` turns."""
    place = torch.asinh(field.abs())
    end = place.max().clamp_min(1e-6)
    table = averages(tilted(hats, entropy_weight, torch.sinh(torch.linspace(0, 1, _TABLE, dtype=torch.float64) * end), mean_points))
    place = place * ((_TABLE - 1) / end)
    left = place.long().clamp_max(_TABLE - 2)
    values = torch.lerp(table[:, left], table[:, left + 1], (place - left).expand(3, *field.shape))
    direction = torch.where(field < 0, -1.0, 1.0).to(values.dtype)  # <m> and <sign m> are odd in the field, <m^2> is even
    return torch.stack([values[0] * direction, values[1], values[2] * direction])
