"""The box that tasks are vectors of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage.errors import OptionError, ShapeError

Task = NDArray[np.float64]


@dataclass(frozen=True)
class TaskBox:
    """A box of task vectors: what a curriculum draws from.

    Args:
        low: smallest value of every parameter.
        high: largest value of every parameter.
        names: names of the parameters, for pictures and messages; `p0`, `p1`, ... by default.

    Raises:
        OptionError: if a side is empty, turned round or not finite, or if the lengths differ.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            object.__setattr__(self, name, tuple(float(v) for v in getattr(self, name)))
        object.__setattr__(self, "names", tuple(self.names) or tuple(f"p{i}" for i in range(len(self.low))))
        if not self.low or not len(self.low) == len(self.high) == len(self.names):
            raise OptionError(
                f"A task box got {len(self.low)} lower bounds, {len(self.high)} upper bounds and {len(self.names)} names; "
                "expected one of each per parameter, and at least one parameter."
            )
        for name, low, high in zip(self.names, self.low, self.high, strict=True):
            if not (math.isfinite(low) and math.isfinite(high) and high - low > 0):
                raise OptionError(
                    f"Task parameter '{name}' goes from {low} to {high}; expected finite bounds with the lower below the upper. "
                    "A parameter that does not vary belongs into the factory of the environment, not into the box."
                )

    @property
    def dimension(self) -> int:
        """Number of parameters."""
        return len(self.low)

    @cached_property
    def lows(self) -> Task:
        """Lower bounds `[d]`."""
        return np.array(self.low)

    @cached_property
    def ranges(self) -> Task:
        """Widths of the sides `[d]`."""
        return np.array(self.high) - self.lows

    @cached_property
    def highs(self) -> Task:
        """Upper bounds `[d]`."""
        return np.array(self.high)

    @property
    def centre(self) -> Task:
        """The middle of the box `[d]`."""
        return self.lows + 0.5 * self.ranges

    def uniform(self, generator: np.random.Generator) -> Task:
        """Draw a task `[d]` uniformly."""
        drawn: Task = self.lows + self.ranges * generator.random(self.dimension)
        return np.minimum(drawn, self.highs)

    def clip(self, task: Task) -> Task:
        """Return the nearest task inside the box."""
        return np.minimum(np.maximum(task, self.lows), self.highs)

    def unit(self, tasks: Task) -> Task:
        """Scale tasks `[..., d]` to the unit cube."""
        scaled: Task = (tasks - self.lows) / self.ranges
        return scaled

    def check(self, task: Any) -> Task:
        """Return a task as a float64 vector.

        Args:
            task: `d` numbers.

        Raises:
            ShapeError: if it has another number of parameters.
            OptionError: if a parameter is not finite or outside the box.
        """
        vector = np.asarray(task, dtype=np.float64)
        if vector.shape != (self.dimension,):
            raise ShapeError(f"A task has the shape {vector.shape}; expected ({self.dimension},): {', '.join(self.names)}.")
        inside = (vector >= self.lows) & (vector <= self.highs)
        if not inside.all():
            i = int(np.flatnonzero(~inside)[0])
            raise OptionError(f"Task parameter '{self.names[i]}' is {vector[i]}; expected {self.low[i]} to {self.high[i]}.")
        return vector

    def tell(self, task: Sequence[float] | Task) -> str:
        """Return a task in words: `height=1.5, spacing=2`."""
        return ", ".join(f"{name}={float(value):.6g}" for name, value in zip(self.names, task, strict=True))
