"""The accuracy-budget curve: how often a student is right when a teacher explains a share of the items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tutelage.errors import ShapeError
from tutelage.evaluate.learning_curves import area
from tutelage.selection.budgeted import Signals, Strategy, intervene

BUDGETS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""The budgets of arXiv 2306.09299."""


def accuracy(alone: Tensor, taught: Tensor, weights: Tensor) -> float:
    """Return the accuracy where items of weight 1 are answered with an explanation, the others alone.

    Args:
        alone: bool `[N]`, whether the student's own answer is right.
        taught: bool `[N]`, whether its answer with the explanation is right.
        weights: float `[N]` of zeros and ones, from a selector.

    Returns:
        In percent.

    Raises:
        ShapeError: if the lengths differ or there is no item.
    """
    if not len(alone) or not alone.shape == taught.shape == weights.shape:
        raise ShapeError(
            f"Accuracy at a budget takes one entry per item; got {list(alone.shape)}, {list(taught.shape)} and {list(weights.shape)}."
        )
    return 100.0 * float(torch.where(weights > 0, taught, alone).double().mean())


def budget_curve(alone: Tensor, taught: Tensor, weights: Sequence[Tensor]) -> list[float]:
    """Return the accuracy at every budget.

    Args:
        alone: bool `[N]`, whether the student's own answer is right.
        taught: bool `[N]`, whether its answer with the explanation is right.
        weights: for each budget float `[N]` of zeros and ones.

    Returns:
        In percent, one per budget.
    """
    return [accuracy(alone, taught, chosen) for chosen in weights]


def budget_area(accuracies: Sequence[float], budgets: Sequence[float] = BUDGETS) -> float:
    """Return the area under an accuracy-budget curve divided by the range of budgets, by the trapezoidal rule, in percent."""
    return area(accuracies, budgets)


@dataclass(frozen=True)
class BothWays:
    """Items that a student answered both ways, with and without an explanation: accuracies at every budget follow without asking again.

    Args:
        signals: what strategies look at.
        alone: bool `[N]`, whether its own answer is right.
        taught: bool `[N]`, whether its answer with the explanation is right.
    """

    signals: Signals
    alone: Tensor
    taught: Tensor

    def curve(self, strategy: str | Strategy, budgets: Sequence[float] = BUDGETS, *, seed: int = 0) -> list[float]:
        """Return the accuracy in percent at every budget.

        Args:
            strategy: whom to teach first; a name or a function of signals.
            budgets: shares of the items.
            seed: of chance, and of the order of equal scores, alike for all budgets.
        """
        chosen = [intervene(strategy, self.signals, budget, torch.Generator().manual_seed(seed)) for budget in budgets]
        return budget_curve(self.alone, self.taught, chosen)
