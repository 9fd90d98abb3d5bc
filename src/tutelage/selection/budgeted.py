"""Which items a teacher spends its budget on, by what it expects of the student, what the student shows, or by chance.

A strategy turns `Signals` into a score per item; `budgeted` gives weight 1 to the highest scores that the budget allows, 0 to the rest.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from tutelage.errors import OptionError, ShapeError, nearest


@dataclass(frozen=True)
class Signals:
    """What is known about N items; probabilities are of the reference answer, float `[N]`, `None` where not asked for.

    Args:
        count: N.
        pre: by the mental model, if the student is left alone.
        post: by the mental model, if it is given the explanation.
        true_pre: by the student itself, alone.
        true_post: by the student itself, with the explanation.
        confidence: of the student alone in whatever it answers: its largest probability.
        teacher: by the teacher itself.
        wrong: bool `[N]`, whether the student alone answers wrong.
    """

    count: int
    pre: Tensor | None = None
    post: Tensor | None = None
    true_pre: Tensor | None = None
    true_post: Tensor | None = None
    confidence: Tensor | None = None
    teacher: Tensor | None = None
    wrong: Tensor | None = None

    def __post_init__(self) -> None:
        for field in fields(self)[1:]:
            value = getattr(self, field.name)
            if value is not None and value.shape != (self.count,):
                raise ShapeError(
                    f"Signals of {self.count} items have '{field.name}' of shape {list(value.shape)}: expected [{self.count}]."
                )

    def need(self, name: str) -> Tensor:
        """Return one of them.

        Raises:
            OptionError: if it was not asked for.
        """
        found: Tensor | None = getattr(self, name)
        if found is None:
            raise OptionError(f"This strategy needs the signal '{name}', which is missing. Another strategy does without it.")
        return found


Strategy = Callable[[Signals, torch.Generator | None], Tensor]
"""From signals and a generator to a score `[N]`; the highest are taught first."""


def random(signals: Signals, generator: torch.Generator | None = None) -> Tensor:
    """Score at random."""
    return torch.rand(signals.count, generator=generator)


def utility(signals: Signals, generator: torch.Generator | None = None) -> Tensor:
    """Score by expected utility, `U = p_post - p_pre` of the reference answer, in [-1, 1]."""
    del generator
    return signals.need("post") - signals.need("pre")


def deceive(signals: Signals, generator: torch.Generator | None = None) -> Tensor:
    """Score by the least expected utility: what a teacher does that wants the student to fail."""
    return -utility(signals, generator)


def least_pre(signals: Signals, generator: torch.Generator | None = None) -> Tensor:
    """Score by how unlikely the student is expected to be right alone."""
    del generator
    return -signals.need("pre")


def most_post(signals: Signals, generator: torch.Generator | None = None) -> Tensor:
    """Score by how likely the student is expected to be right with the explanation."""
    del generator
    return signals.need("post")


def least_confidence(signals: Signals, generator: torch.Generator | None = None) -> Tensor:
    """Score by how unsure the student itself is, right or wrong."""
    del generator
    return -signals.need("confidence")


def true_pre(signals: Signals, generator: torch.Generator | None = None) -> Tensor:
    """Score by how unlikely the student itself makes the reference answer, alone."""
    del generator
    return -signals.need("true_pre")


def true_post(signals: Signals, generator: torch.Generator | None = None) -> Tensor:
    """Score by how likely the student itself makes the reference answer with the explanation."""
    del generator
    return signals.need("true_post")


def true_utility(signals: Signals, generator: torch.Generator | None = None) -> Tensor:
    """Score by the true utility: the student's own probabilities in place of the mental model's."""
    del generator
    return signals.need("true_post") - signals.need("true_pre")


def teacher_confidence(signals: Signals, generator: torch.Generator | None = None) -> Tensor:
    """Score by how likely the teacher itself makes the reference answer."""
    del generator
    return signals.need("teacher")


STRATEGIES: dict[str, Strategy] = {
    "utility": utility,
    "random": random,
    "least-pre": least_pre,
    "most-post": most_post,
    "least-confidence": least_confidence,
    "true-pre": true_pre,
    "true-post": true_post,
    "true-utility": true_utility,
    "teacher-confidence": teacher_confidence,
    "deceive": deceive,
}
"""Strategies that score items, by name; `intervene` also knows "oracle"."""

ALL = frozenset(field.name for field in fields(Signals)[1:])
"""Names of all signals."""

NEEDS: dict[str, frozenset[str]] = {
    "utility": frozenset({"pre", "post"}),
    "deceive": frozenset({"pre", "post"}),
    "least-pre": frozenset({"pre"}),
    "most-post": frozenset({"post"}),
    "random": frozenset(),
    "least-confidence": frozenset({"confidence"}),
    "true-pre": frozenset({"true_pre"}),
    "true-post": frozenset({"true_post"}),
    "true-utility": frozenset({"true_pre", "true_post"}),
    "teacher-confidence": frozenset({"teacher"}),
    "oracle": frozenset({"wrong"}),
}
"""Signals that each strategy looks at, so that nothing else is asked for."""


def needs(strategy: str | Strategy) -> frozenset[str]:
    """Return names of the signals that a strategy looks at; of a function all.

    Args:
        strategy: a name, or a function.

    Raises:
        OptionError: for an unknown name.
    """
    if not isinstance(strategy, str):
        return ALL
    if strategy not in NEEDS:
        raise OptionError(f"No strategy is called '{strategy}'.{nearest(strategy, NEEDS)}")
    return NEEDS[strategy]


def allowed(budget: float, count: int) -> int:
    """Return how many of `count` items a budget allows: floor(budget x count).

    Args:
        budget: share of the items, in [0, 1].
        count: number of items.

    Raises:
        OptionError: for a budget out of range.
    """
    if isinstance(budget, bool) or not isinstance(budget, int | float) or not 0 <= budget <= 1:
        raise OptionError(f"budget is {budget!r}; expected a share of the items, from 0 to 1.")
    return math.floor(budget * count + 1e-9)  # 0.29 x 100 is 28.999999999999996


def budgeted(scores: Tensor, budget: float, generator: torch.Generator | None = None) -> Tensor:
    """Return weight 1 for the items of the highest scores that a budget allows, 0 for the rest.

    Args:
        scores: float `[N]`.
        budget: share of the items, in [0, 1].
        generator: decides among equal scores; without it the first come first.

    Returns:
        float32 `[N]`, with floor(budget x N) ones.

    Raises:
        OptionError: for a budget out of range.
        ShapeError: if the scores are not `[N]` or not finite.
    """
    if scores.ndim != 1 or not bool(torch.isfinite(scores).all()):
        raise ShapeError(f"Scores of items are {list(scores.shape)}, or not finite; expected finite numbers [N].")
    order = torch.arange(len(scores)) if generator is None else torch.randperm(len(scores), generator=generator)
    ranked = order[scores.detach().cpu()[order].argsort(descending=True, stable=True)]
    weights = torch.zeros(len(scores))
    weights[ranked[: allowed(budget, len(scores))]] = 1.0
    return weights


def intervene(strategy: str | Strategy, signals: Signals, budget: float, generator: torch.Generator | None = None) -> Tensor:
    """Return which items to teach.

    Args:
        strategy: one of `STRATEGIES`; "oracle", which is everything that the student gets wrong alone, whatever the budget; or a function.
        signals: what is known.
        budget: share of the items, in [0, 1].
        generator: source of chance, and of the order of equal scores.

    Returns:
        float32 `[N]` of zeros and ones.

    Raises:
        OptionError: for an unknown strategy, a budget out of range, or a signal that is missing.

    Source:
        arXiv 2306.09299, sections 3 and 5; the oracle that ignores the budget is that of its code.
    """
    if strategy == "oracle":
        allowed(budget, signals.count)
        return signals.need("wrong").float()
    if isinstance(strategy, str):
        needs(strategy)
        strategy = STRATEGIES[strategy]
    return budgeted(strategy(signals, generator), budget, generator)
