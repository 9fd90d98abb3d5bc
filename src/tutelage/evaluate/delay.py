"""Delayed generalisation: logs on a geometric grid of steps, and how much later than the training loss the test loss falls."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tutelage.errors import OptionError


def geometric_steps(total: int, per_decade: int = 20) -> list[int]:
    """Return 0, then whole numbers that grow by a constant factor, then the last step.

    Args:
        total: the last step, at least 1.
        per_decade: how many numbers lie between one power of ten and the next; fewer where they would repeat.

    Raises:
        OptionError: if either is below 1.
    """
    if total < 1 or per_decade < 1:
        raise OptionError(f"A geometric grid takes total and per_decade of at least 1; got {total} and {per_decade}.")
    count = math.ceil(per_decade * math.log10(total)) if total > 1 else 0
    grid = {round(10 ** (number / per_decade)) for number in range(count + 1)}
    return sorted({0, total} | {step for step in grid if step < total})


@dataclass
class GridLog:
    """A log whose rows lie on a geometric grid of steps.

    Args:
        total: the last step.
        per_decade: rows per power of ten.
    """

    total: int
    per_decade: int = 20
    steps: list[int] = field(default_factory=list)
    values: dict[str, list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._grid = frozenset(geometric_steps(self.total, self.per_decade))

    def due(self, step: int) -> bool:
        """Return whether a step is on the grid."""
        return step in self._grid

    def add(self, step: int, **values: float) -> None:
        """Add a row.

        Args:
            step: later than that of the row before.
            **values: numbers by name, the same names in every row.

        Raises:
            OptionError: if the step does not increase or the names change.
        """
        if self.steps and (step <= self.steps[-1] or values.keys() != self.values.keys()):
            raise OptionError(
                f"The row of step {step} with {', '.join(values)} cannot follow that of step {self.steps[-1]} with "
                f"{', '.join(self.values)}: steps must increase and names stay."
            )
        self.steps.append(step)
        for name, value in values.items():
            self.values.setdefault(name, []).append(float(value))


def first_below(steps: Sequence[int], losses: Sequence[float], threshold: float) -> int | None:
    """Return the first step at which a loss is below a threshold, `None` if it never is.

    Args:
        steps: steps at which it was measured.
        losses: one number each.
        threshold: the threshold.
    """
    return next((step for step, loss in zip(steps, losses, strict=True) if loss < threshold), None)


@dataclass(frozen=True)
class Delay:
    """How much later a network generalises than it fits.

    Args:
        train: first step with the training loss below its threshold, `None` if never.
        test: first step with the test loss below its own.
        peak: largest test loss relative to that at the start; 1 where it never rises.
        final: last test loss.
    """

    train: int | None
    test: int | None
    peak: float
    final: float

    @property
    def ratio(self) -> float | None:
        """Steps to generalise over steps to fit, at least one step each; `None` unless both happen."""
        return None if self.train is None or self.test is None else max(self.test, 1) / max(self.train, 1)


def delay(steps: Sequence[int], train_loss: Iterable[float], test_loss: Iterable[float], *, train_below: float, test_below: float) -> Delay:
    """Measure delayed generalisation on two loss curves; accuracies would show a delay where there is none.

    Args:
        steps: steps at which both were measured, increasing.
        train_loss: one number per step.
        test_loss: one number per step.
        train_below: threshold of the training loss.
        test_below: threshold of the test loss.

    Returns:
        What was found.

    Raises:
        OptionError: if there is no step, or the numbers of values differ.
    """
    train, test = list(train_loss), list(test_loss)
    if not steps or not len(steps) == len(train) == len(test):
        raise OptionError(f"A delay takes one training and one test loss per step; got {len(steps)}, {len(train)} and {len(test)}.")
    start = test[0]
    return Delay(
        first_below(steps, train, train_below), first_below(steps, test, test_below), max(test) / start if start else math.inf, test[-1]
    )
