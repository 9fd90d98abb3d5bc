"""What a language model is told of a level, and how its reply is read: as data, and no further than it can be checked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tutelage.environments.cells import COLOURS, OBJECTS, SENTENCES, content, describe, position, size, within
from tutelage.environments.subgoals import NOWHERE, Subgoal

_MARKS = {"wall": "W", "door": "D", "key": "K", "ball": "A", "box": "B", "goal": "G", "lava": "V"}
_FACING = (">", "v", "<", "^")
_LONGEST = 100_000
_MOST = 64

_QUESTION = """You guide an agent through a grid world. Name the subgoals that it must reach, in order, to fulfil its mission.

Mission: {mission}

Grid, {columns} columns (x from 0) by {rows} rows (y from 0, downwards); every cell is two characters between bars:
{grid}

Legend: WW wall; K key, A ball, B box, D closed door, L locked door, O open door, each with the first letter of its colour (R red,
G green, B blue, P purple, Y yellow, E grey); GG goal; VV lava; two blanks an empty cell; >> vv << ^^ the agent, facing that way.

Rules: a locked door opens with the key of its colour in hand; a closed door is opened by hand; balls, boxes and keys block the way and
can be picked up, one at a time; opening a box shows what is hidden in it.

Answer with nothing but a JSON list of [object, x, y] in order, the mission's own aim last, such as [["key", 3, 1], ["goal", 5, 5]]."""


def prompt(env: Any) -> str:
    """Return the question about a level: its grid in characters, a legend, the rules and the mission.

    Args:
        env: a grid world after its reset.
    """
    columns, rows = size(env)
    header = "     " + "|".join(f"{x:2d}" for x in range(columns))
    lines = [f"y={y:2d} " + "|".join(_mark(env, x, y) for x in range(columns)) for y in range(rows)]
    grid = "\n".join([header, *lines])
    return _QUESTION.format(mission=env.unwrapped.mission, columns=columns, rows=rows, grid=grid)


def _mark(env: Any, x: int, y: int) -> str:
    if (x, y) == position(env):
        return 2 * _FACING[getattr(env.unwrapped, "agent_dir", 0)]
    kind, colour, state = content(env, x, y)
    name = OBJECTS[kind]
    if name in ("wall", "goal", "lava"):
        return 2 * _MARKS[name]
    if name not in _MARKS:
        return "  "
    shade = "E" if COLOURS[colour] == "grey" else COLOURS[colour][0].upper()
    return ("ODL"[state] if name == "door" else _MARKS[name]) + shade


@dataclass(frozen=True)
class Parsed:
    """What a reply said.

    Args:
        subgoals: the entries that can be believed, in order.
        malformed: whether there was no list to read.
        bad: entries that are no subgoal.
        outside: entries out of the grid.
    """

    subgoals: tuple[Subgoal, ...]
    malformed: bool = False
    bad: int = 0
    outside: int = 0


def parse(reply: str, columns: int, rows: int) -> Parsed:
    """Read the list of subgoals in a language model's reply.

    The first JSON list of lists or of objects is read, wherever it stands (before, after or between words, in a fence); entries are
    `[object, x, y]`, `[x, y]` or `{"object": ..., "x": ..., "y": ...}`. Numbers must be whole. A name that is none of the known sentences
    is dropped: what the cell holds is then read from the grid. Nothing of the reply is run. A last entry that cannot be used keeps its
    place as `NOWHERE`, because the last subgoal is the task itself.

    Args:
        reply: the reply.
        columns: columns of the grid.
        rows: its rows.
    """
    found = _first_list(reply[:_LONGEST])
    if found is None:
        return Parsed((), malformed=True)
    subgoals: list[Subgoal] = []
    bad = outside = 0
    usable = True
    for entry in found:
        subgoal = _entry(entry)
        usable = False
        if subgoal is None or len(subgoals) == _MOST:
            bad += 1
        elif not (0 <= subgoal.x < columns and 0 <= subgoal.y < rows):
            outside += 1
        else:
            subgoals.append(subgoal)
            usable = True
    if subgoals and not usable:
        subgoals.append(NOWHERE)
    return Parsed(tuple(subgoals), bad=bad, outside=outside)


def _first_list(reply: str) -> list[Any] | None:
    """Return the first JSON list whose entries are lists or objects, or an empty list; None where there is neither."""
    decoder = json.JSONDecoder()
    empty: list[Any] | None = None
    place, tries = reply.find("["), 0
    while place >= 0 and tries < 200:
        try:
            value, end = decoder.raw_decode(reply, place)
        except (ValueError, RecursionError):
            end = place + 1
        else:
            if value and all(isinstance(entry, list | dict) for entry in value):
                return list(value)
            empty = [] if not value else empty
        place, tries = reply.find("[", end), tries + 1
    return empty


def _entry(entry: Any) -> Subgoal | None:
    if isinstance(entry, dict):
        entry = [entry.get("object", ""), entry.get("x"), entry.get("y")]
    if len(entry) == 2:
        entry = ["", *entry]
    if len(entry) != 3 or not isinstance(entry[0], str) or not all(_whole(value) for value in entry[1:]):
        return None
    text = "_".join(entry[0].lower().split())[:40]
    return Subgoal(int(entry[1]), int(entry[2]), text if text in SENTENCES else "")


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10_000


def filled(env: Any, subgoals: tuple[Subgoal, ...]) -> list[Subgoal]:
    """Return subgoals, those without a text with what their cell holds now."""
    return [s if s.text or not within(env, s.x, s.y) else Subgoal(s.x, s.y, describe(content(env, s.x, s.y))) for s in subgoals]
