"""ALP-GMM: a teacher that draws tasks from where the student's performance changes most.

It keeps the return of every task so far, takes how far a new return is from that of the nearest earlier task as learning progress, and fits
a Gaussian mixture to tasks and progress every 250 episodes; the next tasks come from the components with the most progress.

Reference: R. Portelas, C. Colas, K. Hofmann, P.-Y. Oudeyer. "Teacher algorithms for curriculum learning of Deep RL in continuously
parameterized environments." CoRL 2019. arXiv 1910.07224.
Tags: control, reinforcement learning, curriculum, learning progress, Gaussian mixture, procedural generation
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tutelage.environments import TaskBox
from tutelage.environments.tasks import Task
from tutelage.teachers.curricula import Mixture, MixtureCurriculum, TaskHistory
from tutelage.teachers.curricula.mixture import Array

_EARLIER = 6
"""Earlier pairs from which on there is a progress."""


class ALPGMM(MixtureCurriculum):
    """A curriculum by absolute learning progress: `sample() -> task`, `update(task, value)`.

    Batch: none. Per episode it names a task, float64 `[d]`, and is told one number, the return; it never sees the student.

    Args:
        box: the tasks, float64 vectors `[d]`.
        scale: take distances and fit mixtures in the unit cube, for boxes with sides of different units; False, as published.
        fit_rate: episodes between two fits; also the window of a fit and the length of the uniform start; 250.
        components: numbers of Gaussians that are tried; 2 to 10.
        random_task_ratio: share of uniform tasks after the start; 0.2.
        criterion: aic, bic or aicc, by which the number of Gaussians is chosen; aic.
        restarts: fits of each size; 1.
        seed: seed of its random choices; 0.
        value_range: returns that become 0 and 1, clipped: (-150, 350) for BipedalWalker; None leaves returns as they are.

    Source: Portelas et al. 2019 and its code, `flowersteam/teachDeepRL`. `scale`, and clamping means of progress at 0, are ours.
    """

    def __init__(self, box: TaskBox, *, scale: bool = False, **options: Any) -> None:
        super().__init__(box, **options)
        self.scale = scale
        self.history = TaskHistory(box.dimension)
        self.progress: list[float] = []

    def learn(self, task: Task, value: float) -> None:
        """Measure the absolute learning progress of a pair, remember both, and refit when it is time."""
        place = self.box.unit(task) if self.scale else task
        # ALP: the distance to the return of the nearest earlier task
        alp = abs(value - float(self.history.values[self.history.nearest(place)])) if len(self.history) >= _EARLIER else 0.0
        self.history.append(place, value)
        self.progress.append(alp)
        self.refit()

    def rows(self) -> Array:
        """Return the last `fit_rate` rows `[task, alp]`."""
        return np.column_stack([self.history.tasks[-self.fit_rate :], self.progress[-self.fit_rate :]])

    def interest(self, mixture: Mixture) -> Array:
        """Return the mean progress of each Gaussian; its weight in the mixture plays no part."""
        found: Array = np.maximum(mixture.means[:, -1], 0)
        return found

    def task_of(self, vector: Task) -> Task:
        """Return a drawn vector as a task."""
        return self.box.lows + self.box.ranges * vector if self.scale else vector

    def memory(self) -> dict[str, Any]:
        """Return mixture, history and progress."""
        return super().memory() | {"history": self.history.state_dict(), "progress": np.array(self.progress)}

    def load_memory(self, memory: dict[str, Any]) -> None:
        """Take up what `memory` returned."""
        super().load_memory(memory)
        self.history.load_state_dict(memory["history"])
        self.progress = [float(v) for v in memory["progress"]]
