"""Learning curves over labelling rounds: the area under one, the ranks of several, and whether one is above another."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from tutelage.errors import OptionError

_EXACT = 100_000  # resamples that are enumerated rather than drawn


def area(values: Sequence[float], at: Sequence[float] | None = None) -> float:
    """Return the area under a learning curve divided by its width: its mean height, by the trapezoidal rule.

    Args:
        values: a metric per round, at least one.
        at: numbers of labels of the rounds, increasing; equal steps by default.

    Returns:
        In units of the metric; the value itself for a single round.

    Raises:
        OptionError: if there is no value, or `at` does not increase or does not fit.
    """
    heights = np.asarray(values, np.float64)
    places = np.arange(len(heights), dtype=np.float64) if at is None else np.asarray(at, np.float64)
    if not len(heights) or places.shape != heights.shape or bool((np.diff(places) <= 0).any()):
        raise OptionError(
            f"A learning curve of {len(heights)} values got positions {places.tolist()}: expected as many, increasing, at least 1."
        )
    if len(heights) == 1:
        return float(heights[0])
    return float(np.trapezoid(heights, places) / (places[-1] - places[0]))


def ranks(curves: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    """Return the rank of every curve at every round: 1 is the highest, equal ones share the mean of their ranks.

    Args:
        curves: a metric per round for each name, higher is better; all of one length.

    Returns:
        For each name its rank per round.

    Raises:
        OptionError: if there is no curve or their lengths differ.
    """
    lengths = {name: len(curve) for name, curve in curves.items()}
    if not curves or len(set(lengths.values())) != 1:
        raise OptionError(f"Ranks need at least one curve, all of one length; got lengths {lengths}.")
    heights = np.array([list(curve) for curve in curves.values()], np.float64)
    above = (heights[None] > heights[:, None]).sum(1)
    equal = (heights[None] == heights[:, None]).sum(1)
    found = above + (equal + 1) / 2
    return {name: row.tolist() for name, row in zip(curves, found, strict=True)}


def paired_bootstrap(
    ours: Sequence[float], theirs: Sequence[float], *, margin: float = 0.0, resamples: int = 10_000, seed: int = 0
) -> float:
    """Return in how many resamples of the seeds ours is better than theirs by more than a margin, on average.

    Seeds are drawn with replacement, both values of a seed together. With up to six seeds all `n ** n` resamples are enumerated.

    Args:
        ours: one number per seed, higher is better.
        theirs: the same seeds' numbers of the other.
        margin: how much better counts, in units of the metric.
        resamples: number of draws where there are too many to enumerate.
        seed: seed of the draws.

    Returns:
        A share in [0, 1]; resamples without a difference from the margin count half.

    Raises:
        OptionError: if there is no seed or the numbers do not pair.
    """
    if not len(ours) or len(ours) != len(theirs):
        raise OptionError(f"A paired bootstrap takes one number of each per seed; got {len(ours)} and {len(theirs)}.")
    gap = np.asarray(ours, np.float64) - np.asarray(theirs, np.float64) - margin
    count = len(gap)
    if count**count <= _EXACT:
        rows = np.array(list(itertools.product(range(count), repeat=count)))
    else:
        rows = np.random.default_rng(seed).integers(0, count, (resamples, count))
    means = gap[rows].mean(1)
    even = np.abs(means) <= 1e-12 * max(1.0, float(np.abs(gap).max()))
    return float(((means > 0) & ~even).mean() + 0.5 * even.mean())
