"""ALP-GMM's decisions against a straightforward implementation of the paper's algorithm on scikit-learn, on one thread.

A decision is one `sample` and one `update`; every 250th also fits nine mixtures. Both teachers see the same returns: a bump over the task
space that rises where it was visited.
"""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.measure import Row, paired_ratio, take_turns
from tutelage.environments import TaskBox
from tutelage.methods.control.alp_gmm import ALPGMM
from tutelage.teachers.curricula import fit_mixtures

EPISODES, ROUNDS = 5000, 3
STUMPS = TaskBox((0.0, 0.0), (3.0, 6.0))
HEXAGONS = TaskBox((0.0,) * 12, (4.0,) * 12)


class Straightforward:
    """The algorithm box, line by line: lists, scikit-learn's mixtures, and its tree of neighbours rebuilt every 500 tasks, as published."""

    def __init__(self, box: TaskBox, seed: int) -> None:
        self.box, self.random, self.seed = box, np.random.RandomState(seed), seed
        self.tasks: list[Any] = []
        self.values: list[float] = []
        self.progress: list[float] = []
        self.mixture: Any = None
        self.tree: Any = None

    def sample(self) -> Any:
        if self.mixture is None or self.random.rand() < 0.2:
            return self.random.uniform(self.box.lows, self.box.highs)
        wanted = np.maximum(self.mixture.means_[:, -1], 0)
        weights = wanted / wanted.sum() if wanted.sum() > 0 else np.full(len(wanted), 1 / len(wanted))
        i = self.random.choice(len(weights), p=weights)
        drawn = self.random.multivariate_normal(self.mixture.means_[i], self.mixture.covariances_[i])
        return np.clip(drawn[:-1], self.box.lows, self.box.highs)

    def update(self, task: Any, value: float) -> None:
        from sklearn.mixture import GaussianMixture
        from sklearn.neighbors import KDTree

        self.progress.append(abs(value - self.values[self.nearest(task)]) if len(self.tasks) > 5 else 0.0)
        self.tasks.append(task)
        self.values.append(value)
        if len(self.tasks) % 500 == 0:
            self.tree = KDTree(np.array(self.tasks))
        if len(self.tasks) % 250 == 0:
            data = np.column_stack([np.array(self.tasks[-250:]), self.progress[-250:]])
            fits = [GaussianMixture(k, covariance_type="full", random_state=self.seed).fit(data) for k in range(2, 11)]
            self.mixture = min(fits, key=lambda fit: fit.aic(data))

    def nearest(self, task: Any) -> int:
        old = len(self.tasks) // 500 * 500
        found: list[tuple[float, int]] = []
        if self.tree is not None:
            distances, places = self.tree.query(task[None])
            found.append((float(distances[0, 0]), int(places[0, 0])))
        if len(self.tasks) > old:
            distances = np.linalg.norm(np.array(self.tasks[old:]) - task, axis=1)
            found.append((float(distances.min()), old + int(distances.argmin())))
        return min(found)[1]


def decide(teacher: Any, box: TaskBox, episodes: int) -> float:
    """Let a teacher choose and learn; return the seconds that it took, the returns' computation left out."""
    generator, seconds = np.random.default_rng(0), 0.0
    visits = np.zeros((8, 8))
    for _ in range(episodes):
        started = time.perf_counter()
        task = teacher.sample()
        seconds += time.perf_counter() - started
        x, y = (min(int(8 * v), 7) for v in box.unit(task)[:2])
        visits[x, y] += 1
        value = float(np.clip(visits[x, y] / 100 * np.exp(-(x + y) / 4) + 0.02 * generator.standard_normal(), 0, 1))
        started = time.perf_counter()
        teacher.update(task, value)
        seconds += time.perf_counter() - started
    return seconds


def windows(box: TaskBox, count: int) -> list[Any]:
    """Return windows of 250 rows as a teacher fits them."""
    teacher, found = ALPGMM(box), []
    for _ in range(count):
        decide(teacher, box, 250)
        found.append(teacher.rows())
    return found


def rows() -> Iterator[Row]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture
    from threadpoolctl import threadpool_limits

    warnings.simplefilter("ignore", ConvergenceWarning)
    generator = np.random.default_rng(0)
    with threadpool_limits(1):
        for name, box in (("2 parameters", STUMPS), ("12 parameters", HEXAGONS)):
            data = iter(2 * windows(box, 8))

            def ours(data: Any = data) -> None:
                fit_mixtures(next(data), range(2, 11), generator)

            def theirs(data: Any = iter(2 * windows(box, 8))) -> None:  # noqa: B008
                window = next(data)
                for k in range(2, 11):
                    GaussianMixture(k, covariance_type="full").fit(window)

            a, b = take_turns(ours, theirs, rounds=7)
            ratio = paired_ratio(a, b)
            title = f"fitting 2 to 10 Gaussians to 250 tasks of {name}, against scikit-learn"
            yield Row(title, statistics.median(a) * 1e3, statistics.median(b) * 1e3, "ms", ratio, "<= 0.5", ratio <= 0.5)

            first, second = [], []
            for seed in range(ROUNDS):
                first.append(decide(ALPGMM(box, seed=seed), box, EPISODES))
                second.append(decide(Straightforward(box, seed), box, EPISODES))
            ratio = paired_ratio(first, second)
            mine, other = (statistics.median(found) / EPISODES * 1e6 for found in (first, second))
            title = f"a decision of ALP-GMM, {name}, against the paper's algorithm on scikit-learn"
            yield Row(title, mine, other, "us", ratio, "<= 0.5", ratio <= 0.5)
