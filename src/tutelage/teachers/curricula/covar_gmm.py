"""Covar-GMM: tasks from where reward grows with time."""

from __future__ import annotations

from typing import Any

import numpy as np

from tutelage.environments.tasks import Task, TaskBox
from tutelage.teachers.curricula.history import TaskHistory
from tutelage.teachers.curricula.mixture import Array, Mixture
from tutelage.teachers.curricula.mixture_curriculum import MixtureCurriculum


class CovarGMM(MixtureCurriculum):
    """Fits mixtures to `[task, time in the window, value]` and prefers components in which value and time covary.

    Args:
        box: the tasks.
        absolute: prefer falling values as much as rising ones.
        **options: those of `MixtureCurriculum`.

    Source: Moulin-Frier et al. 2014, as the baseline of Portelas et al. 2019 (sheet of ALP-GMM).
    """

    def __init__(self, box: TaskBox, *, absolute: bool = False, **options: Any) -> None:
        super().__init__(box, **options)
        self.absolute = absolute
        self.history = TaskHistory(box.dimension)

    def learn(self, task: Task, value: float) -> None:
        """Keep the pair, and refit when the window is full."""
        self.history.append(task, value)
        self.refit()

    def rows(self) -> Array:
        """Return `[task, t', value]` with t' in [0, 1)."""
        n = self.fit_rate
        return np.column_stack([self.history.tasks[-n:], np.arange(n) / n, self.history.values[-n:]])

    def interest(self, mixture: Mixture) -> Array:
        """Return each component's covariance of time and value, negative ones as 0 (or by their size)."""
        covariance = mixture.covariances[:, -2, -1]
        found: Array = np.abs(covariance) if self.absolute else np.maximum(covariance, 0)
        return found

    def memory(self) -> dict[str, Any]:
        """Return mixture and history."""
        return super().memory() | {"history": self.history.state_dict()}

    def load_memory(self, memory: dict[str, Any]) -> None:
        """Take up what `memory` returned."""
        super().load_memory(memory)
        self.history.load_state_dict(memory["history"])
