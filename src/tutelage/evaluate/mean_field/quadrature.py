"""Gauss quadrature: nodes and weights by which integrals become sums."""

from __future__ import annotations

import functools
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from tutelage.errors import OptionError

Rule = Literal["trapezoid", "hermite"]


def normal(rule: Rule, points: int) -> tuple[Tensor, Tensor]:
    """Return nodes and weights for averages over a standard normal variable.

    Args:
        rule: `"trapezoid"` or `"hermite"`, the functions of those names.
        points: number of nodes.

    Returns:
        Nodes and weights, float64 `[points]`; the weights sum to 1.

    Raises:
        OptionError: for another rule, or too few points.
    """
    if rule not in ("trapezoid", "hermite"):
        raise OptionError(f"rule is '{rule}'; expected 'trapezoid' or 'hermite'.")
    return trapezoid(points) if rule == "trapezoid" else hermite(points)


@functools.cache
def hermite(points: int) -> tuple[Tensor, Tensor]:
    """Return nodes and weights for averages over a standard normal variable; exact for polynomials of degree `2 points - 1`.

    Args:
        points: number of nodes, at least 1.

    Returns:
        Nodes and weights, float64 `[points]`; the weights sum to 1.

    Raises:
        OptionError: for fewer than one point.
    """
    _check(points)
    nodes, weights = np.polynomial.hermite_e.hermegauss(points)
    return torch.from_numpy(nodes), torch.from_numpy(weights / weights.sum())


@functools.cache
def trapezoid(points: int, reach: float = 8.0) -> tuple[Tensor, Tensor]:
    """Return equally spaced nodes and weights for averages over a standard normal variable.

    Unlike Gauss nodes, which lie ever sparser away from zero, they resolve integrands with kinks and steps anywhere; for smooth ones the
    error falls faster than any power of the spacing.

    Args:
        points: number of nodes, at least 2.
        reach: largest node, in standard deviations.

    Returns:
        Nodes and weights, float64 `[points]`; the weights sum to 1.

    Raises:
        OptionError: for fewer than two points.
    """
    _check(points, 2)
    nodes = torch.linspace(-reach, reach, points, dtype=torch.float64)
    return nodes, torch.softmax(-nodes.square() / 2, 0)


@functools.cache
def legendre(points: int) -> tuple[Tensor, Tensor]:
    """Return nodes and weights for integrals from -1 to 1; exact for polynomials of degree `2 points - 1`.

    Args:
        points: number of nodes, at least 1.

    Returns:
        Nodes and weights, float64 `[points]`; the weights sum to 2.

    Raises:
        OptionError: for fewer than one point.
    """
    _check(points)
    nodes, weights = np.polynomial.legendre.leggauss(points)
    return torch.from_numpy(nodes), torch.from_numpy(weights)


def _check(points: int, least: int = 1) -> None:
    if points < least:
        raise OptionError(f"A quadrature of {points} points was asked for; expected at least {least}.")
