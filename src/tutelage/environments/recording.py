"""Recording a teacher's episodes as snapshots."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage.environments.simulators import How, fresh_world, save_state
from tutelage.environments.snapshots import Origin, Snapshots
from tutelage.environments.task_environment import finite
from tutelage.errors import OptionError, TrainingError


def record(
    env: Any,
    act: Callable[[Any], Any],
    value: Callable[[NDArray[Any]], NDArray[np.float64]],
    *,
    episodes: int = 10,
    every: int = 10,
    seed: int = 0,
    how: How | None = None,
) -> Snapshots:
    """Let a teacher play and keep where it was.

    Args:
        env: the original environment; observations must be arrays or integers.
        act: the teacher's policy, from one observation to one action.
        value: the teacher's critic, from observations `[n, ...]` to values `[n]`.
        episodes: episodes to play. Default 10.
        every: steps between snapshots; the state after the reset is kept too, the state in which an episode ends is not. Default 10.
        seed: seed of the episodes.
        how: how states are put back; by default as the environment allows.

    Returns:
        The snapshots, in the order of time.

    Raises:
        OptionError: for counts below 1, or observations that are dictionaries or tuples.
        TrainingError: if a reward, an observation or a value is not finite.

    Source: section 4 of arXiv 2403.00673.
    """
    if episodes < 1 or every < 1:
        raise OptionError(f"Asked for {episodes} episodes and a snapshot every {every} steps; expected 1 or more of both.")
    if isinstance(env.observation_space.sample(), dict | tuple):
        raise OptionError(f"Observations of {env} are {env.observation_space}; flatten them (gymnasium.wrappers.FlattenObservation) first.")
    origin = Origin.of(env, how)
    seeds = np.random.SeedSequence(seed).generate_state(episodes).astype(np.int64)
    observations: list[Any] = []
    elapsed, owner, returns, lengths, actions = [], [], [], [], []
    states: dict[str, list[NDArray[Any]]] = {}
    for number, episode_seed in enumerate(seeds):
        fresh_world(env)
        observation, _ = env.reset(seed=int(episode_seed))
        total, steps, over = 0.0, 0, False
        while not over:
            if steps % every == 0:
                observations.append(np.array(observation))
                elapsed.append(steps)
                owner.append(number)
                for name, part in ({} if origin.how == "replay" else save_state(env, origin.how)).items():
                    states.setdefault(name, []).append(part)
            actions.append(np.array(act(observation)))
            observation, reward, terminated, truncated, _ = env.step(actions[-1])
            total, steps, over = total + float(reward), steps + 1, bool(terminated or truncated)
            if not np.isfinite(total) or not finite(observation):
                raise TrainingError(
                    f"Step {steps} of the teacher's episode {number} in {origin.environment} is not finite: reward {reward}."
                )
        returns.append(total)
        lengths.append(steps)
    return _gathered(origin, observations, value, elapsed, owner, returns, seeds, actions, lengths, states)


def _gathered(
    origin: Origin,
    observations: Sequence[Any],
    value: Callable[[NDArray[Any]], NDArray[np.float64]],
    elapsed: Sequence[int],
    owner: Sequence[int],
    returns: Sequence[float],
    seeds: NDArray[np.int64],
    actions: Sequence[NDArray[Any]],
    lengths: Sequence[int],
    states: dict[str, list[NDArray[Any]]],
) -> Snapshots:
    seen = np.stack(observations)
    values = np.asarray(value(seen), np.float64).reshape(-1)
    if len(values) != len(seen) or not np.isfinite(values).all():
        raise TrainingError(
            f"The teacher's critic returned {len(values)} values, {int(np.isfinite(values).sum())} of them finite, for {len(seen)} "
            "observations; expected one finite number each."
        )
    return Snapshots(
        origin,
        seen,
        np.array(elapsed, np.int64),
        np.array(owner, np.int64),
        values,
        np.array(returns),
        seeds,
        np.stack(actions),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        {name: np.stack(parts) for name, parts in states.items()},
    )
