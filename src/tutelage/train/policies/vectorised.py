"""Vectorised environments in which a teacher chooses the task of every episode."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np

from tutelage.environments.episodes import Episodes
from tutelage.environments.task_environment import Make, TaskEnvironment
from tutelage.environments.tasks import Task, TaskBox
from tutelage.errors import OptionError, TrainingError, optional
from tutelage.teachers.curricula.base import Curriculum
from tutelage.train.policies.record import Failure, TaskRecord

optional("stable_baselines3", "rl")
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv, VecEnvWrapper  # noqa: E402

_PATIENCE = 100
"""Tasks in a row that may fail before a training stops all the same."""


def _episodes(make: Callable[[], Any], seed: int, hold: bool) -> Episodes:
    return Episodes(make(), seed, hold=hold)


def vectorise(makers: Sequence[Callable[[], Any]], *, seed: int = 0, subprocess: bool = False, hold: bool = False) -> Any:
    """Put environments side by side, with episodes that can be taken up again (`tutelage.environments.Episodes`).

    Args:
        makers: one function per environment, without arguments.
        seed: seed of the episodes; environment i has `seed + i`, as Stable-Baselines3 seeds them.
        subprocess: run each in a process of its own.
        hold: see `Episodes`.

    Returns:
        A `DummyVecEnv` or `SubprocVecEnv`.
    """
    if not makers:
        raise OptionError("vectorise got no environments; expected at least one.")
    wrapped = [partial(_episodes, make, seed + i, hold) for i, make in enumerate(makers)]
    return SubprocVecEnv(wrapped) if subprocess else DummyVecEnv(wrapped)


def taught(
    make: Make,
    teacher: Curriculum,
    *,
    envs: int = 1,
    seed: int = 0,
    subprocess: bool = False,
    on_failure: Literal["stop", "skip"] = "stop",
) -> TaughtEnvs:
    """Return environments for a student of Stable-Baselines3 whose tasks a teacher chooses.

    Args:
        make: from a task vector to a Gymnasium environment. An environment with a method `set_task(vector)` is built once, others per task.
        teacher: the teacher; its box says what tasks are.
        envs: environments side by side.
        seed: seed of the episodes.
        subprocess: run each in a process of its own.
        on_failure: what to do when an environment crashes or returns numbers that are not finite: `stop` with an error that names the task,
            or `skip` it: the episode is truncated, the teacher does not hear of it, `record.failures` does.

    Raises:
        OptionError: for an option out of range.
    """
    if envs < 1:
        raise OptionError(f"taught got envs={envs}; expected at least 1.")
    makers = [partial(TaskEnvironment, make, teacher.box, on_failure="report") for _ in range(envs)]
    return TaughtEnvs(vectorise(makers, seed=seed, subprocess=subprocess, hold=True), teacher, on_failure=on_failure)


class TaughtEnvs(VecEnvWrapper):  # type: ignore[misc]
    """A wrapper of vectorised environments with a teacher inside.

    When an episode ends, the teacher learns its return first and then names the next task, as if there were one environment. Every last
    `info` of an episode bears `episode` (its return and length), as Stable-Baselines3's Monitor adds it. `record` keeps every task with its
    return, `teaching` the seconds that the teacher took in this process.

    Args:
        venv: environments that `vectorise(..., hold=True)` made of `TaskEnvironment`s.
        teacher: the teacher.
        on_failure: see `taught`.
    """

    def __init__(self, venv: VecEnv, teacher: Curriculum, *, on_failure: Literal["stop", "skip"] = "stop") -> None:
        super().__init__(venv)
        if on_failure not in ("stop", "skip"):
            raise OptionError(f"on_failure is '{on_failure}'; expected 'stop' or 'skip'.")
        self.teacher, self.on_failure = teacher, on_failure
        self.record = TaskRecord(teacher.box.dimension)
        self.tasks: list[Task] = [teacher.box.centre] * venv.num_envs
        self.returns, self.lengths = np.zeros(venv.num_envs), np.zeros(venv.num_envs, dtype=np.int64)
        self.steps, self.teaching, self._started = 0, 0.0, time.perf_counter()

    @property
    def box(self) -> TaskBox:
        """The teacher's box of tasks."""
        return self.teacher.box

    def reset(self) -> Any:
        """Begin an episode with a task of the teacher's in every environment; episodes that are under way are given up."""
        observations = self._alive(self.venv.reset)
        for i in range(self.num_envs):
            observations = self._begin(i, observations)
        return observations

    def step_wait(self) -> Any:
        """Finish a step, and where an episode is over let the teacher learn and choose the next task."""
        observations, rewards, dones, infos = self._alive(self.venv.step_wait)
        self.returns += rewards
        self.lengths += 1
        self.steps += self.num_envs
        for i in np.flatnonzero(dones):
            if "failure" in infos[i]:
                self._failed(infos[i])
            else:
                value = float(self.returns[i])
                self.record.add(self.tasks[i], value, self.steps)
                before = time.perf_counter()
                self.teacher.update(self.tasks[i], value)
                self.teaching += time.perf_counter() - before
                elapsed = round(time.perf_counter() - self._started, 6)
                infos[i]["episode"] = {"r": value, "l": int(self.lengths[i]), "t": elapsed}
            observations = self._begin(int(i), observations)
        return observations, rewards, dones, infos

    def _begin(self, i: int, observations: Any) -> Any:
        """Begin an episode in environment i, and return the observations with its first among them."""
        for _ in range(_PATIENCE):
            before = time.perf_counter()
            self.tasks[i] = self.teacher.sample()
            self.teaching += time.perf_counter() - before
            self.returns[i], self.lengths[i] = 0.0, 0
            found, info = self._alive(partial(self.venv.env_method, "begin", {"task": self.tasks[i]}, indices=[i]))[0]
            if "failure" not in info:
                self.reset_infos[i] = info
                return put(observations, i, found)
            self._failed(info)
        raise TrainingError(
            f"{_PATIENCE} tasks in a row failed, the last: {self.record.failures[-1].what}. Cure the environment's factory."
        )

    def _failed(self, info: dict[str, Any]) -> None:
        self.record.failures.append(Failure(tuple(float(v) for v in info["task"]), info["failure"], self.steps))
        if self.on_failure == "stop":
            raise TrainingError(
                f"The environment of the task {self.box.tell(info['task'])} failed after {self.steps} steps of training. "
                f"{info['failure']}. "
                "Cure the environment, leave such tasks out of the box, or pass on_failure='skip' to go on without them."
            )

    def _alive(self, call: Callable[[], Any]) -> Any:
        """Call, and explain a process that died (a crash of a simulator's compiled code, say)."""
        try:
            return call()
        except (EOFError, ConnectionError) as error:
            under_way = "; ".join(self.box.tell(task) for task in self.tasks)
            raise TrainingError(
                f"The process of an environment died after {self.steps} steps of training. Tasks that were under way: {under_way}. "
                "Try each with subprocess=False to see which."
            ) from error

    def state_dict(self) -> dict[str, Any]:
        """Return teacher, record and the episodes that are under way (their positions are those of the environments inside)."""
        return {
            "teacher": self.teacher.state_dict(),
            "record": self.record.state_dict(),
            "tasks": np.stack(self.tasks),
            "returns": self.returns.copy(),
            "lengths": self.lengths.copy(),
            "steps": self.steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        self.teacher.load_state_dict(state["teacher"])
        self.record.load_state_dict(state["record"])
        self.tasks = list(np.array(state["tasks"]))
        self.returns, self.lengths = np.array(state["returns"]), np.array(state["lengths"])
        self.steps = int(state["steps"])


def put(observations: Any, i: int, one: Any) -> Any:
    """Write one environment's observation into those of all (array, dictionary or tuple of arrays), and return them."""
    if isinstance(observations, dict):
        for key, part in observations.items():
            put(part, i, one[key])
    elif isinstance(observations, tuple):
        for part, value in zip(observations, one, strict=True):
            put(part, i, value)
    else:
        observations[i] = one
    return observations
