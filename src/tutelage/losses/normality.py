"""Univariate tests of normality as differentiable losses: how far samples are from the standard normal distribution.

Each takes samples `[..., N, M]`, of M variables, and returns one statistic per variable, `[..., M]`. In a distributed training the samples
are those of all processes. Epps-Pulley compares characteristic functions: linear time, gradients bounded whatever the sample. `moments`
and `jarque_bera` compare moments alone, which do not determine a distribution; the others compare distribution functions and sort.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor

from tutelage.errors import OptionError, ShapeError, nearest
from tutelage.losses.across import count_over_processes, rows_over_processes, sum_over_processes
from tutelage.losses.characteristic import characteristic_sums
from tutelage.losses.features import full

NormalityTest = Literal["epps-pulley", "moments", "jarque-bera", "cramer-von-mises", "anderson-darling", "watson"]
Line = Literal["half", "full"]

_LEAST = 1e-12  # variance below which a variable counts as constant


def epps_pulley(samples: Tensor, directions: Tensor | None = None, *, knots: int = 17, reach: float = 3.0, line: Line = "half") -> Tensor:
    """Return the Epps-Pulley statistic against the standard normal: N times the weighted distance of characteristic functions.

    EP = N int |phi_N(t) - exp(-t^2/2)|^2 exp(-t^2/2) dt with phi_N(t) = mean_n exp(i t x_n), by the trapezoid rule. Its expectation for
    standard normal samples is about 1.06, whatever N.

    Args:
        samples: float `[..., N, M]`, or `[..., N, K]` with directions.
        directions: `[M, K]`, on which samples are projected first, without holding all projections; they get no gradient.
        knots: points t of the rule, T, at least 2. Default 17.
        reach: the largest t, above 0. Default 3.
        line: `"half"` puts the knots on [0, reach] and doubles the weights, for the integrand is even; `"full"` on [-reach, reach].

    Returns:
        One statistic per variable (direction), `[..., M]`.

    Raises:
        ShapeError: if there are no samples, or they do not fit the directions.
        OptionError: for an option out of its range.

    Source: Epps and Pulley, A test for normality based on the empirical characteristic function, Biometrika 1983.
    """
    x = _checked(samples)
    if directions is not None and (directions.ndim != 2 or directions.shape[1] != x.shape[-1]):
        raise ShapeError(f"Directions are {list(directions.shape)} for samples {list(x.shape)}; expected [M, {x.shape[-1]}].")
    t, weight = quadrature(knots, reach, line)
    with torch.autocast(x.device.type, enabled=False):
        place = None if directions is None else directions.to(x)
        spacing = t[1] - t[0] if len(t) > 1 else 0.0
        flat = x.reshape(-1, *x.shape[-2:])
        sums = characteristic_sums(flat, place, first=t[0], spacing=spacing, knots=len(t))
        number = count_over_processes(x.shape[-2], x)
        cosine, sine = sum_over_processes(sums) / number
        knot = x.new_tensor(t)
        normal = torch.exp(-knot.square() / 2)
        distance = (cosine - normal[:, None]).square() + sine.square()
        statistic: Tensor = number * ((x.new_tensor(weight) * normal)[:, None] * distance).sum(-2)
    return statistic.reshape(*x.shape[:-2], -1)


def quadrature(knots: int, reach: float, line: Line) -> tuple[list[float], list[float]]:
    """Return the knots t >= 0 of the trapezoid rule and their weights, those of -t included.

    Args:
        knots: points of the rule, on the half line or the full one; at least 2.
        reach: the largest t, above 0.
        line: `"half"` or `"full"`.

    Raises:
        OptionError: for an option out of its range.
    """
    if line not in get_args(Line):
        raise OptionError(f"line is '{line}'; expected 'half' or 'full'.")
    if knots < 2 or not 0 < reach < math.inf:
        raise OptionError(f"The quadrature got knots={knots}, reach={reach}; expected at least 2 knots and a reach above 0.")
    if line == "half":
        spacing = reach / (knots - 1)
        # Both ends have half a weight on the half line; evenness doubles all.
        return [k * spacing for k in range(knots)], [spacing if k in (0, knots - 1) else 2 * spacing for k in range(knots)]
    spacing = 2 * reach / (knots - 1)
    start = 0.0 if knots % 2 else spacing / 2
    t = [start + k * spacing for k in range((knots + 1) // 2)]
    weight = [spacing if value == 0 else 2 * spacing for value in t]
    weight[-1] = spacing
    return t, weight


def moments(samples: Tensor) -> Tensor:
    """Return mean^2 + (std - 1)^2, which over all directions asks for whitened samples and no more, as VICReg does.

    Args:
        samples: float `[..., N, M]`.

    Returns:
        `[..., M]`. It vanishes for anything of mean 0 and variance 1, normal or not.
    """
    mean, variance, _, _, _ = _moments(_checked(samples))
    return mean.square() + (variance.clamp_min(_LEAST).sqrt() - 1).square()


def jarque_bera(samples: Tensor) -> Tensor:
    """Return the extended Jarque-Bera statistic: that of skewness and kurtosis, and what mean 0 and variance 1 add.

    N mean^2 / var + (N - 1) (var - 1)^2 / 2 + N/6 (skewness^2 + (kurtosis - 3)^2 / 4).

    Args:
        samples: float `[..., N, M]`.

    Returns:
        `[..., M]`.

    Source: Jarque and Bera, Economics Letters 1980; extended as in arXiv 2511.08544.
    """
    mean, variance, third, fourth, number = _moments(_checked(samples))
    spread = variance.clamp_min(_LEAST)
    skewness, kurtosis = third / spread**1.5, fourth / spread**2
    shape = number / 6 * (skewness.square() + (kurtosis - 3).square() / 4)
    return number * mean.square() / spread + (number - 1) * (variance - 1).square() / 2 + shape


def cramer_von_mises(samples: Tensor) -> Tensor:
    """Return the Cramer-von Mises statistic 1/(12 N) + sum_i (Phi(x_(i)) - (2 i - 1)/(2 N))^2, `[..., M]` of samples `[..., N, M]`."""
    return _rank_distance(_ordered(samples))


def watson(samples: Tensor) -> Tensor:
    """Return Watson's statistic, that of Cramer and von Mises less N (mean Phi - 1/2)^2, `[..., M]` of samples `[..., N, M]`.

    Taking that part off makes it blind to how much of the distribution function's distance is one shift.
    """
    x = _ordered(samples)
    statistic: Tensor = _rank_distance(x) - x.shape[-2] * (torch.special.ndtr(x).mean(-2) - 0.5).square()
    return statistic


def anderson_darling(samples: Tensor) -> Tensor:
    """Return -N - 1/N sum_i (2 i - 1) (ln Phi(x_(i)) + ln(1 - Phi(x_(N+1-i)))), `[..., M]` of samples `[..., N, M]`."""
    x = _ordered(samples)
    number = x.shape[-2]
    odd = _odd(x)
    logs = torch.special.log_ndtr(x) + torch.special.log_ndtr(-x.flip(-2))
    statistic: Tensor = -number - (odd[:, None] * logs).mean(-2)
    return statistic


TESTS: dict[str, Callable[[Tensor], Tensor]] = {
    "epps-pulley": epps_pulley,
    "moments": moments,
    "jarque-bera": jarque_bera,
    "cramer-von-mises": cramer_von_mises,
    "anderson-darling": anderson_darling,
    "watson": watson,
}
"""The tests by name."""


def test_named(name: str) -> Callable[[Tensor], Tensor]:
    """Return a test by its name.

    Raises:
        OptionError: if there is none of that name; the nearest is offered.
    """
    if name not in TESTS:
        raise OptionError(f"No test of normality is called '{name}'.{nearest(name, TESTS)}")
    return TESTS[name]


def _checked(samples: Tensor) -> Tensor:
    if samples.ndim < 2 or 0 in samples.shape or not samples.is_floating_point():
        raise ShapeError(f"Samples are {samples.dtype} {list(samples.shape)}; expected floating-point [..., N, M] of at least one sample.")
    return full(samples)


def _moments(x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, int]:
    """Return mean and the central moments 2, 3 and 4 of the samples of all processes, and their number."""
    number = count_over_processes(x.shape[-2], x)
    mean = sum_over_processes(x.sum(-2)) / number
    centred = x - mean.unsqueeze(-2)
    square = centred.square()
    powers = torch.stack([square.sum(-2), (square * centred).sum(-2), square.square().sum(-2)])
    second, third, fourth = sum_over_processes(powers) / number
    return mean, second, third, fourth, number


def _ordered(samples: Tensor) -> Tensor:
    ordered: Tensor = rows_over_processes(_checked(samples)).sort(-2).values
    return ordered


def _odd(x: Tensor) -> Tensor:
    """Return 2 i - 1 for i = 1..N."""
    return 2 * torch.arange(x.shape[-2], device=x.device, dtype=x.dtype) + 1


def _rank_distance(ordered: Tensor) -> Tensor:
    number = ordered.shape[-2]
    place = _odd(ordered)[:, None] / (2 * number)
    distance: Tensor = 1 / (12 * number) + (torch.special.ndtr(ordered) - place).square().sum(-2)
    return distance
