"""Episodes that can be taken up again: an environment's state as the seed, the options and the actions that led to it."""

from __future__ import annotations

from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from tutelage.environments.simulators import fresh_world
from tutelage.environments.task_environment import blank
from tutelage.errors import CheckpointError, optional

optional("gymnasium", "rl")
import gymnasium  # noqa: E402


class Position(TypedDict):
    """Where an environment is: enough to bring another copy of it to the same state."""

    base: int
    number: int
    options: dict[str, Any] | None
    actions: NDArray[Any]
    over: bool
    observation: Any


class Episodes(gymnasium.Wrapper):  # type: ignore[misc]
    """Makes every episode a function of (seed, number of the episode, options, actions), so that it can be replayed.

    Each episode resets the environment with a seed of its own, drawn from `seed` and the episode's number. An environment whose randomness
    comes from that seed alone is brought back bit for bit by replaying the actions: simulators need not be saved.

    Args:
        env: the environment.
        seed: seed of all episodes; `reset(seed=...)` replaces it and counts episodes from 0 again.
        hold: let `reset()` without options wait: it returns the last observation, and `begin(options)` begins the episode. A teacher that
            chooses the next task can then learn the outcome of this one first, though vectorised environments reset at once.
    """

    def __init__(self, env: Any, seed: int = 0, *, hold: bool = False) -> None:
        super().__init__(env)
        self.hold = hold
        self._base, self._number, self._over = int(seed), -1, True
        self._options: dict[str, Any] | None = None
        self._actions: list[Any] = []
        self._last: Any = blank(env.observation_space)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin the next episode, or with `hold` and without options wait for `begin`."""
        if seed is not None:
            self._base, self._number = int(seed), -1
        if self.hold and options is None:
            self._over = True
            return self._last, {}
        return self.begin(options)

    def begin(self, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin the next episode.

        Args:
            options: what `reset` of the environment is told, `{"task": vector}` for instance.

        Returns:
            Observation and info.
        """
        self._number += 1
        self._options, self._actions, self._over = options, [], False
        fresh_world(self.env)
        self._last, info = self.env.reset(seed=self.episode_seed, options=options)
        return self._last, info

    @property
    def episode_seed(self) -> int:
        """The seed of the present episode."""
        return int(np.random.SeedSequence([self._base, self._number]).generate_state(1)[0])

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take a step and remember the action."""
        self._actions.append(np.array(action))
        self._last, reward, terminated, truncated, info = self.env.step(action)
        self._over = bool(terminated or truncated)
        return self._last, reward, terminated, truncated, info

    def position(self) -> Position:
        """Return where this environment is."""
        return Position(
            base=self._base,
            number=self._number,
            options=self._options,
            actions=np.stack(self._actions) if self._actions else np.empty(0),
            over=self._over,
            observation=self._last,
        )

    def restore(self, position: Position) -> Any:
        """Go where another copy of this environment was, by replaying its episode.

        Args:
            position: what `position` returned there.

        Returns:
            The observation there.

        Raises:
            CheckpointError: if the replay ends elsewhere: the environment has changed or is not a function of its seed.
        """
        self._base, self._number = int(position["base"]), int(position["number"]) - 1
        if position["number"] < 0:
            self._number, self._over = -1, True
            return self._last
        self.begin(position["options"])
        for action in position["actions"]:
            self.step(action)
        if not same(self._last, position["observation"]):
            raise CheckpointError(
                f"Episode {position['number']} of {self.env} does not replay: after {len(position['actions'])} actions its observation is "
                "another. Either the environment (or its library) has another version than at the checkpoint, or it draws random numbers "
                "from elsewhere than self.np_random."
            )
        self._over = bool(position["over"])
        return self._last


def same(one: Any, other: Any) -> bool:
    """Return whether two observations are equal, bit for bit."""
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return bool(np.array_equal(np.asarray(one), np.asarray(other)))
