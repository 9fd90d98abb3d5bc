"""The damped iteration that solves saddle-point equations."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tutelage.errors import OptionError


def fixed_point(
    update: Callable[[Tensor], Tensor], start: Tensor, *, damping: float = 0.5, tolerance: float = 1e-6, steps: int = 1000
) -> tuple[Tensor, int, float]:
    """Iterate `x <- damping x + (1 - damping) update(x)` until an update changes no entry by more than the tolerance.

    Args:
        update: the right-hand side of the equations, from a vector to one of the same shape.
        start: where to begin.
        damping: share of the old value that is kept, in [0, 1).
        tolerance: largest change of an entry, before damping, at which the iteration ends.
        steps: most iterations.

    Returns:
        The last vector, the number of iterations, and the largest change in the last of them (above the tolerance: not converged).

    Raises:
        OptionError: for damping outside [0, 1), or an update that is not finite.
    """
    if not 0 <= damping < 1:
        raise OptionError(f"damping is {damping}; expected a number from 0 to below 1.")
    x, change = start, float("inf")
    for step in range(1, steps + 1):
        new = update(x)
        if not torch.isfinite(new).all():
            raise OptionError(f"The equations gave {new.tolist()} at iteration {step}: raise damping, now {damping}, or begin elsewhere.")
        change = float((new - x).abs().max())
        x = damping * x + (1 - damping) * new
        if change <= tolerance:
            return x, step, change
    return x, steps, change
