"""What the steps of an epoch lost: taken from the device in bundles, checked to be finite, averaged."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor

from tutelage.train.log import Row


class Ledger:
    """The losses and logged values of the running epoch.

    Args:
        refuse: is called with the name, value and step of a number that is not finite, and raises.
    """

    def __init__(self, refuse: Callable[[str, float, int], None]) -> None:
        self.refuse = refuse
        self.sums: dict[str, list[float]] = {}
        self._waiting: list[tuple[int, dict[str, Tensor]]] = []
        self._last: dict[str, Tensor] = {}

    def add(self, step: int, values: dict[str, Tensor]) -> None:
        """Note the scalars of one batch; they stay on the device until `settle`."""
        self._waiting.append((step, values))

    def settle(self) -> None:
        """Take what waits on the device, check it, and add it to the sums."""
        for step, values in self._waiting:
            for name, value in values.items():
                number = float(value)
                if not math.isfinite(number):
                    self.refuse(name, number, step)
                total = self.sums.setdefault(name, [0.0, 0.0])
                total[0] += number
                total[1] += 1
            self._last = values
        self._waiting = []

    def latest(self) -> Row:
        """Return the last batch's values."""
        self.settle()
        return {name: float(value) for name, value in self._last.items()}

    def close(self) -> Row:
        """Return the epoch's means and begin the next epoch."""
        self.settle()
        means = {name: total / count for name, (total, count) in self.sums.items()}
        self.sums = {}
        return means

    def text(self) -> str:
        """Return the running means of the first few values, for the progress bar."""
        return "  ".join(f"{name} {total / max(count, 1):.3f}" for name, (total, count) in list(self.sums.items())[:4])
