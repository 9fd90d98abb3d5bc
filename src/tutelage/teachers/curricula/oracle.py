"""A hand-made curriculum: a window that moves from the easy corner to the hard one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tutelage.environments.tasks import Task, TaskBox
from tutelage.errors import OptionError, ShapeError
from tutelage.teachers.curricula.base import Curriculum


class Oracle(Curriculum):
    """Draws uniformly from a window that moves by a given step whenever the student does well in it.

    The window starts at the corner that `step` points away from and stays inside the box. It sees raw returns.

    Args:
        box: the tasks.
        step: movement of the window in every parameter `[d]`; (0.1, -0.2) for stump height and spacing, 0.1 each for hexagons.
        threshold: mean return above which the window moves.
        episodes: number of episodes over which the mean is taken; it is taken afresh after each move.
        share: side of the window, as a share of the box's.
        seed: seed of its random choices.

    Raises:
        OptionError: if an option is out of range.
        ShapeError: if the step has another number of parameters than the box.

    Source: sheet of ALP-GMM: windows of a sixth of the range, a threshold of 230 over 50 episodes.
    """

    def __init__(
        self, box: TaskBox, step: Sequence[float], *, threshold: float = 230.0, episodes: int = 50, share: float = 1 / 6, seed: int = 0
    ) -> None:
        super().__init__(box, seed=seed)
        self.step = np.asarray(step, dtype=np.float64)
        if self.step.shape != (box.dimension,):
            raise ShapeError(f"The oracle's step has the shape {self.step.shape}; expected one number for each of: {', '.join(box.names)}.")
        if not 0 < share <= 1 or episodes < 1:
            raise OptionError(f"The oracle got share={share} and episodes={episodes}; expected a share in (0, 1] and at least 1 episode.")
        self.threshold, self.span, self.width = threshold, episodes, share * box.ranges
        self.corner = np.where(self.step >= 0, box.lows, box.highs - self.width)
        self._values: list[float] = []

    def sample(self) -> Task:
        """Return a uniform task `[d]` of the window."""
        return self.box.clip(self.corner + self.width * self.generator.random(self.box.dimension))

    def learn(self, task: Task, value: float) -> None:
        """Move the window if the last episodes went well."""
        self._values = [*self._values, value][-self.span :]
        if len(self._values) == self.span and sum(self._values) / self.span > self.threshold:
            self.corner = np.clip(self.corner + self.step, self.box.lows, self.box.highs - self.width)
            self._values = []

    def memory(self) -> dict[str, Any]:
        """Return the window's corner and the returns inside it."""
        return {"corner": self.corner, "values": list(self._values)}

    def load_memory(self, memory: dict[str, Any]) -> None:
        """Take up what `memory` returned."""
        self.corner, self._values = np.asarray(memory["corner"]), [float(v) for v in memory["values"]]
