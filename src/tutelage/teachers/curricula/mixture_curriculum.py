"""What teachers share that draw tasks from a Gaussian mixture fitted to the last episodes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from tutelage.environments.tasks import Task, TaskBox
from tutelage.errors import OptionError
from tutelage.teachers.curricula.base import Curriculum
from tutelage.teachers.curricula.mixture import Array, Criterion, Mixture, fit_mixtures, select


class MixtureCurriculum(Curriculum):
    """Fits mixtures to rows `[task, ...]` of the last episodes, and draws from the components that `interest` prefers.

    Args:
        box: the tasks.
        fit_rate: episodes between two fits; also the length of the window, and of the uniform start.
        components: numbers of components that are tried.
        random_task_ratio: share of uniform tasks once there is a mixture, 0 to 1.
        criterion: by which the number of components is chosen: aic, bic or aicc.
        restarts: fits of each size, of which the likeliest is kept.
        seed: seed of its random choices.
        value_range: see `Curriculum`.

    Raises:
        OptionError: if an option is out of range.
    """

    def __init__(
        self,
        box: TaskBox,
        *,
        fit_rate: int = 250,
        components: Sequence[int] = range(2, 11),
        random_task_ratio: float = 0.2,
        criterion: Criterion = "aic",
        restarts: int = 1,
        seed: int = 0,
        value_range: tuple[float, float] | None = None,
    ) -> None:
        super().__init__(box, seed=seed, value_range=value_range)
        self.components = tuple(components)
        if not self.components or min(self.components) < 1 or fit_rate < max(self.components):
            raise OptionError(f"components is {self.components} and fit_rate {fit_rate}; expected sizes of 1 to fit_rate.")
        if not 0 <= random_task_ratio <= 1 or criterion not in ("aic", "bic", "aicc") or restarts < 1:
            raise OptionError(
                f"random_task_ratio is {random_task_ratio}, criterion '{criterion}', restarts {restarts}; expected a share in [0, 1], "
                "aic, bic or aicc, and at least 1."
            )
        self.fit_rate, self.random_task_ratio, self.criterion, self.restarts = fit_rate, random_task_ratio, criterion, restarts
        self.mixture: Mixture | None = None
        self._roots: Array = np.empty(0)
        self._sums: Array = np.empty(0)

    @abstractmethod
    def rows(self) -> Array:
        """Return the window that mixtures are fitted to, `[fit_rate, d + ...]`, tasks first."""

    @abstractmethod
    def interest(self, mixture: Mixture) -> Array:
        """Return how much each component is wanted `[k]`, at least 0."""

    def sample(self) -> Task:
        """Return a task `[d]`: uniform at the start and now and then, otherwise from a component drawn by interest, clipped to the box."""
        if self.mixture is None or self.generator.random() < self.random_task_ratio:
            return self.box.uniform(self.generator)
        drawn = self.generator.random() * self._sums[-1]
        i = min(int(self._sums.searchsorted(drawn, side="right")), len(self._sums) - 1)
        noise = self.generator.standard_normal(self.mixture.means.shape[1])
        vector = self.mixture.means[i] + self._roots[i] @ noise
        return self.box.clip(self.task_of(vector[: self.box.dimension]))

    def task_of(self, vector: Task) -> Task:
        """Return the task that the first `d` numbers of a row stand for."""
        return vector

    def refit(self) -> None:
        """Fit every size to the window and keep the mixture that the criterion prefers, if `fit_rate` episodes have passed."""
        if self.episodes % self.fit_rate == 0:
            fits = fit_mixtures(self.rows(), self.components, self.generator, restarts=self.restarts)
            self._adopt(select(fits, self.criterion))

    def _adopt(self, mixture: Mixture) -> None:
        wanted = np.maximum(self.interest(mixture), 0)
        if not wanted.sum() > 0:
            wanted = np.ones(len(mixture))
        roots = np.asarray(np.linalg.cholesky(mixture.covariances), dtype=np.float64)
        self.mixture, self._sums, self._roots = mixture, wanted.cumsum(), roots

    def memory(self) -> dict[str, Any]:
        """Return the mixture."""
        return {"mixture": None if self.mixture is None else self.mixture.state_dict()}

    def load_memory(self, memory: dict[str, Any]) -> None:
        """Take up what `memory` returned."""
        self.mixture = None
        if memory["mixture"] is not None:
            self._adopt(Mixture.load(memory["mixture"]))
