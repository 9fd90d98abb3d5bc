"""A serpentine maze with slippery floor and one reward at its end: hard to explore, small enough to solve exactly."""

from __future__ import annotations

from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tutelage.errors import OptionError, optional

optional("gymnasium", "rl")
import gymnasium  # noqa: E402

Array = NDArray[np.float64]
_MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))


class SerpentineMaze(gymnasium.Env):  # type: ignore[misc]
    """A square grid; every third row is a wall open at two columns, at the far side and the near side by turns.

    The agent starts in the first cell; reaching the last one gives reward 1 and ends the episode. Observations are cells, row by row;
    actions 0 to 3 go up, right, down, left; a move into a wall stays. The environment has no time limit of its own.

    Args:
        size: rows and columns. Default 10, with walls in rows 2, 5, 8.
        slip: probability with which an action is replaced by a random one. Default 0.1.

    Source: the small experiment of the sheet of snapshot RL.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}

    def __init__(self, size: int = 10, slip: float = 0.1) -> None:
        if size < 4 or not 0 <= slip <= 1:
            raise OptionError(f"The maze got size {size} and slip {slip}; expected a size of 4 or more and a slip in [0, 1].")
        self.size, self.slip = size, slip
        self.observation_space = gymnasium.spaces.Discrete(size * size)
        self.action_space = gymnasium.spaces.Discrete(4)
        self.cell = self.start

    @property
    def start(self) -> int:
        """The first cell."""
        return 0

    @property
    def goal(self) -> int:
        """The last cell, whose reward is 1."""
        return self.size * self.size - 1

    @cached_property
    def walls(self) -> NDArray[np.bool_]:
        """Which cells are walls `[size, size]`."""
        found = np.zeros((self.size, self.size), bool)
        for number, row in enumerate(range(2, self.size - 1, 3)):
            found[row] = True
            found[row, slice(-2, None) if number % 2 == 0 else slice(0, 2)] = False
        return found

    @cached_property
    def moves(self) -> NDArray[np.int64]:
        """The cell that each action leads to from each cell, without slipping, int64 `[cells, 4]`."""
        table = np.empty((self.size * self.size, 4), np.int64)
        for cell in range(len(table)):
            row, column = divmod(cell, self.size)
            for action, (down, right) in enumerate(_MOVES):
                there = row + down, column + right
                free = min(there) >= 0 and max(there) < self.size and not self.walls[there]
                table[cell, action] = there[0] * self.size + there[1] if free else cell
        return table

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """Go to the first cell."""
        super().reset(seed=seed)
        self.cell = self.start
        return self.cell, {}

    def step(self, action: Any) -> tuple[int, float, bool, bool, dict[str, Any]]:
        """Move, or slip."""
        if self.np_random.random() < self.slip:
            action = self.np_random.integers(4)
        self.cell = int(self.moves[self.cell, int(action)])
        done = self.cell == self.goal
        return self.cell, float(done), done, False, {}

    def save_state(self) -> dict[str, NDArray[Any]]:
        """Return the state: the cell."""
        return {"cell": np.array(self.cell, np.int64)}

    def load_state(self, state: dict[str, NDArray[Any]]) -> None:
        """Put the agent where `save_state` was called."""
        self.cell = int(state["cell"])

    def action_values(self, discount: float = 0.99, tolerance: float = 1e-12) -> Array:
        """Return the optimal action values `[cells, 4]`, by value iteration.

        Args:
            discount: of the next step's value.
            tolerance: largest change of a value at which iteration stops.
        """
        reward = (self.moves == self.goal).astype(np.float64)
        value, change = np.zeros(len(self.moves)), np.inf
        while change > tolerance:
            meant = reward + discount * np.where(self.moves == self.goal, 0.0, value[self.moves])
            action = (1 - self.slip) * meant + self.slip * meant.mean(1, keepdims=True)
            best = action.max(1)
            best[self.goal] = 0.0
            change, value = float(np.abs(best - value).max()), best
        result: Array = action
        return result

    def success(self, action_values: Array, horizon: int) -> Array:
        """Return the exact probability that greedy policies reach the goal from the start in time; equal values share evenly.

        Args:
            action_values: `[..., cells, 4]`.
            horizon: steps allowed.

        Returns:
            Probabilities `[...]`.
        """
        greedy = action_values >= action_values.max(-1, keepdims=True)
        policy = (1 - self.slip) * greedy / greedy.sum(-1, keepdims=True) + self.slip / 4
        reached = np.zeros(policy.shape[:-1])
        reached[..., self.goal] = 1.0
        for _ in range(horizon):
            reached = (policy * reached[..., self.moves]).sum(-1)
            reached[..., self.goal] = 1.0
        result: Array = reached[..., self.start]
        return result
