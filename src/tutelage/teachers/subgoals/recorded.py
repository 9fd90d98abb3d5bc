"""Subgoals that were recorded level by level, and how good they are."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tutelage.environments.cells import Cell, content, describe, position, within
from tutelage.environments.subgoals import NOWHERE, Subgoal, Teacher
from tutelage.errors import DataError, OptionError
from tutelage.files import write_json
from tutelage.teachers.subgoals.noise import Noise
from tutelage.teachers.subgoals.oracle import oracle

Column = Literal["positions", "relative"]


class Recorded:
    """A teacher that reads its answers from a file.

    The file is a JSON list of `{"seed": int, "relative": [[dx, dy], ...], "positions": [[x, y], ...]}`: `positions` are cells, `relative`
    the way to them from where the agent begins. Either may be null or absent, as may single entries; these are counted, and name no
    subgoal.

    Args:
        path: the file.
        column: which of the two to read.

    Attributes:
        missing: levels that were asked for and are not in the file.
        nulls: lists and entries that are null.

    Raises:
        DataError: naming the row, if the file is missing or something else.
    """

    def __init__(self, path: str | Path, *, column: Column = "positions") -> None:
        if column not in ("positions", "relative"):
            raise OptionError(f"column is '{column}'; expected 'positions' or 'relative'.")
        self.path, self.column = Path(path), column
        self.missing = self.nulls = 0
        self.answers: dict[int, list[Cell | None]] = {}
        for number, row in enumerate(self._rows()):
            self._take(number, row)

    def _rows(self) -> list[Any]:
        try:
            rows = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(f"The recorded subgoals '{self.path}' cannot be read ({error}). Expected a JSON list.") from error
        if not isinstance(rows, list):
            raise DataError(f"The recorded subgoals '{self.path}' are a {type(rows).__name__}; expected a JSON list of objects.")
        return rows

    def _take(self, number: int, row: Any) -> None:
        where = f"Row {number} of the recorded subgoals '{self.path}'"
        seed = row.get("seed") if isinstance(row, Mapping) else None
        if not isinstance(seed, int) or isinstance(seed, bool):
            raise DataError(f"{where} is {str(row)[:80]}; expected an object with a whole 'seed'.")
        if seed in self.answers:
            raise DataError(f"{where} has the seed {seed} of an earlier row; expected one row per level.")
        cells = row.get(self.column)
        if cells is None:
            self.nulls += 1
            cells = []
        if not isinstance(cells, list):
            raise DataError(f"{where} has '{self.column}' of the kind {type(cells).__name__}; expected a list of [x, y], or null.")
        self.answers[seed] = []
        for cell in cells:
            if cell is None:
                self.nulls += 1
                self.answers[seed].append(None)
                continue
            whole = isinstance(cell, list) and len(cell) == 2 and all(isinstance(v, int) and not isinstance(v, bool) for v in cell)
            if not whole:
                raise DataError(f"{where} has the subgoal {str(cell)[:40]}; expected [x, y] of whole numbers, or null.")
            self.answers[seed].append((cell[0], cell[1]))

    def __call__(self, env: Any, level: int, generator: np.random.Generator) -> list[Subgoal]:
        """Return the subgoals of a level, none if it was not recorded."""
        del generator
        if level not in self.answers:
            self.missing += 1
            return []
        dx, dy = position(env) if self.column == "relative" else (0, 0)
        given = [NOWHERE if cell is None else Subgoal(cell[0] + dx, cell[1] + dy) for cell in self.answers[level]]
        return [s._replace(text=describe(content(env, s.x, s.y))) if within(env, s.x, s.y) else s for s in given]


def record(teacher: Teacher, env: Any, levels: Iterable[int], *, seed: int = 0) -> list[dict[str, Any]]:
    """Return what a teacher names in levels, as rows of a file of recorded subgoals.

    Args:
        teacher: any teacher of subgoals.
        env: the environment.
        levels: seeds of levels.
        seed: seed of the teacher's own draws.
    """
    rows = []
    for level in levels:
        env.reset(seed=int(level))
        given = teacher(env, int(level), np.random.default_rng([seed, int(level)]))
        x, y = position(env)
        cells = [[int(s.x), int(s.y)] for s in given]
        rows.append({"seed": int(level), "relative": [[cx - x, cy - y] for cx, cy in cells], "positions": cells})
    return rows


def write_recorded(path: str | Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a file of recorded subgoals, whole or not at all."""
    write_json(path, [dict(row) for row in rows])


def quality(teacher: Teacher, env: Any, levels: Iterable[int], *, truth: Teacher = oracle, seed: int = 0) -> Noise:
    """Measure a teacher against the oracle: the noise by which it can be replaced where it cannot be asked.

    Args:
        teacher: who is measured.
        env: the environment.
        levels: seeds of levels.
        truth: who is right.
        seed: seed of the teacher's own draws.

    Returns:
        The share of the oracle's subgoals that stand at their place in the teacher's list, and mean and standard deviation of the
        Manhattan distance between the two lists, place by place; a subgoal that is missing is wrong and has no distance.

    Raises:
        OptionError: if there is nothing to compare.
    """
    right, far = [], []
    for level in levels:
        env.reset(seed=int(level))
        wanted = list(truth(env, int(level), np.random.default_rng([seed, int(level), 1])))
        given = list(teacher(env, int(level), np.random.default_rng([seed, int(level)])))
        far += [abs(a.x - b.x) + abs(a.y - b.y) for a, b in zip(given, wanted, strict=False)]
        right += [place < len(given) and given[place][:2] == want[:2] for place, want in enumerate(wanted)]
    if not right:
        raise OptionError("quality got no levels, or the oracle names no subgoal in any of them.")
    return Noise(float(np.mean(right)), float(np.mean(far)) if far else 0.0, float(np.std(far)) if far else 0.0)
