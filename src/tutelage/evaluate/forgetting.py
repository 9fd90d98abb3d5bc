"""Tasks that are learned one after another, and how much of the earlier ones is left."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from tutelage.errors import OptionError

Task = TypeVar("Task")


@dataclass
class TaskMatrix:
    """What is known of every task after each was learned: `matrix[i][j]` is the score of task j after task i, higher being better.

    Args:
        tasks: number of tasks.
        alone: for each task the score of a student that learned nothing else, for forward transfer; may be empty.
    """

    tasks: int
    alone: Sequence[float] = ()
    matrix: list[list[float]] = field(default_factory=list)

    def record(self, scores: Iterable[float]) -> None:
        """Append what was measured after the next task.

        Args:
            scores: one for every task, learned already or not.

        Raises:
            OptionError: if there are not as many as tasks, or all tasks have been learned.
        """
        row = [float(score) for score in scores]
        if len(row) != self.tasks or len(self.matrix) == self.tasks:
            raise OptionError(
                f"{len(row)} scores after {len(self.matrix)} of {self.tasks} tasks: expected one for every task after each of them."
            )
        self.matrix.append(row)

    @property
    def average(self) -> float:
        """Mean score over the tasks learned so far, after the last of them."""
        row = self._last()
        return sum(row[: len(self.matrix)]) / len(self.matrix)

    @property
    def forgetting(self) -> float:
        """Mean over earlier tasks of how far the score has fallen from its earlier best; negative where it has grown, NaN for one task.

        Source: Chaudhry et al., Riemannian walk for incremental learning, arXiv 1801.10112.
        """
        last = self._last()
        learned = len(self.matrix) - 1
        falls = [max(row[task] for row in self.matrix[task:-1]) - last[task] for task in range(learned)]
        return sum(falls) / learned if learned else math.nan

    @property
    def backward_transfer(self) -> float:
        """Mean over earlier tasks of the score now less that right after learning it; NaN for one task.

        Source: Lopez-Paz and Ranzato, Gradient episodic memory, arXiv 1706.08840.
        """
        last = self._last()
        learned = len(self.matrix) - 1
        return sum(last[task] - self.matrix[task][task] for task in range(learned)) / learned if learned else math.nan

    @property
    def forward_transfer(self) -> float:
        """Mean over later tasks of the score right after learning one, less that of a student that learned it alone; NaN without these.

        Source: Chaudhry et al., arXiv 1801.10112 (their intransigence, its sign turned).
        """
        self._last()
        later = range(1, min(len(self.matrix), len(self.alone)))
        return sum(self.matrix[task][task] - self.alone[task] for task in later) / len(later) if later else math.nan

    def _last(self) -> list[float]:
        if not self.matrix:
            raise OptionError("Nothing was recorded yet: record the scores of all tasks after each of them.")
        return self.matrix[-1]


def in_turn(
    tasks: Sequence[Task], learn: Callable[[int, Task], object], measure: Callable[[Task], float], *, alone: Sequence[float] = ()
) -> TaskMatrix:
    """Let a student learn tasks one after another, and measure all of them after each.

    Args:
        tasks: the tasks in their order.
        learn: given a task's number, from 0, and the task, makes the student learn it.
        measure: the student's present score on a task.
        alone: for each task the score of a student that learned nothing else.

    Returns:
        The matrix of scores.

    Raises:
        OptionError: if there is no task.
    """
    if not tasks:
        raise OptionError("There is no task to learn: give at least one.")
    matrix = TaskMatrix(len(tasks), alone)
    for number, task in enumerate(tasks):
        learn(number, task)
        matrix.record(measure(each) for each in tasks)
    return matrix
