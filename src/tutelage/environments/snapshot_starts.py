"""Episodes that begin where a teacher has been, for the first steps of training only."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage.environments.simulators import time_limit
from tutelage.environments.snapshots import Snapshots
from tutelage.errors import CheckpointError, DataError, OptionError, optional

optional("gymnasium", "rl")
import gymnasium  # noqa: E402

_STREAM = 2403  # keeps the draws of snapshots apart from other uses of a seed


class SnapshotStarts(gymnasium.Wrapper):  # type: ignore[misc]
    """Begins episodes at snapshots during its first `steps` steps, and is the plain environment afterwards.

    Nothing else changes: observations, rewards and terminal states are the environment's. An episode that began at a snapshot is cut after
    `truncate_step` steps, whatever was left of the horizon, and at the last step of the phase; both are timeouts (`truncated`, never
    `terminated`), so that learners go on bootstrapping. Every reset after the phase is the environment's own. Wrap each of several
    parallel environments, with its share of the steps, below monitors and normalisation.

    Args:
        env: the original environment.
        snapshots: what a teacher left in an environment of the same kind.
        steps: steps of this environment in which episodes begin at snapshots; 0 changes nothing at all.
        weights: probability of each snapshot `[n]`; by default all the same.
        truncate_step: longest episode from a snapshot; `None` for the horizon of the environment.
        seed: seed of the draws until `reset(seed=...)` gives another.
        other_libraries: accept snapshots of other versions of Gymnasium and of the simulator.

    Raises:
        DataError: if the snapshots are of another environment or version, or if there are none.
        OptionError: for an option out of range.

    Source: section 4 of arXiv 2403.00673.
    """

    def __init__(
        self,
        env: Any,
        snapshots: Snapshots,
        *,
        steps: int,
        weights: NDArray[np.float64] | None = None,
        truncate_step: int | None = 100,
        seed: int = 0,
        other_libraries: bool = False,
    ) -> None:
        super().__init__(env)
        if steps < 0 or (truncate_step is not None and truncate_step < 1):
            raise OptionError(f"steps is {steps} and truncate_step is {truncate_step}; expected 0 or more, and 1 or more or None.")
        if not len(snapshots):
            raise DataError("There are no snapshots: record at least one episode of the teacher.")
        snapshots.check(env, other_libraries=other_libraries)
        share = np.full(len(snapshots), 1.0 / len(snapshots)) if weights is None else np.asarray(weights, np.float64)
        if share.shape != (len(snapshots),) or not np.isfinite(share).all() or (share < 0).any() or not share.sum() > 0:
            raise OptionError(f"weights has the shape {share.shape} and sums to {share.sum()}; expected {len(snapshots)} numbers >= 0.")
        limit = time_limit(env)
        self._limit, self._horizon = limit, None if limit is None else limit._max_episode_steps
        self.snapshots, self.weights, self.steps = snapshots, share / share.sum(), steps
        self.truncate_step = self._horizon if truncate_step is None else truncate_step
        self.steps_done = 0
        self._generator = np.random.default_rng([_STREAM, seed])
        self._reseed, self._from_snapshot, self._taken = False, False, 0
        self._begun = self._now()

    @property
    def active(self) -> bool:
        """Whether the next reset goes to a snapshot."""
        return self.steps_done < self.steps

    @property
    def remaining(self) -> int | None:
        """Steps left before this episode is cut for having begun at a snapshot; `None` if it did not, or has no limit."""
        if not self._from_snapshot or self.truncate_step is None:
            return None
        return self.truncate_step - self._taken

    def draw(self) -> int:
        """Draw a snapshot by its weight."""
        return int(self._generator.choice(len(self.weights), p=self.weights))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode, at a snapshot while the phase lasts.

        Args:
            seed: seed of the environment and of the draws of snapshots.
            options: for the environment; without meaning where the episode begins at a snapshot.

        Returns:
            Observation and info; `info["snapshot"]` is the snapshot's number.
        """
        self._begun = self._now()
        if seed is not None:
            self._generator = np.random.default_rng([_STREAM, seed])
        self._from_snapshot, self._taken = self.active, 0
        if not self.active:
            return self._plain(seed, options)
        # Whatever wrappers and environments count for themselves begins anew; then the state is moved.
        self.env.reset(seed=seed, options=options)
        index = self.draw()
        if self._limit is not None:
            self._limit._max_episode_steps = max(self._horizon or 0, int(self.snapshots.elapsed[index]) + (self.truncate_step or 0))
        # Replaying an episode seeds the environment; its own beginnings must not repeat that seed's.
        self._reseed = self.snapshots.origin.how == "replay"
        return self.snapshots.put(self.env, index), {"snapshot": index}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take a step; cut the episode where its time or the phase is over."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self.steps_done += 1
        if self._from_snapshot:
            self._taken += 1
            over = self.remaining is not None and self.remaining <= 0
            truncated = bool(truncated or ((over or not self.active) and not terminated))
        return observation, reward, terminated, truncated, info

    def _plain(self, seed: int | None, options: dict[str, Any] | None) -> tuple[Any, dict[str, Any]]:
        if self._limit is not None:
            self._limit._max_episode_steps = self._horizon
        if self._reseed and seed is None:
            seed = int(self._generator.integers(2**31))
        self._reseed = False
        result: tuple[Any, dict[str, Any]] = self.env.reset(seed=seed, options=options)
        return result

    def state_dict(self) -> dict[str, Any]:
        """Return what begins the present episode again, ready for JSON: steps and random state at its reset.

        Load it, call `reset` with the same seed as then, and take the same actions: that leads back to here, the phase included
        (`tutelage.environments.Episodes` around this wrapper does both).
        """
        return {"steps": self.steps, **self._begun}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to where the episode of `state_dict` was about to begin; the next call must be `reset`.

        Raises:
            CheckpointError: if it is of a phase of another length.
        """
        if state["steps"] != self.steps:
            raise CheckpointError(f"The checkpoint has {state['steps']} steps from snapshots, this environment {self.steps}. Use the same.")
        self.steps_done, self._reseed = int(state["steps_done"]), bool(state["reseed"])
        self._generator.bit_generator.state = state["random"]
        self._begun = self._now()

    def _now(self) -> dict[str, Any]:
        return {"steps_done": self.steps_done, "random": self._generator.bit_generator.state, "reseed": self._reseed}
