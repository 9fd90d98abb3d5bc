"""The oracle: what a perfect teacher would name in each task of MiniGrid."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tutelage.environments.cells import Cell, content, describe, size
from tutelage.environments.subgoals import Subgoal
from tutelage.errors import OptionError, nearest


def oracle(env: Any, level: int = 0, generator: np.random.Generator | None = None) -> list[Subgoal]:
    """Return the subgoals of a level in order, by reading its grid.

    MultiRoom: its doors, then the goal. DoorKey: key, door, goal. KeyCorridor: key, locked door, ball. ObstructedMaze: the ball before the
    door where there is one, the box that hides the key where there is one, the key, the door, the ball to pick up.

    Args:
        env: the environment, after its reset; MiniGrid's MultiRoom, DoorKey, KeyCorridor, ObstructedMaze with one door, or `TwoRooms`.
        level: not used: the grid says all.
        generator: not used.

    Returns:
        The subgoals, the task itself last.

    Raises:
        OptionError: for another environment.

    Source: arXiv 2410.08632; the order inside ObstructedMaze is ours.
    """
    del level, generator
    world = env.unwrapped
    for name in [kind.__name__ for kind in type(world).__mro__]:
        if name in _ORACLES:
            return _ORACLES[name](world)
    known = ", ".join(_ORACLES)
    raise OptionError(
        f"No oracle knows {type(world).__name__}; known are {known}.{nearest(type(world).__name__, _ORACLES)} For another environment give "
        "a function from (environment, level, generator) to a list of Subgoal."
    )


def holding(env: Any, *texts: str) -> list[Cell]:
    """Return the cells that hold a thing, row by row.

    Args:
        env: a grid world.
        *texts: what to look for, as `describe` names it; `door` and `ball` match any colour, `door` locked ones too.
    """
    columns, rows = size(env)
    cells = [(x, y) for y in range(rows) for x in range(columns)]
    found = {cell: describe(content(env, *cell)) for cell in cells}
    return [cell for cell in cells if found[cell] in texts or found[cell].rpartition("_")[2] in texts]


def _multi_room(world: Any) -> list[Subgoal]:
    return [_at(world, cell) for cell in [*(room.entryDoorPos for room in world.rooms[1:]), world.goal_pos]]


def _door_key(world: Any) -> list[Subgoal]:
    return [_one(world, "key"), _one(world, "door"), _one(world, "goal")]


def _key_corridor(world: Any) -> list[Subgoal]:
    return [_one(world, "key"), _one(world, "locked_door"), _at(world, world.obj.cur_pos)]


def _obstructed_maze(world: Any) -> list[Subgoal]:
    target = _at(world, world.obj.cur_pos)
    door = _one(world, "locked_door")
    boxes, keys = holding(world, "box"), holding(world, "key")
    hidden = [Subgoal(*cell, "box") for cell in boxes]
    # A box that is opened leaves the key in its cell.
    key = Subgoal(*(boxes or keys)[0], "key")
    obstacles = [_at(world, cell) for cell in holding(world, "ball") if cell != target[:2]]
    return [*obstacles, *hidden, key, door, target]


def _one(world: Any, text: str) -> Subgoal:
    return _at(world, holding(world, text)[0])


def _at(world: Any, cell: Any) -> Subgoal:
    x, y = (int(v) for v in cell)
    return Subgoal(x, y, describe(content(world, x, y)))


def _two_rooms(world: Any) -> list[Subgoal]:
    return [_at(world, cell) for cell in (world.key, world.door, world.ball)]


_ORACLES: dict[str, Callable[[Any], list[Subgoal]]] = {
    "MultiRoomEnv": _multi_room,
    "DoorKeyEnv": _door_key,
    "KeyCorridorEnv": _key_corridor,
    "ObstructedMaze_1Dlhb": _obstructed_maze,
    "TwoRooms": _two_rooms,
}
