"""What every curriculum is: a program that names the next task and is told what came of it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from tutelage.environments.tasks import Task, TaskBox
from tutelage.errors import CheckpointError, OptionError, TrainingError


def rescale(value: float, span: tuple[float, float] | None) -> float:
    """Map an episode's return to [0, 1], clipped.

    Args:
        value: the return.
        span: the returns that become 0 and 1; `None` leaves the value as it is.

    Source: ALP-GMM's run script, (-150, 350) for BipedalWalker.
    """
    if span is None:
        return value
    return min(max((value - span[0]) / (span[1] - span[0]), 0.0), 1.0)


class Curriculum(ABC):
    """A teacher of tasks: it sees task vectors and one number per episode, never the student.

    Args:
        box: the tasks.
        seed: seed of its random choices.
        value_range: returns that become 0 and 1 before the teacher sees them (clipped); `None` leaves them as they are.
    """

    def __init__(self, box: TaskBox, *, seed: int = 0, value_range: tuple[float, float] | None = None) -> None:
        if value_range is not None and not value_range[0] < value_range[1]:
            raise OptionError(f"value_range is {value_range}; expected the smaller return first, (-150, 350) for instance.")
        self.box, self.value_range = box, value_range
        self.generator = np.random.default_rng(seed)
        self.episodes = 0

    @abstractmethod
    def sample(self) -> Task:
        """Return the next task `[d]`, inside the box."""

    def update(self, task: Task, value: float) -> None:
        """Learn what came of a task.

        Args:
            task: vector `[d]` that `sample` returned.
            value: the episode's return.

        Raises:
            TrainingError: if the value is not finite.
            ShapeError: if the task is not of this box.
        """
        task = self.box.check(task)
        if not math.isfinite(value):
            raise TrainingError(f"The task {self.box.tell(task)} returned {value}; a teacher learns from finite numbers only.")
        self.episodes += 1
        self.learn(task, rescale(float(value), self.value_range))

    @abstractmethod
    def learn(self, task: Task, value: float) -> None:
        """Learn from a checked task and its rescaled value; `episodes` counts it already."""

    def state_dict(self) -> dict[str, Any]:
        """Return everything that changes: numbers, strings, arrays, and lists and dictionaries of them."""
        return {
            "kind": type(self).__name__,
            "box": [list(self.box.low), list(self.box.high)],
            "episodes": self.episodes,
            "random": self.generator.bit_generator.state,
            "memory": self.memory(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken.

        Raises:
            CheckpointError: if it is of another teacher or another box.
        """
        if state["kind"] != type(self).__name__ or state["box"] != [list(self.box.low), list(self.box.high)]:
            raise CheckpointError(
                f"The checkpoint is of the teacher {state['kind']} over the box {state['box']}, this is {type(self).__name__} over "
                f"{[list(self.box.low), list(self.box.high)]}. Use the options that it was made with."
            )
        self.episodes = int(state["episodes"])
        self.generator.bit_generator.state = state["random"]
        self.load_memory(state["memory"])

    def memory(self) -> dict[str, Any]:
        """Return what this kind of teacher remembers besides its counter and its random state."""
        return {}

    def load_memory(self, memory: dict[str, Any]) -> None:
        """Take up what `memory` returned."""
        del memory
