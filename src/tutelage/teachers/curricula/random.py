"""The teacher that does not teach: uniform tasks."""

from __future__ import annotations

from tutelage.environments.tasks import Task
from tutelage.teachers.curricula.base import Curriculum


class Random(Curriculum):
    """Draws every task uniformly from the box."""

    def sample(self) -> Task:
        """Return a uniform task `[d]`."""
        return self.box.uniform(self.generator)

    def learn(self, task: Task, value: float) -> None:
        """Learn nothing."""
