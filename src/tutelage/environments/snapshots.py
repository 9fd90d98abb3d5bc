"""Snapshots of a teacher's episodes: kept in one file of arrays, put back into environments of the same kind and version."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from tutelage.environments.episodes import same
from tutelage.environments.simulators import How, State, fresh_world, how_saved, load_state, time_limit
from tutelage.errors import DataError, OptionError
from tutelage.files import write_bytes

_FORMAT = "tutelage snapshots 1"
_LIBRARIES = {"mujoco": "mujoco", "box2d": "Box2D", "ale": "ale-py"}
_ARRAYS = ("observations", "elapsed", "episode", "values", "episode_return", "episode_seed", "actions", "action_start")


@dataclass(frozen=True)
class Origin:
    """Which environment snapshots were taken in: they fit no other.

    Args:
        environment: its identity with its version, `Hopper-v5`; of an unregistered one its class.
        options: what it was made with, as JSON.
        spaces: its observation and action spaces.
        libraries: versions of Gymnasium and of the simulator.
        how: how states are put back (`tutelage.environments.simulators.how_saved`).
    """

    environment: str
    options: str
    spaces: str
    libraries: dict[str, str]
    how: How

    @classmethod
    def of(cls, env: Any, how: How | None = None) -> Origin:
        """Read it from an environment."""
        spec, inner = env.spec, type(env.unwrapped)
        module = f"{inner.__module__} {getattr(spec, 'entry_point', '')}".lower()
        names = {"gymnasium"} | {package for word, package in _LIBRARIES.items() if word in module}
        return cls(
            environment=f"{inner.__module__}.{inner.__qualname__}" if spec is None else spec.id,
            options=json.dumps({} if spec is None else spec.kwargs | {"render_mode": None}, sort_keys=True, default=str),
            spaces=f"{env.observation_space} and {env.action_space}",
            libraries={name: _version(name) for name in sorted(names)},
            how=how or how_saved(env),
        )

    def differences(self, other: Origin) -> list[str]:
        """Name what another origin has different, as `thing: ours, there theirs`."""
        pairs = {name: (getattr(self, name), getattr(other, name)) for name in ("environment", "options", "spaces", "how")}
        libraries = sorted(self.libraries.keys() | other.libraries.keys())
        pairs |= {name: (self.libraries.get(name, "none"), other.libraries.get(name, "none")) for name in libraries}
        return [f"{name}: {ours}, there {theirs}" for name, (ours, theirs) in pairs.items() if ours != theirs]


@dataclass(frozen=True)
class Snapshots:
    """States along a teacher's episodes: n snapshots of E episodes with T steps in all.

    Args:
        origin: where they were taken.
        observations: what the teacher saw, `[n, ...]`.
        elapsed: steps since its episode's reset, int64 `[n]`.
        episode: number of its episode, int64 `[n]`.
        values: the teacher's critic there, float64 `[n]`.
        episode_return: the teacher's undiscounted return, float64 `[E]`.
        episode_seed: seed of each episode's reset, int64 `[E]`.
        actions: all that the teacher did, `[T, ...]`.
        action_start: where each episode's actions begin, int64 `[E + 1]`.
        states: simulator states, arrays `[n, ...]` by name; empty where episodes are replayed.
    """

    origin: Origin
    observations: NDArray[Any]
    elapsed: NDArray[np.int64]
    episode: NDArray[np.int64]
    values: NDArray[np.float64]
    episode_return: NDArray[np.float64]
    episode_seed: NDArray[np.int64]
    actions: NDArray[Any]
    action_start: NDArray[np.int64]
    states: State = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.elapsed)

    def best(self, count: int) -> Snapshots:
        """Return those of the `count` episodes with the highest returns; earlier ones win ties.

        Args:
            count: episodes to keep; all where there are no more.
        """
        if count < 1:
            raise OptionError(f"Asked for the best {count} episodes; expected 1 or more.")
        chosen = np.argsort(-self.episode_return, kind="stable")[:count]
        kept = np.flatnonzero(np.isin(self.episode, chosen))
        picked = {name: getattr(self, name)[kept] for name in ("observations", "elapsed", "episode", "values")}
        return replace(self, **picked, states={name: value[kept] for name, value in self.states.items()})

    def actions_of(self, episode: int) -> NDArray[Any]:
        """Return what the teacher did in an episode, `[steps, ...]`."""
        found: NDArray[Any] = self.actions[self.action_start[episode] : self.action_start[episode + 1]]
        return found

    def check(self, env: Any, *, other_libraries: bool = False) -> None:
        """Refuse an environment that these snapshots were not taken in.

        Args:
            env: the environment.
            other_libraries: accept other versions of Gymnasium and of the simulator: states fit, but steps from them may differ a little.

        Raises:
            DataError: if it has another identity, version, options, spaces or simulator; it is not touched.
        """
        there = Origin.of(env, self.origin.how if self.origin.how == "replay" else None)
        if other_libraries:
            there = replace(there, libraries=self.origin.libraries)
        wrong = self.origin.differences(there)
        if wrong:
            raise DataError(
                f"The snapshots were taken in another environment ({'; '.join(wrong)}). Record them again in this one"
                + ("." if other_libraries else ", or accept other library versions with other_libraries=True if nothing else differs.")
            )

    def put(self, env: Any, index: int) -> Any:
        """Bring an environment to a snapshot.

        Its step counter goes on from the snapshot's. Its random numbers are left alone, except where the episode is replayed, which begins
        with the episode's own seed.

        Args:
            env: environment of the same kind after its first `reset` (`check` says whether it is).
            index: number of the snapshot.

        Returns:
            The observation there, a copy.

        Raises:
            DataError: if a replayed episode ends elsewhere.
        """
        if self.origin.how == "replay":
            self._replay(env, index)
        else:
            load_state(env, {name: value[index] for name, value in self.states.items()}, self.origin.how)
        limit = time_limit(env)
        if limit is not None:
            limit._elapsed_steps = int(self.elapsed[index])
        found = self.observations[index]
        return found.copy() if isinstance(found, np.ndarray) else found

    def _replay(self, env: Any, index: int) -> None:
        episode = int(self.episode[index])
        fresh_world(env)
        observation, _ = env.reset(seed=int(self.episode_seed[episode]))
        for action in self.actions_of(episode)[: self.elapsed[index]]:
            observation = env.step(action)[0]
        if not same(observation, self.observations[index]):
            raise DataError(
                f"Episode {episode} does not replay: after {self.elapsed[index]} of the teacher's actions {env} is elsewhere than it was. "
                "It draws random numbers from elsewhere than self.np_random, or it has changed: give it save_state() and load_state(state)."
            )

    def save(self, path: str | Path) -> None:
        """Write them to one safetensors file, whole or not at all.

        Args:
            path: the file.
        """
        arrays = {name: np.ascontiguousarray(getattr(self, name)) for name in _ARRAYS}
        arrays |= {f"state.{name}": np.ascontiguousarray(value) for name, value in self.states.items()}
        write_bytes(path, save(arrays, {"format": _FORMAT, "origin": json.dumps(vars(self.origin))}))

    @classmethod
    def load(cls, path: str | Path) -> Snapshots:
        """Read what `save` wrote.

        Args:
            path: the file.

        Raises:
            DataError: if it is missing, damaged or something else.
        """
        try:
            with safe_open(str(path), "numpy") as file:
                told = file.metadata() or {}
                if told.get("format") != _FORMAT:
                    raise DataError(f"{path} holds no snapshots (its format is {told.get('format')!r}, expected {_FORMAT!r}).")
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                origin = Origin(**json.loads(told["origin"]))
        except (OSError, SafetensorError, ValueError, TypeError, KeyError) as error:
            raise DataError(f"Cannot read the snapshots {path}: {error}. Record them again.") from error
        states = {name.removeprefix("state."): arrays.pop(name) for name in list(arrays) if name.startswith("state.")}
        if arrays.keys() != set(_ARRAYS) or any(len(v) != len(arrays["elapsed"]) for v in [*states.values(), arrays["observations"]]):
            raise DataError(f"The snapshots {path} are damaged: it has the arrays {sorted(arrays)} of other lengths or names. Record anew.")
        return cls(origin=origin, states=states, **arrays)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"
