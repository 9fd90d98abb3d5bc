"""Confidence intervals over seeds, in closed form and without scipy."""

from __future__ import annotations

import math
from collections.abc import Sequence


def t_probability(t: float, freedom: int) -> float:
    """Return the probability that a Student t variable lies within `[-t, t]`.

    Args:
        t: bound, at least 0.
        freedom: degrees of freedom, at least 1.

    Returns:
        A probability in `[0, 1)`.

    Source:
        Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 (odd) and 26.7.4 (even).
    """
    theta = math.atan(t / math.sqrt(freedom))
    cosine = math.cos(theta)
    odd = freedom % 2 == 1
    term = cosine if odd else 1.0
    total = 0.0
    for k in range(1, (freedom + 1) // 2 if odd else freedom // 2 + 1):
        total += term
        term *= cosine**2 * (2 * k / (2 * k + 1) if odd else (2 * k - 1) / (2 * k))
    if odd:
        return 2 / math.pi * (theta + math.sin(theta) * total)
    return math.sin(theta) * total


def t_quantile(freedom: int, level: float = 0.95) -> float:
    """Return the two-sided quantile of Student's t: `P(|T| <= t) = level`.

    Args:
        freedom: degrees of freedom, at least 1.
        level: probability inside, in (0, 1).

    Returns:
        The bound `t`, to about twelve digits (bisection).
    """
    if freedom < 1 or not 0 < level < 1:
        raise ValueError(f"t_quantile needs freedom >= 1 and 0 < level < 1, got freedom={freedom}, level={level}")
    low, high = 0.0, 1.0
    while t_probability(high, freedom) < level:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if t_probability(middle, freedom) < level else (low, middle)
    return (low + high) / 2


def mean(values: Sequence[float]) -> float:
    """Return the mean of at least one value."""
    return math.fsum(values) / len(values)


def spread(values: Sequence[float]) -> float:
    """Return the sample standard deviation (divisor n - 1); 0 for a single value."""
    if len(values) < 2 or min(values) == max(values):
        return 0.0
    centre = mean(values)
    return math.sqrt(math.fsum((v - centre) ** 2 for v in values) / (len(values) - 1))


def interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float] | None:
    """Return the t-interval of the mean of per-seed values.

    Args:
        values: one number per seed; differences between two arms for a paired interval.
        level: its coverage.

    Returns:
        Lower and upper bound, or `None` for fewer than two values.
    """
    if len(values) < 2:
        return None
    half = t_quantile(len(values) - 1, level) * spread(values) / math.sqrt(len(values))
    centre = mean(values)
    return centre - half, centre + half
