"""Noise models: an oracle with the errors that were measured of language models, so that training needs none of their answers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from tutelage.environments.cells import Cell, content, describe, position, size
from tutelage.environments.subgoals import WIDTHS, Kind, Subgoal, Teacher
from tutelage.errors import OptionError, nearest
from tutelage.teachers.subgoals.oracle import holding


@dataclass(frozen=True)
class Noise:
    """How often a teacher is right, and how far off it is.

    Args:
        accuracy: probability that a subgoal is right.
        mean: mean Manhattan distance of the error, in cells; for `relative` subgoals.
        std: its standard deviation.

    Raises:
        OptionError: for a value out of range.
    """

    accuracy: float
    mean: float = 1.0
    std: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.accuracy <= 1 and 0 <= self.mean < np.inf and 0 <= self.std < np.inf):
            raise OptionError(f"{self}: expected an accuracy from 0 to 1, and a finite mean and std of at least 0.")


_RELATIVE = {
    "KeyCorridorS3R3": ((0.974, 0.18, 1.20), (0.334, 2.57, 2.54), (0.981, 0.07, 0.63)),
    "KeyCorridorS6R3": ((0.914, 1.47, 5.02), (0.365, 7.24, 7.47), (0.881, 1.34, 4.25)),
    "ObstructedMaze-1Dlh": ((0.988, 0.08, 0.82), (0.430, 2.98, 3.41), (0.669, 2.18, 3.53)),
    "ObstructedMaze-1Dlhb": ((0.449, 4.33, 4.21), (0.229, 4.49, 3.39), (0.405, 3.85, 3.71)),
    "MultiRoom-N2-S4": ((0.921, 0.26, 1.01), (0.352, 2.91, 2.54), (0.714, 1.12, 2.05)),
    "MultiRoom-N4-S5": ((0.540, 3.69, 4.65), (0.129, 7.92, 4.64), (0.360, 5.23, 4.94)),
}
_REPRESENTATION = {
    "KeyCorridorS3R3": (0.985, 0.906, 0.996),
    "KeyCorridorS6R3": (0.932, 0.762, 0.959),
    "ObstructedMaze-1Dlh": (0.989, 0.739, 0.742),
    "ObstructedMaze-1Dlhb": (0.486, 0.518, 0.482),
    "MultiRoom-N2-S4": (0.930, 0.273, 0.559),
    "MultiRoom-N4-S5": (0.548, 0.175, 0.352),
}
LANGUAGE_MODELS = ("llama", "deepseek", "qwen")
"""Models whose errors were measured."""


def noise_of(model: str, environment: str, kind: Kind) -> Noise:
    """Return the measured noise of a language model.

    Args:
        model: `llama`, `deepseek` or `qwen`.
        environment: name of the task, with or without `MiniGrid-` and a version.
        kind: kind of subgoal; `language` has the accuracy of `representation`.

    Raises:
        OptionError: for a model, a task or a kind that was not measured; the nearest are offered.

    Source: tables of arXiv 2410.08632.
    """
    name = re.sub(r"-v\d+$", "", environment.removeprefix("MiniGrid-"))
    for what, given, known in (("model", model, LANGUAGE_MODELS), ("task", name, tuple(_RELATIVE)), ("kind", kind, tuple(WIDTHS))):
        if given not in known:
            raise OptionError(f"No noise was measured for the {what} '{given}'.{nearest(str(given), known)} Or give a Noise of your own.")
    place = LANGUAGE_MODELS.index(model)
    return Noise(*_RELATIVE[name][place]) if kind == "relative" else Noise(_REPRESENTATION[name][place])


def ring(cell: Cell, distance: int, generator: np.random.Generator) -> Cell:
    """Draw a cell at exactly a Manhattan distance, each of the `4 distance` with the same probability; it may lie out of the grid.

    Args:
        cell: the centre.
        distance: at least 1.
        generator: source of the draw.
    """
    side, along = divmod(int(generator.integers(4 * distance)), distance)
    dx, dy = [(distance - along, along), (-along, distance - along), (along - distance, -along), (along, along - distance)][side]
    return cell[0] + dx, cell[1] + dy


class Noisy:
    """A teacher some of whose subgoals are wrong, anew in every episode.

    A wrong `relative` subgoal lies d cells off, d = max(1, N(mean, std)) rounded, in any direction. A wrong `representation` or `language`
    subgoal is another object outside the room of the goal: in KeyCorridor another door; where there is no other object, another free cell.

    Args:
        teacher: who would be right.
        noise: how often it is not.
        kind: kind of subgoal that the student sees.

    Source: arXiv 2410.08632, whose code displaces along columns only; a random direction is ours.
    """

    def __init__(self, teacher: Teacher, noise: Noise, kind: Kind) -> None:
        if kind not in WIDTHS:
            raise OptionError(f"kind is '{kind}'.{nearest(str(kind), WIDTHS)}")
        self.teacher, self.noise, self.kind = teacher, noise, kind

    def __call__(self, env: Any, level: int, generator: np.random.Generator) -> list[Subgoal]:
        """Return the subgoals of a level, each kept with the probability `noise.accuracy`."""
        right = [Subgoal(*subgoal) for subgoal in self.teacher(env, level, generator)]
        wrong = generator.random(len(right)) >= self.noise.accuracy
        if self.kind == "relative":
            return [self._moved(s, generator) if bad else s for s, bad in zip(right, wrong, strict=True)]
        outside = room_of(env, (right[-1].x, right[-1].y)) if right else set()
        return [self._another(env, s, outside, generator) if bad else s for s, bad in zip(right, wrong, strict=True)]

    def _moved(self, subgoal: Subgoal, generator: np.random.Generator) -> Subgoal:
        distance = max(1, round(generator.normal(self.noise.mean, self.noise.std)))
        return Subgoal(*ring((subgoal.x, subgoal.y), distance, generator))

    def _another(self, env: Any, subgoal: Subgoal, outside: set[Cell], generator: np.random.Generator) -> Subgoal:
        here = (subgoal.x, subgoal.y)
        corridor = any(kind.__name__ == "KeyCorridorEnv" for kind in type(env.unwrapped).__mro__)
        things = holding(env, "door") if corridor else holding(env, "door", "key", "ball", "box", "goal")
        choice = [cell for cell in things if cell != here and cell not in outside]
        choice = choice or [cell for cell in _open(env) if cell != here and cell not in outside]
        cell = choice[int(generator.integers(len(choice)))]
        return Subgoal(*cell, describe(content(env, *cell)))


class Extra:
    """A teacher with further random subgoals between its own, the last excepted: does the student depend on their meaning?

    Args:
        teacher: who names the others.
        count: how many are added, each a random cell that is no wall; the paper has 5, with alpha 1 and relative subgoals.
    """

    def __init__(self, teacher: Teacher, count: int) -> None:
        if count < 0:
            raise OptionError(f"count is {count}; expected at least 0.")
        self.teacher, self.count = teacher, count

    def __call__(self, env: Any, level: int, generator: np.random.Generator) -> list[Subgoal]:
        """Return the subgoals of a level with random ones at random places before the last."""
        found = list(self.teacher(env, level, generator))
        cells = _open(env)
        for _ in range(self.count):
            cell = cells[int(generator.integers(len(cells)))]
            place = int(generator.integers(max(len(found), 1)))
            found.insert(place, Subgoal(*cell, describe(content(env, *cell))))
        return found


class Near:
    """A teacher of pre-training: one random subgoal, near the agent.

    Args:
        distance: largest Manhattan distance, in cells; `None` for any cell that is no wall.
    """

    def __init__(self, distance: int | None = None) -> None:
        if distance is not None and distance < 1:
            raise OptionError(f"distance is {distance}; expected at least 1, or None.")
        self.distance = distance

    def __call__(self, env: Any, level: int, generator: np.random.Generator) -> list[Subgoal]:
        """Return one subgoal."""
        x, y = position(env)
        away = {cell: abs(cell[0] - x) + abs(cell[1] - y) for cell in _open(env)}
        cells = [cell for cell, far in away.items() if far > 0 and (self.distance is None or far <= self.distance)]
        cells = cells or [min((cell for cell in away if away[cell] > 0), key=lambda cell: away[cell])]
        cell = cells[int(generator.integers(len(cells)))]
        return [Subgoal(*cell, describe(content(env, *cell)))]


def room_of(env: Any, cell: Cell) -> set[Cell]:
    """Return the cells that are reached from one without passing a door or a wall."""
    columns, rows = size(env)
    found, edge = {cell}, [cell]
    while edge:
        x, y = edge.pop()
        for there in ((x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)):
            inside = 0 <= there[0] < columns and 0 <= there[1] < rows and there not in found
            if inside and describe(content(env, *there)).rpartition("_")[2] not in ("", "door"):
                found.add(there)
                edge.append(there)
    return found


def _open(env: Any) -> list[Cell]:
    """Return the cells that hold no wall and, where rooms are surrounded by nothing, can be reached past doors."""
    columns, rows = size(env)
    found, edge = {position(env)}, [position(env)]
    while edge:
        x, y = edge.pop()
        for there in ((x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)):
            inside = 0 <= there[0] < columns and 0 <= there[1] < rows and there not in found
            if inside and describe(content(env, *there)):
                found.add(there)
                edge.append(there)
    return sorted(found)
