"""Two rooms with a locked door between them: the smallest grid world in which subgoals matter, small enough for a table."""

from __future__ import annotations

from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tutelage.environments.cells import EMPTY, Cell, Content
from tutelage.errors import optional

optional("gymnasium", "rl")
import gymnasium  # noqa: E402

MOVES = ((0, -1), (1, 0), (0, 1), (-1, 0))
PICKUP, TOGGLE = 4, 5
_WALL: Content = (2, 5, 0)
_DOOR, _KEY, _BALL = 4, 5, 6


class TwoRooms(gymnasium.Env):  # type: ignore[misc]
    """A key, a locked door, and a ball behind it; picking up the ball gives reward 1 and ends the episode.

    Two rooms of 8 by 8 cells lie side by side, columns 0 to 7 and 9 to 16, with a wall between them and a door in it. Actions 0 to 3 go up,
    right, down and left, 4 picks up and 5 toggles what lies in one of the four cells beside the agent; objects cannot be stepped on, the
    key opens the door for good. Observations are states: (door open, key in hand, row, column) as one number.

    Source: the small experiment of the sheet of Words as Beacons.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}
    width, height, max_steps = 17, 8, 256
    start: ClassVar[Cell] = (6, 0)
    key: ClassVar[Cell] = (1, 6)
    door: ClassVar[Cell] = (8, 4)
    ball: ClassVar[Cell] = (15, 4)
    mission = "pick up the blue ball"

    def __init__(self) -> None:
        self.observation_space = gymnasium.spaces.Discrete(4 * self.width * self.height)
        self.action_space = gymnasium.spaces.Discrete(6)
        self.state, self.steps = self.state_of(self.start), 0

    def state_of(self, cell: Cell, *, key: bool = False, opened: bool = False) -> int:
        """Return the number of a state."""
        return ((2 * opened + key) * self.height + cell[1]) * self.width + cell[0]

    @property
    def agent_pos(self) -> Cell:
        """Where the agent is, column and row."""
        return self.state % self.width, self.state // self.width % self.height

    @property
    def has_key(self) -> bool:
        """Whether the agent has the key."""
        return bool(self.state // (self.width * self.height) % 2)

    @property
    def opened(self) -> bool:
        """Whether the door is open."""
        return bool(self.state // (self.width * self.height) // 2)

    def content(self, x: int, y: int) -> Content:
        """Return what a cell holds, as MiniGrid encodes it; the ball is always there, because picking it up ends the episode."""
        if (x, y) == self.door:
            return (_DOOR, 4, 0 if self.opened else 2)
        if x == self.door[0]:
            return _WALL
        if (x, y) == self.key and not self.has_key:
            return (_KEY, 4, 0)
        return (_BALL, 2, 0) if (x, y) == self.ball else EMPTY

    @cached_property
    def moves(self) -> NDArray[np.int64]:
        """State after each action `[states, 6]`; picking up the ball is -1."""
        table = np.empty((self.observation_space.n, 6), np.int64)
        kept = self.state
        for state in range(len(table)):
            self.state = state
            table[state] = [self._move(action) for action in range(6)]
        self.state = kept
        return table

    def _move(self, action: int) -> int:
        x, y = self.agent_pos
        beside = [(x + dx, y + dy) for dx, dy in MOVES]
        if action == PICKUP:
            if self.ball in beside:
                return -1
            took = self.has_key or self.key in beside
            return self.state_of((x, y), key=took, opened=self.opened)
        if action == TOGGLE:
            opened = self.opened or (self.has_key and self.door in beside)
            return self.state_of((x, y), key=self.has_key, opened=opened)
        there = beside[action]
        inside = 0 <= there[0] < self.width and 0 <= there[1] < self.height
        free = inside and (self.content(*there) == EMPTY or (there == self.door and self.opened))
        return self.state_of(there if free else (x, y), key=self.has_key, opened=self.opened)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """Begin at the start; every level is the same."""
        super().reset(seed=seed)
        self.state, self.steps = self.state_of(self.start), 0
        return self.state, {}

    def step(self, action: Any) -> tuple[int, float, bool, bool, dict[str, Any]]:
        """Take a step."""
        there = int(self.moves[self.state, int(action)])
        self.steps += 1
        done = there < 0
        self.state = self.state if done else there
        return self.state, float(done), done, self.steps >= self.max_steps, {}
