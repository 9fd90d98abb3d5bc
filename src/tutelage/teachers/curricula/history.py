"""All tasks so far with a number each, and the nearest of them to a new one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage.environments.tasks import Task


class TaskHistory:
    """A growing table of task vectors and values with exact nearest neighbours.

    Args:
        dimension: length of a task vector.
    """

    def __init__(self, dimension: int) -> None:
        # Rows of parameters: one pass over contiguous memory per parameter when distances are taken.
        self._tasks = np.empty((dimension, 256))
        self._values = np.empty(256)
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def tasks(self) -> Task:
        """The tasks `[n, d]`, oldest first."""
        return self._tasks[:, : self._length].T

    @property
    def values(self) -> NDArray[np.float64]:
        """The values `[n]`."""
        return self._values[: self._length]

    def append(self, task: Task, value: float) -> None:
        """Add a task and its value."""
        if self._length == len(self._values):
            room = 2 * self._length
            tasks, values = np.empty((len(self._tasks), room)), np.empty(room)
            tasks[:, : self._length], values[: self._length] = self._tasks, self._values
            self._tasks, self._values = tasks, values
        self._tasks[:, self._length], self._values[self._length] = task, value
        self._length += 1

    def nearest(self, task: Task) -> int:
        """Return the position of the task at the smallest Euclidean distance, the oldest of equals."""
        away = self._tasks[0, : self._length] - task[0]
        away *= away
        for row, value in zip(self._tasks[1:, : self._length], task[1:], strict=True):
            difference = row - value
            difference *= difference
            away += difference
        return int(away.argmin())

    def state_dict(self) -> dict[str, Any]:
        """Return tasks and values."""
        return {"tasks": np.array(self.tasks), "values": self.values.copy()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        tasks, values = np.asarray(state["tasks"], dtype=np.float64), np.asarray(state["values"], dtype=np.float64)
        self._length = len(values)
        room = max(256, 2 * self._length)
        self._tasks, self._values = np.empty((len(self._tasks), room)), np.empty(room)
        self._tasks[:, : self._length], self._values[: self._length] = tasks.T, values
