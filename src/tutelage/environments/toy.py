"""A space of tasks with a frontier, and a student that is its own competence: curricula are compared on it without a simulator."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from tutelage.environments.tasks import Task, TaskBox
from tutelage.errors import CheckpointError, OptionError

_FULL, _OPENS = 100, 75


class ToySpace:
    """A unit cube of cells, of which only the one at the origin is open: competence in a cell opens those above it.

    A visit to an open cell adds one to its competence. A cell is open if a neighbour, reached by lowering a non-empty subset of its
    indices by one, has a competence of 75. Parameters past the first `dimension` are irrelevant: no cell depends on them.

    Args:
        cells: cells along each side.
        dimension: number of parameters that matter.
        irrelevant: number of parameters that do not.

    Raises:
        OptionError: if a number is too small.

    Source: the toy environment of Portelas et al. 2019, `flowersteam/teachDeepRL`.
    """

    def __init__(self, cells: int = 10, dimension: int = 2, irrelevant: int = 0) -> None:
        if cells < 1 or dimension < 1 or irrelevant < 0:
            raise OptionError(f"A toy space got {cells} cells, {dimension} + {irrelevant} parameters; expected at least 1, 1 and 0.")
        self.cells, self.dimension = cells, dimension
        sides = dimension + irrelevant
        names = [f"p{i}" for i in range(dimension)] + [f"irrelevant{i}" for i in range(irrelevant)]
        self.box = TaskBox((0.0,) * sides, (1.0,) * sides, tuple(names))
        self.competence = np.zeros((cells,) * dimension, dtype=np.int64)
        self.open = np.zeros((cells,) * dimension, dtype=bool)
        self.open[(0,) * dimension] = True
        self._above = [np.array(step) for step in itertools.product((0, 1), repeat=dimension) if any(step)]

    def cell(self, task: Task) -> tuple[int, ...]:
        """Return the indices of the cell that holds a task `[d]`."""
        return tuple(min(int(value * self.cells), self.cells - 1) for value in task[: self.dimension])

    def visit(self, task: Task) -> float:
        """Let the student try a task.

        Args:
            task: point of the unit cube.

        Returns:
            Its competence there afterwards, 0 to 1.
        """
        cell = self.cell(task)
        if self.open[cell] and self.competence[cell] < _FULL:
            self.competence[cell] += 1
            if self.competence[cell] == _OPENS:
                for step in self._above:
                    above = np.array(cell) + step
                    if (above < self.cells).all():
                        self.open[tuple(above)] = True
        return float(self.competence[cell]) / _FULL

    @property
    def mastered(self) -> float:
        """Share of the cells whose competence is above 75, in percent."""
        return 100 * float((self.competence > _OPENS).mean())

    def state_dict(self) -> dict[str, Any]:
        """Return the competence of every cell."""
        return {"competence": self.competence.copy()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a competence that `state_dict` returned.

        Raises:
            CheckpointError: if it is of a space of another size.
        """
        found = np.asarray(state["competence"], dtype=np.int64)
        if found.shape != self.competence.shape:
            raise CheckpointError(f"The checkpoint is of a toy space of {found.shape} cells, this one has {self.competence.shape}.")
        self.competence = found.copy()
        self.open[:] = False
        self.open[(0,) * self.dimension] = True
        for cell in zip(*np.nonzero(found >= _OPENS), strict=True):
            for step in self._above:
                above = np.array(cell) + step
                if (above < self.cells).all():
                    self.open[tuple(above)] = True
