"""Classes of status: one-dimensional k-means on a critic's values, and weights by which every class counts the same."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tutelage.errors import OptionError


def status_classes(values: ArrayLike, classes: int) -> NDArray[np.int64]:
    """Divide numbers into intervals of the least within-class squared distance: the exact optimum of k-means in one dimension.

    Args:
        values: finite numbers `[n]`, at least one.
        classes: how many classes to make; as many as there are different values where those are fewer, so that none is empty.

    Returns:
        Class of each number, int64 `[n]`, from 0 for the lowest values upwards. Equal numbers share a class.

    Raises:
        OptionError: if there is no number, one is not finite, or `classes` is below 1.

    Source: section 4 of arXiv 2403.00673 (k-means); the optimum by dynamic programming over the sorted values is ours, O(classes n^2).
    """
    given = np.asarray(values, np.float64).reshape(-1)
    if not len(given) or not np.isfinite(given).all() or classes < 1:
        raise OptionError(
            f"status_classes got {len(given)} values, {int(np.isfinite(given).sum())} of them finite, and {classes} classes; "
            "expected at least one finite value and one class."
        )
    distinct, place, count = np.unique(given, return_inverse=True, return_counts=True)
    k, n = min(classes, len(distinct)), len(distinct)
    centred = distinct - distinct.mean()
    mass, first, second = (np.concatenate([[0.0], np.cumsum(count * centred**power)]) for power in (0, 1, 2))

    def cost(start: NDArray[np.int64], end: int) -> NDArray[np.float64]:
        """Squared distances to their mean of the distinct values `start <= i < end`."""
        found: NDArray[np.float64] = second[end] - second[start] - (first[end] - first[start]) ** 2 / (mass[end] - mass[start])
        return found

    best = np.full(n + 1, np.inf)
    best[1:] = [cost(np.zeros(1, np.int64), end)[0] for end in range(1, n + 1)]
    begins = np.zeros((k, n + 1), np.int64)
    for number in range(1, k):
        after = np.full(n + 1, np.inf)
        for end in range(number + 1, n + 1):
            start = np.arange(number, end)
            total = best[start] + cost(start, end)
            begins[number, end] = start[total.argmin()]
            after[end] = total.min()
        best = after
    labels, stop = np.empty(n, np.int64), n
    for number in range(k - 1, -1, -1):
        begin = int(begins[number, stop])
        labels[begin:stop], stop = number, begin
    return labels[place.reshape(-1)]


def class_uniform(labels: ArrayLike) -> NDArray[np.float64]:
    """Return weights by which every class has the same sum, shared evenly inside it.

    Args:
        labels: class of each element, integers `[n]`.

    Returns:
        Probabilities, float64 `[n]`, that sum to 1.
    """
    _, place, count = np.unique(np.asarray(labels).reshape(-1), return_inverse=True, return_counts=True)
    found: NDArray[np.float64] = 1.0 / (len(count) * count[place.reshape(-1)])
    return found
