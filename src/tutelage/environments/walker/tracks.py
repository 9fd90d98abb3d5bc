"""Tracks full of obstacles, drawn around a task vector: the same task never gives quite the same track."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from tutelage.environments.tasks import Task, TaskBox

STEP = 14 / 30
"""Unit of obstacles, in metres: one step of Gymnasium's terrain."""
NOISE = 0.1
"""Standard deviation of obstacles around the task, in units."""

STUMPS = TaskBox((0.0, 0.0), (3.0, 6.0), ("height", "spacing"))
"""Mean height of the stumps in units of 14/30 m, and the gap between them in metres."""
HEXAGONS = TaskBox((0.0,) * 12, (4.0,) * 12, tuple(f"{axis}{i}" for i in range(6) for axis in "xy"))
"""Offsets of the six corners of an obstacle in units of 14/30 m; the first and the last corner stay on the ground."""

_CORNERS = ((-0.5, 0.0), (-0.5, 0.25), (-0.25, 0.5), (0.25, 0.5), (0.5, 0.25), (0.5, 0.0))
_HEXAGON_SPACING = 8.0
_NARROWEST = 0.01


class Obstacle(NamedTuple):
    """A convex obstacle and the ground that belongs to it, in metres."""

    corners: list[tuple[float, float]]
    start: float
    end: float
    next: float


def stumps(task: Task, start: float, stop: float, ground: float, random: np.random.Generator) -> Iterator[Obstacle]:
    """Yield stumps one unit wide whose heights scatter around the task's, from `start` to `stop`.

    Args:
        task: height and spacing, as `STUMPS` says.
        start: where the first begins, in metres.
        stop: where the ground ends.
        ground: height of the ground.
        random: draws the heights.
    """
    while start < stop:
        height = STEP * max(0.05, random.normal(task[0], NOISE))
        end = start + STEP
        corners = [(start, ground), (end, ground), (end, ground + height), (start, ground + height)]
        following = end + max(_NARROWEST, float(task[1]))
        yield Obstacle(corners, start, end, following)
        start = following


def hexagons(task: Task, start: float, stop: float, ground: float, random: np.random.Generator) -> Iterator[Obstacle]:
    """Yield obstacles whose six corners scatter around the task's offsets, eight metres apart; their convex hull is what is met.

    Args:
        task: offsets, as `HEXAGONS` says.
        start: where the first stands, in metres.
        stop: where the ground ends.
        ground: height of the ground.
        random: draws the corners.
    """
    while start < stop:
        offsets = random.normal(np.asarray(task).reshape(6, 2), NOISE)
        offsets[[0, -1], 1] = 0.0
        corners = [(start + STEP * (x + dx), ground + STEP * (y + dy)) for (x, y), (dx, dy) in zip(_CORNERS, offsets, strict=True)]
        end = start + 1.0
        yield Obstacle(corners, start, end, end + _HEXAGON_SPACING)
        start = end + _HEXAGON_SPACING
