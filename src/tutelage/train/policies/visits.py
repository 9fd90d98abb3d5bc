"""A curriculum with a student that needs no simulator: one visit per task."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tutelage.environments.tasks import Task
from tutelage.errors import OptionError
from tutelage.teachers.curricula.base import Curriculum
from tutelage.train.checkpoint import Checkpoints
from tutelage.train.interrupt import Interrupted, StopRequest
from tutelage.train.policies.packing import pack, unpack
from tutelage.train.policies.record import TaskRecord


class Space(Protocol):
    """What is visited: `tutelage.environments.ToySpace` for instance."""

    def visit(self, task: Task) -> float:
        """Return the value of one visit."""

    def state_dict(self) -> dict[str, Any]:
        """Return everything that changes."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` returned."""


@dataclass
class Visited:
    """What a curriculum did: its record, and what was measured along the way.

    Args:
        record: tasks and values.
        rows: measurements, each with its `episode`.
    """

    record: TaskRecord
    rows: list[dict[str, float]]


def visit(
    teacher: Curriculum,
    space: Space,
    episodes: int,
    *,
    measure: Callable[[], dict[str, float]] | None = None,
    every: int = 1000,
    directory: Path | None = None,
    resume: bool = False,
) -> Visited:
    """Let a teacher choose tasks in a space until a number of episodes is reached.

    Args:
        teacher: the teacher.
        space: the space, which is its own student.
        episodes: episodes in all.
        measure: what to measure every so often, and at the end.
        every: episodes between two measurements, and between two checkpoints.
        directory: where checkpoints of teacher and space go; `None` keeps none.
        resume: take up the newest good checkpoint there.

    Returns:
        Record and measurements.

    Raises:
        OptionError: if the directory holds checkpoints and `resume` is False.
        Interrupted: after Ctrl-C or SIGTERM, with a checkpoint of that moment.
    """
    if episodes < 1 or every < 1:
        raise OptionError(f"visit got episodes={episodes}, every={every}; expected at least 1.")
    done = Visited(TaskRecord(teacher.box.dimension), [])
    checkpoints = None if directory is None else Checkpoints(Path(directory))
    if checkpoints is not None:
        if checkpoints.paths() and not resume:
            raise OptionError(f"{directory} holds a curriculum already. Pass resume=True to go on with it, or choose another directory.")
        found, problems = checkpoints.latest()
        for problem in problems:
            warnings.warn(f"{problem} Went on from the one before.", stacklevel=2)
        if found is not None:
            state = unpack(found.state)
            teacher.load_state_dict(state["teacher"])
            space.load_state_dict(state["space"])
            done.record.load_state_dict(state["record"])
            done.rows = state["rows"]

    def keep() -> None:
        if checkpoints is not None:
            state = {"teacher": teacher.state_dict(), "space": space.state_dict(), "record": done.record.state_dict(), "rows": done.rows}
            checkpoints.save(len(done.record), pack(state))

    with StopRequest() as stop:
        while len(done.record) < episodes:
            task = teacher.sample()
            value = space.visit(task)
            teacher.update(task, value)
            done.record.add(task, value, len(done.record) + 1)
            count = len(done.record)
            if count % every == 0 or count == episodes:
                if measure is not None:
                    done.rows.append({"episode": float(count), **measure()})
                keep()
            if stop.wanted:
                keep()
                raise Interrupted(f"The curriculum stopped after {count} of {episodes} episodes; resume goes on from there.")
    return done
