"""Query rules of active learning: which samples of a pool to ask labels for, by what a student answers.

A rule is called `(pool, labelled, count, generator) -> positions`; it chooses `count` different rows of the pool. `RULES` has them by name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from tutelage.errors import OptionError, ShapeError, nearest
from tutelage.selection.core_set import greedy_k_centre


@dataclass(frozen=True)
class Answers:
    """What a student says about some samples.

    Args:
        probabilities: float `[N, C]`, rows that sum to 1.
        features: float `[N, D]`, for the rules that look at them; `None` where there are none.
        labels: int64 `[N]` of labelled samples; `None` for a pool.
    """

    probabilities: Tensor
    features: Tensor | None = None
    labels: Tensor | None = None

    def __len__(self) -> int:
        return len(self.probabilities)

    def __post_init__(self) -> None:
        if self.probabilities.ndim != 2:
            raise ShapeError(f"Answers have probabilities [N, C]; got shape {list(self.probabilities.shape)}.")
        for name, column in {"features": self.features, "labels": self.labels}.items():
            if column is not None and len(column) != len(self.probabilities):
                raise ShapeError(f"Answers have {len(self.probabilities)} rows of probabilities but {len(column)} of {name}.")


Rule = Callable[[Answers, Answers, int, torch.Generator | None], Tensor]
"""A query rule: answers of the pool, of the labelled samples, number of queries and generator to int64 positions `[count]` in the pool."""


def random(pool: Answers, labelled: Answers, count: int, generator: torch.Generator | None = None) -> Tensor:
    """Choose at random.

    Args:
        pool: what there is to choose from.
        labelled: not looked at.
        count: number of queries.
        generator: source of the choice.

    Returns:
        int64 positions `[count]`.
    """
    _check(pool, count)
    return torch.randperm(len(pool), generator=generator)[:count]


def entropy(pool: Answers, labelled: Answers, count: int, generator: torch.Generator | None = None) -> Tensor:
    """Choose the samples that the student is least certain of: those of the highest entropy, the first of equals first.

    Args:
        pool: its probabilities are looked at.
        labelled: not looked at.
        count: number of queries.
        generator: not used.

    Returns:
        int64 positions `[count]`.
    """
    _check(pool, count)
    uncertain: Tensor = torch.special.entr(pool.probabilities).sum(1)
    return uncertain.argsort(descending=True, stable=True)[:count].cpu()


def probability_core_set(pool: Answers, labelled: Answers, count: int, generator: torch.Generator | None = None) -> Tensor:
    """Choose where the student's probability vectors are least covered (PCoreSet).

    Greedy k-centre in the simplex by Euclidean distance; the centres to begin with are what the student now says about labelled
    samples, not their one-hot labels.

    Args:
        pool: its probabilities are looked at.
        labelled: its probabilities are covered already.
        count: number of queries.
        generator: not used.

    Returns:
        int64 positions `[count]`.

    Source:
        arXiv 2506.00910, algorithm of PCoreSet.
    """
    _check(pool, count)
    return greedy_k_centre(pool.probabilities, labelled.probabilities, count).positions


def feature_core_set(pool: Answers, labelled: Answers, count: int, generator: torch.Generator | None = None) -> Tensor:
    """Choose where the student's features are least covered: the same greedy rule by cosine distance.

    Args:
        pool: its features are looked at.
        labelled: its features are covered already.
        count: number of queries.
        generator: not used.

    Returns:
        int64 positions `[count]`.

    Source:
        Sener and Savarese, ICLR 2018; cosine distance as in the code of arXiv 2506.00910.
    """
    _check(pool, count)
    return greedy_k_centre(_features(pool), _features(labelled), count, metric="cosine").positions


def gradient_core_set(pool: Answers, labelled: Answers, count: int, generator: torch.Generator | None = None) -> Tensor:
    """Choose large and different gradients, greedily (a variant of BADGE).

    The gradient of the last layer, if the predicted class were true, is `g = (one_hot(argmax p) - p) (x) feature`. The first query has the
    longest, each other one the smallest largest product with those before: the greatest `min_j 1 - g . g_j`. BADGE proper draws them by
    k-means++. The products are computed as `(a . a_j)(f . f_j)`, so that no gradient of C x D numbers is ever held.

    Args:
        pool: its probabilities and features are looked at.
        labelled: not looked at.
        count: number of queries.
        generator: not used.

    Returns:
        int64 positions `[count]`.

    Source:
        Ash et al., ICLR 2020; the greedy variant is that of the code of arXiv 2506.00910.
    """
    _check(pool, count)
    probabilities, features = pool.probabilities, _features(pool).to(pool.probabilities)
    classes = probabilities.shape[1]
    error = F.one_hot(probabilities.argmax(1), classes) - probabilities
    if not count:
        return torch.empty(0, dtype=torch.int64)
    first = int((error.norm(dim=1) * features.norm(dim=1)).argmax())
    rows = torch.cat([error, features], 1)

    def distance(some: Tensor, centres: Tensor) -> Tensor:
        return 1 - (some[:, :classes] @ centres[:, :classes].T) * (some[:, classes:] @ centres[:, classes:].T)

    others = torch.cat([torch.arange(first), torch.arange(first + 1, len(rows))])
    found = (
        greedy_k_centre(rows[others.to(rows.device)], rows[first : first + 1], count - 1, metric=distance).positions
        if count > 1
        else others[:0]
    )
    return torch.cat([torch.tensor([first]), others[found]])


def class_balanced(pool: Answers, labelled: Answers, count: int, generator: torch.Generator | None = None) -> Tensor:
    """Choose more of the predicted classes that have few labels so far, at random within a class.

    Class c gets a share of the queries in proportion to `N / (n_c + 1)`, n_c being its number among the N labelled samples. Shares are
    rounded by largest remainder; what a class has too few predicted samples for goes to the others.

    Args:
        pool: its predicted classes are looked at.
        labelled: its labels are counted.
        count: number of queries.
        generator: source of the choice within a class.

    Returns:
        int64 positions `[count]`.

    Raises:
        ShapeError: if `labelled` has no labels.

    Source:
        The code of arXiv 2506.00910; rounding and redistribution are ours.
    """
    _check(pool, count)
    if labelled.labels is None:
        raise ShapeError("The class-balanced rule counts labels: give them as Answers(..., labels=...) of the labelled samples.")
    classes = pool.probabilities.shape[1]
    predicted = pool.probabilities.argmax(1).cpu()
    # The number of labelled samples scales all shares alike, so it is left out.
    want = 1 / (labelled.labels.cpu().bincount(minlength=classes)[:classes].double() + 1)
    quota = _apportion(want, predicted.bincount(minlength=classes), count)
    order = torch.randperm(len(predicted), generator=generator)
    by_class = order[predicted[order].argsort(stable=True)]
    starts = F.pad(predicted.bincount(minlength=classes).cumsum(0), (1, 0))
    return torch.cat([by_class[starts[c] : starts[c] + quota[c]] for c in range(classes)])


def _apportion(want: Tensor, available: Tensor, count: int) -> Tensor:
    """Share `count` out in proportion to `want`, none above what is available; int64 `[C]`."""
    quota = torch.zeros_like(available)
    while (left := count - int(quota.sum())) > 0:
        share = torch.where(quota < available, want, 0)
        exact = left * share / share.sum()
        extra = torch.minimum(exact.floor().long(), available - quota)
        if not extra.any():  # less than one each: the largest remainders get one
            extra[exact.argsort(descending=True, stable=True)[:left]] = 1
            extra = torch.minimum(extra, available - quota)
        quota += extra
    return quota


RULES: dict[str, Rule] = {
    "pcoreset": probability_core_set,
    "random": random,
    "entropy": entropy,
    "coreset": feature_core_set,
    "badge": gradient_core_set,
    "class-balanced": class_balanced,
}
"""Query rules by name."""

USE_FEATURES = frozenset({feature_core_set, gradient_core_set})
"""Rules that look at features, so that callers need not compute them for the others."""


def rule(name: str | Rule) -> Rule:
    """Return a query rule by name; a function is returned as it is.

    Args:
        name: one of `RULES`, or a rule.

    Raises:
        OptionError: if there is none of that name.
    """
    if callable(name):
        return name
    if name not in RULES:
        raise OptionError(f"No query rule is called '{name}'.{nearest(name, RULES)}")
    return RULES[name]


def _check(pool: Answers, count: int) -> None:
    if not 0 <= count <= len(pool):
        raise OptionError(f"{count} queries were asked of a pool of {len(pool)} samples: expected 0 to {len(pool)}.")


def _features(answers: Answers) -> Tensor:
    if answers.features is None:
        raise ShapeError("This query rule looks at features: give them as Answers(..., features=...).")
    return answers.features
