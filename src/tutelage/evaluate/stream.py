"""A stream of tasks: played one after the other, written down as it goes, and summed up by thirds, lanes and moving means."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TypeVar

from tutelage.errors import CheckpointError

T = TypeVar("T")


@dataclass(frozen=True)
class Played:
    """What became of one task of a stream.

    Args:
        task: its text.
        family: its family.
        lane: how it was supervised.
        success: 1 or 0, or a share.
        reward: what judges gave; `None` where nobody judged.
        tokens: of all roles.
        cost: of all roles.
        attempts: of the student.
        used: tokens of single roles.
    """

    task: str
    family: str
    lane: str
    success: float
    reward: float | None = None
    tokens: float = 0.0
    cost: float = 0.0
    attempts: int = 1
    used: Mapping[str, float] = dataclasses.field(default_factory=dict)


def play(
    tasks: Sequence[T], solve: Callable[[T], Played], *, log: str | Path | None = None, name: Callable[[T], str] = str
) -> list[Played]:
    """Play a stream.

    Args:
        tasks: in their order.
        solve: works on one; what it raises ends the stream.
        log: file of JSON lines to which every task is appended when it is done, flushed to disk. Tasks that stand in it are not played
            again; a line that a kill left half-written is cut off. `None` writes nothing.
        name: text of a task, by which the log is compared with the stream.

    Returns:
        What became of every task.

    Raises:
        CheckpointError: if the log is of another stream.
    """
    path = None if log is None else Path(log)
    done = [] if path is None else _done(path)
    for place, (row, task) in enumerate(zip(done, tasks, strict=False)):
        if row.task != name(task):
            raise CheckpointError(f"'{path}' is the log of another stream: task {place} differs. Choose another file.")
    for task in tasks[len(done) :]:
        row = solve(task)
        if path is not None:
            _append(path, json.dumps(dataclasses.asdict(row)) + "\n")
        done.append(row)
    return done[: len(tasks)]


def _done(path: Path) -> list[Played]:
    """Read a log, and cut off what is no whole line."""
    if not path.exists():
        return []
    content, rows, good = path.read_bytes(), list[Played](), 0
    for line in content.splitlines(keepends=True):
        try:
            row = Played(**json.loads(line))
        except (ValueError, TypeError) as error:
            if good + len(line) < len(content):
                raise CheckpointError(f"'{path}' is damaged after {len(rows)} tasks ({error}). Remove it to begin anew.") from error
            break
        if not line.endswith(b"\n"):
            break
        rows.append(row)
        good += len(line)
    if good < len(content):
        os.truncate(path, good)
    return rows


def _append(path: Path, line: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(line.encode())
        file.flush()
        os.fsync(file.fileno())


def thirds(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the means of the first, middle and last third of a stream.

    Args:
        values: one number per task, at least 3; what does not divide belongs to the middle.
    """
    third = len(values) // 3
    return fmean(values[:third]), fmean(values[third : len(values) - third]), fmean(values[len(values) - third :])


def moving(values: Sequence[float], window: int = 15) -> list[float]:
    """Return the mean of the last so many values at every place, of fewer at the beginning."""
    return [fmean(values[max(0, end - window) : end]) for end in range(1, len(values) + 1)]


def lane_shares(played: Sequence[Played], lane: str) -> tuple[float, float, float]:
    """Return the share of a lane in the first, middle and last third."""
    return thirds([float(row.lane == lane) for row in played])
