"""The state of a simulator as arrays, taken and put back bit for bit."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tutelage.errors import DataError, OptionError, optional

optional("gymnasium", "rl")
import gymnasium  # noqa: E402

State = dict[str, NDArray[Any]]
"""Arrays by name; their shapes are those of the environment and never change."""

How = Literal["hooks", "mujoco", "attributes", "replay"]

_TRANSPARENT = ("TimeLimit", "OrderEnforcing", "PassiveEnvChecker", "Monitor", "RecordEpisodeStatistics")
_PARTS: tuple[str, ...] = (
    *("TIME", "QPOS", "QVEL", "ACT", "WARMSTART", "CTRL", "QFRC_APPLIED", "XFRC_APPLIED", "EQ_ACTIVE"),
    *("MOCAP_POS", "MOCAP_QUAT", "USERDATA", "PLUGIN"),
)
# A MuJoCo step leaves these as they were before its last integration: computing them anew from qpos would give later ones, and rewards that
# compare them with the next step's (Ant, Humanoid) would differ.
_DERIVED: tuple[str, ...] = (
    *("xpos", "xquat", "xmat", "xipos", "ximat", "geom_xpos", "geom_xmat", "site_xpos", "site_xmat", "subtree_com", "cinert", "cvel"),
    *("cacc", "cfrc_int", "cfrc_ext", "qacc", "qfrc_actuator", "qfrc_constraint", "ten_length", "ten_velocity", "sensordata"),
)
_NONE = -1


def how_saved(env: Any) -> How:
    """Return how the state of an environment can be put back.

    Args:
        env: Gymnasium environment, wrapped or not.

    Returns:
        `hooks`: it has `save_state() -> dict of arrays` and `load_state(dict)`; `mujoco`: MuJoCo's integration state and what the last step
        derived from it; `attributes`: Gymnasium's classic control and toy texts, whose state is an attribute; `replay`: everything else,
        Box2D for instance, whose contacts cannot be reached: its episode's seed and actions lead back. An environment inside wrappers with
        a memory of their own (stacked frames, say) is replayed too: a wrapper that may stay has no state beside its step counter.
    """
    while isinstance(env, gymnasium.Wrapper):
        if type(env).__name__ not in _TRANSPARENT:
            return "replay"
        env = env.env
    if hasattr(env, "save_state") and hasattr(env, "load_state"):
        return "hooks"
    if type(getattr(env, "data", None)).__name__ == "MjData":
        return "mujoco"
    known = type(env).__module__.startswith(("gymnasium.envs.classic_control", "gymnasium.envs.toy_text"))
    if known and type(env).__name__ != "BlackjackEnv":
        return "attributes"
    return "replay"


def save_state(env: Any, how: How | None = None) -> State:
    """Return the state of an environment as arrays.

    Args:
        env: Gymnasium environment after `reset`.
        how: as `how_saved` returns, the default; not `replay`.

    Raises:
        OptionError: for `replay`, whose state is not in the environment.
    """
    inner, how = env.unwrapped, how or how_saved(env)
    if how == "hooks":
        return {name: np.array(value) for name, value in inner.save_state().items()}
    if how == "mujoco":
        return _save_mujoco(inner)
    if how == "attributes":
        return _save_attributes(inner)
    raise OptionError(
        f"The state of {env} cannot be read out: give it the methods save_state() -> dict of arrays and load_state(dict), or record its "
        "episodes (tutelage.environments.record), which are then replayed."
    )


def load_state(env: Any, state: State, how: How | None = None) -> None:
    """Put a state back: the same actions lead to the same observations and rewards, bit for bit.

    The environment's random numbers are left as they are, and so are its wrappers.

    Args:
        env: Gymnasium environment after its first `reset`.
        state: what `save_state` returned in an environment of the same kind; it is copied.
        how: as for `save_state`.

    Raises:
        DataError: if the state is of another simulator or model.
        OptionError: for `replay`.
    """
    inner, how = env.unwrapped, how or how_saved(env)
    if how == "hooks":
        inner.load_state({name: np.array(value) for name, value in state.items()})
    elif how == "mujoco":
        _load_mujoco(inner, state)
    elif how == "attributes":
        _load_attributes(inner, state)
    else:
        raise OptionError(f"The state of {env} cannot be put back: record its episodes (tutelage.environments.record), which are replayed.")


def fresh_world(env: Any) -> None:
    """Give an environment of Box2D a new world, to be called before a `reset` whose episode is to be replayed.

    A world that has held bodies orders its contacts otherwise than a new one, and the last digits of its steps differ.

    Args:
        env: any environment; others than those with a `b2World` and Gymnasium's `_destroy()` are left alone.
    """
    inner = env.unwrapped
    if type(getattr(inner, "world", None)).__name__ == "b2World" and hasattr(inner, "_destroy"):
        gravity = inner.world.gravity
        inner._destroy()
        inner.world = optional("Box2D", "rl").b2World(gravity=gravity)


def time_limit(env: Any) -> Any | None:
    """Return the wrapper inside `env` that limits episodes, or `None`."""
    while isinstance(env, gymnasium.Wrapper):
        if isinstance(env, gymnasium.wrappers.TimeLimit):
            return env
        env = env.env
    return None


def _save_mujoco(env: Any) -> State:
    mujoco = optional("mujoco", "rl")
    state: State = {}
    for part in _PARTS:
        kind = getattr(mujoco.mjtState, f"mjSTATE_{part}", None)
        size = 0 if kind is None else mujoco.mj_stateSize(env.model, kind)
        if size:
            state[part.lower()] = np.empty(size)
            mujoco.mj_getState(env.model, env.data, state[part.lower()], kind)
    for name in _DERIVED:
        value = getattr(env.data, name)
        if value.size:
            state[f"derived.{name}"] = np.array(value)
    if isinstance(getattr(env, "goal", None), np.ndarray):
        state["goal"] = np.array(env.goal)
    return state


def _load_mujoco(env: Any, state: State) -> None:
    mujoco = optional("mujoco", "rl")
    kinds = {name: getattr(mujoco.mjtState, f"mjSTATE_{name.upper()}") for name in state if name.upper() in _PARTS}
    expected = {part.lower() for part in _PARTS if _size(mujoco, env.model, part)}
    sizes = {name: (state[name].size, mujoco.mj_stateSize(env.model, kind)) for name, kind in kinds.items()}
    wrong = [f"{name} has {got} numbers, the model {want}" for name, (got, want) in sizes.items() if got != want]
    wrong += [f"{name} is missing" for name in sorted(expected - kinds.keys())]
    if wrong:
        raise DataError(
            f"The saved state is not of this MuJoCo model: {'; '.join(wrong)}. Use it with the environment that it was taken in."
        )
    # The first pass makes contacts and all that follows from them agree with the state; it also moves the solver's starting point,
    # which the second puts back.
    for again in (True, False):
        for name, kind in kinds.items():
            mujoco.mj_setState(env.model, env.data, np.ascontiguousarray(state[name], np.float64), kind)
        if again:
            mujoco.mj_forward(env.model, env.data)
    for name, value in state.items():
        if name.startswith("derived."):
            getattr(env.data, name.removeprefix("derived."))[...] = value
    if "goal" in state:
        env.goal = np.array(state["goal"])


def _size(mujoco: Any, model: Any, part: str) -> int:
    kind = getattr(mujoco.mjtState, f"mjSTATE_{part}", None)
    return 0 if kind is None else int(mujoco.mj_stateSize(model, kind))


def _save_attributes(env: Any) -> State:
    found: State = {}
    if hasattr(env, "state") and env.state is not None:
        value = np.asarray(env.state)
        # Single precision states are computed in single precision: the width must come back with the numbers.
        found["state"], found["single"] = value.astype(np.float64), np.array(value.dtype == np.float32)
    if hasattr(env, "s"):
        found["s"] = np.array(env.s)
    if hasattr(env, "steps_beyond_terminated"):
        steps = env.steps_beyond_terminated
        found["steps_beyond_terminated"] = np.array(_NONE if steps is None else steps)
    if not found.keys() & {"state", "s"}:
        raise OptionError(f"{env} has no state yet: call reset() first.")
    return found


def _load_attributes(env: Any, state: State) -> None:
    has = {name for name in ("state", "s") if hasattr(env, name)}
    if has != state.keys() & {"state", "s"} or ("state" in has and np.shape(env.state) != state["state"].shape):
        shapes = {name: value.shape for name, value in state.items()}
        raise DataError(f"The saved state {shapes} is not of {env}. Use it with the environment that it was taken in, after its reset().")
    if "state" in state:
        env.state = state["state"].astype(np.float32 if state["single"] else np.float64)
    if "s" in state:
        env.s = int(state["s"])
    if "steps_beyond_terminated" in state:
        steps = int(state["steps_beyond_terminated"])
        env.steps_beyond_terminated = None if steps == _NONE else steps
