"""Cells of grid worlds: what they hold, and the words for it, as MiniGrid encodes both."""

from __future__ import annotations

from typing import Any

Cell = tuple[int, int]
Content = tuple[int, int, int]
"""Numbers of object, colour and state."""

EMPTY: Content = (1, 0, 0)
OBJECTS = ("unseen", "empty", "wall", "floor", "door", "key", "ball", "box", "goal", "lava", "agent")
COLOURS = ("red", "green", "blue", "purple", "yellow", "grey")
SENTENCES = (
    *("locked_door", "key", "box", "ball", "goal", "floor", "lava"),
    *(f"{colour}_{thing}" for colour in COLOURS for thing in ("door", "ball")),
)
"""All texts for what a subgoal's cell may hold."""


def position(env: Any) -> Cell:
    """Return where the agent of a grid world is."""
    x, y = env.unwrapped.agent_pos
    return int(x), int(y)


def size(env: Any) -> Cell:
    """Return columns and rows of a grid world."""
    return int(env.unwrapped.width), int(env.unwrapped.height)


def within(env: Any, x: int, y: int) -> bool:
    """Return whether a cell lies in a grid world."""
    columns, rows = size(env)
    return 0 <= x < columns and 0 <= y < rows


def content(env: Any, x: int, y: int) -> Content:
    """Return what a cell of a grid world holds, as MiniGrid encodes it.

    Args:
        env: an environment of MiniGrid, or one with a method `content(x, y)`.
        x: column.
        y: row.

    Returns:
        Numbers of object, colour and state.
    """
    world = env.unwrapped
    if hasattr(world, "content"):
        return world.content(x, y)  # type: ignore[no-any-return]
    found = world.grid.get(x, y)
    if found is None:
        return EMPTY
    kind, colour, state = found.encode()
    return int(kind), int(colour), int(state)


def describe(found: Content) -> str:
    """Return what a cell holds in words: `red_door`, `locked_door`, `key`, `blue_ball`, ...; `floor` where nothing is, "" for a wall."""
    kind, colour = OBJECTS[found[0]], COLOURS[found[1]]
    if kind == "door":
        return "locked_door" if found[2] == 2 else f"{colour}_door"
    if kind == "ball":
        return f"{colour}_ball"
    return "floor" if kind in ("empty", "floor") else kind if kind in SENTENCES else ""
