"""A factory from a task vector to an environment, made into one environment whose task is an option of `reset`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from tutelage.environments.simulators import fresh_world
from tutelage.environments.tasks import Task, TaskBox
from tutelage.errors import OptionError, ShapeError, TrainingError, optional

optional("gymnasium", "rl")
import gymnasium  # noqa: E402

Make = Callable[[Task], Any]
"""From a task vector `[d]` to a Gymnasium environment."""


class TaskEnvironment(gymnasium.Env):  # type: ignore[misc]
    """One environment over a box of tasks: `reset(options={"task": vector})` chooses, the last task stays otherwise.

    An environment with a method `set_task(vector)` is built once and told its next task; any other is built anew for each task. Every
    `info` bears the task as `info["task"]`. The task is not part of the observation.

    Args:
        make: builds the environment of a task; all must have the same spaces.
        box: the tasks.
        on_failure: what happens if the environment raises an exception, or returns a reward or an observation that is not finite: `raise`
            a `TrainingError` that names the task, or `report` it: the episode is truncated with reward 0, the last good observation and
            the text in `info["failure"]`, and the environment is built anew.

    Raises:
        TrainingError: if the environment of the centre of the box, from which spaces are read, cannot be built.
    """

    def __init__(self, make: Make, box: TaskBox, *, on_failure: Literal["raise", "report"] = "raise") -> None:
        if on_failure not in ("raise", "report"):
            raise OptionError(f"on_failure is '{on_failure}'; expected 'raise' or 'report'.")
        self.make, self.box, self.on_failure = make, box, on_failure
        self.task = box.centre
        try:
            self.env: Any = make(self.task)
        except Exception as error:
            raise TrainingError(
                f"The factory fails for the task in the centre of the box ({box.tell(self.task)}): {type(error).__name__}: {error}. "
                "Cure the factory: it must take a vector and return a Gymnasium environment."
            ) from error
        self._built = self.task
        self.observation_space, self.action_space = self.env.observation_space, self.env.action_space
        self.metadata, self.render_mode, self.spec = self.env.metadata, self.env.render_mode, None
        self._last = blank(self.observation_space)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode.

        Args:
            seed: seed of the environment.
            options: `task` chooses the task; everything else goes to the environment.

        Returns:
            Observation and info.
        """
        options = dict(options or {})
        if "task" in options:
            self.task = self.box.check(options.pop("task"))
        try:
            self._prepare()
            fresh_world(self.env)
            observation, info = self.env.reset(seed=seed, options=options or None)
            self._check(observation, 0.0)
        except Exception as error:
            return self._failed(error, "reset")
        self._last = observation
        return observation, info | {"task": self.task}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take a step; a failure ends the episode as `on_failure` says."""
        try:
            observation, reward, terminated, truncated, info = self.env.step(action)
            self._check(observation, reward)
        except Exception as error:
            observation, info = self._failed(error, "step")
            return observation, 0.0, False, True, info
        self._last = observation
        return observation, float(reward), bool(terminated), bool(truncated), info | {"task": self.task}

    def _prepare(self) -> None:
        """Make `self.env` the environment of the present task."""
        if self.env is not None and self.task is self._built:
            return
        told = getattr(self.env.unwrapped, "set_task", None) if self.env is not None else None
        if told is not None:
            told(self.task)
        else:
            self.close()
            self.env = self.make(self.task)
            told = getattr(self.env.unwrapped, "set_task", None)
            if (self.env.observation_space, self.env.action_space) != (self.observation_space, self.action_space):
                raise ShapeError(
                    f"spaces are {self.env.observation_space} and {self.env.action_space}, those of the first task "
                    f"{self.observation_space} and {self.action_space}; all tasks must share them"
                )
        self._built = self.task

    def _check(self, observation: Any, reward: Any) -> None:
        if not np.isfinite(reward):
            raise FloatingPointError(f"the reward is {reward}")
        if not finite(observation):
            raise FloatingPointError("the observation is not finite")

    def _failed(self, error: Exception, where: str) -> tuple[Any, dict[str, Any]]:
        text = f"{type(error).__name__} in {where}: {error}"
        if self.on_failure == "raise":
            raise TrainingError(f"The environment of the task {self.box.tell(self.task)} failed. {text}") from error
        try:
            self.close()
        except Exception as second:
            text += f" (and in close: {second})"
        self.env = None
        return self._last, {"failure": text, "task": self.task}

    def render(self) -> Any:
        """Return the picture of the present environment."""
        return None if self.env is None else self.env.render()

    def close(self) -> None:
        """Close the present environment."""
        if self.env is not None:
            self.env.close()


def finite(observation: Any) -> bool:
    """Return whether every number of an observation (array, or dictionary or tuple of them) is finite."""
    if isinstance(observation, dict):
        return all(finite(value) for value in observation.values())
    if isinstance(observation, tuple | list):
        return all(finite(value) for value in observation)
    if isinstance(observation, str):
        return True
    array = np.asarray(observation)
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())


def blank(space: Any) -> Any:
    """Return an observation of a space that stands for none yet: zeros, or the nearest that the space allows."""
    spaces = gymnasium.spaces
    if isinstance(space, spaces.Dict):
        return {key: blank(part) for key, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(blank(part) for part in space.spaces)
    if isinstance(space, spaces.Box):
        return np.clip(np.zeros(space.shape, space.dtype), space.low, space.high)
    if isinstance(space, spaces.Discrete):
        return space.start
    if isinstance(space, spaces.MultiDiscrete | spaces.MultiBinary):
        return np.zeros(space.shape, space.dtype)
    raise OptionError(f"Observations of the space {space} are not supported: use Box, Discrete, MultiDiscrete, MultiBinary, Dict or Tuple.")
