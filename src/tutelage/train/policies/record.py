"""What was taught when: every task with its outcome, and the tasks whose environments failed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage.environments.tasks import Task
from tutelage.teachers.curricula.history import TaskHistory


@dataclass(frozen=True)
class Failure:
    """A task whose environment crashed or returned numbers that are not finite."""

    task: tuple[float, ...]
    what: str
    step: int


class TaskRecord:
    """The curriculum as it was: tasks, values, and the step at which each episode ended.

    Args:
        dimension: length of a task vector.
    """

    def __init__(self, dimension: int) -> None:
        self._pairs = TaskHistory(dimension)
        self._steps: list[int] = []
        self.failures: list[Failure] = []

    def __len__(self) -> int:
        return len(self._pairs)

    @property
    def tasks(self) -> Task:
        """Tasks `[n, d]`, oldest first."""
        return self._pairs.tasks

    @property
    def values(self) -> NDArray[np.float64]:
        """What each returned `[n]`."""
        return self._pairs.values

    @property
    def steps(self) -> NDArray[np.int64]:
        """Environment steps that were done when each ended `[n]`."""
        return np.array(self._steps, dtype=np.int64)

    def add(self, task: Task, value: float, step: int) -> None:
        """Record an episode."""
        self._pairs.append(task, value)
        self._steps.append(step)

    def state_dict(self) -> dict[str, Any]:
        """Return everything as arrays, numbers and strings."""
        failures = [{"task": list(f.task), "what": f.what, "step": f.step} for f in self.failures]
        return {"pairs": self._pairs.state_dict(), "steps": self.steps, "failures": failures}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        self._pairs.load_state_dict(state["pairs"])
        self._steps = [int(step) for step in state["steps"]]
        self.failures = [Failure(tuple(f["task"]), f["what"], int(f["step"])) for f in state["failures"]]
