"""Everything that a student of Stable-Baselines3 and its environments are, as tensors, numbers and strings: no pickle."""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import numpy as np
import torch

from tutelage.errors import CheckpointError, optional
from tutelage.train.policies.packing import pack, unpack

optional("stable_baselines3", "rl")
from stable_baselines3.common import buffers  # noqa: E402
from stable_baselines3.common.running_mean_std import RunningMeanStd  # noqa: E402
from stable_baselines3.common.vec_env import VecEnvWrapper, VecNormalize  # noqa: E402

_COUNTERS = (
    "num_timesteps",
    "_n_updates",
    "_episode_num",
    "_total_timesteps",
    "_current_progress_remaining",
    "_n_calls",
    "exploration_rate",
)
_SEEN = ("_last_obs", "_last_episode_starts", "_last_original_obs")
_REPLAY = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")
_KNOWN = (buffers.ReplayBuffer, buffers.DictReplayBuffer, buffers.NStepReplayBuffer)
_NOISE = ("exploration_mat", "exploration_matrices")


def save_student(student: Any) -> dict[str, Any]:
    """Return the state of a student between two of its rollouts.

    Args:
        student: any algorithm of Stable-Baselines3 (PPO, A2C, SAC, TD3, DDPG, DQN), whose environments were made by
            `tutelage.train.policies.vectorise` or `taught`.

    Returns:
        Weights, optimizers, counters, replay buffer, last observations, environments (with their teacher) and random states: nested
        dictionaries and lists of tensors, numbers and strings.

    Raises:
        CheckpointError: if something in it cannot be taken up again exactly.
    """
    modules, variables = student._get_torch_save_params()
    del modules
    state = {
        "identity": _identity(student),
        "parameters": student.get_parameters(),
        "variables": {name: _reach(student, name).detach() for name in variables},
        "counters": {name: getattr(student, name) for name in _COUNTERS if hasattr(student, name)},
        "seen": {name: getattr(student, name, None) for name in _SEEN},
        "replay": _save_replay(student),
        "episodes": [list(student.ep_info_buffer or ()), list(student.ep_success_buffer or ())],
        "environments": save_environments(student.env),
        "noise": _save_noise(student),
        "random": save_random(student),
    }
    return dict(pack(state))


def load_student(student: Any, state: dict[str, Any]) -> None:
    """Bring a student that was built with the same options to a state that `save_student` returned.

    Args:
        student: the student, with environments of its own.
        state: the state.

    Raises:
        CheckpointError: if it is of another kind of student or environment; the student is then not touched.
    """
    if state["identity"] != _identity(student):
        raise CheckpointError(
            f"The checkpoint is of {state['identity']}; this student is {_identity(student)}. Build it with the same options."
        )
    student.set_parameters(state["parameters"], device=student.device)
    for name, value in state["variables"].items():
        _reach(student, name).data.copy_(value)
    for name, value in state["counters"].items():
        setattr(student, name, value)
    for name, value in state["seen"].items():
        setattr(student, name, unpack(value))
    _load_replay(student, state["replay"])
    size = student._stats_window_size
    student.ep_info_buffer, student.ep_success_buffer = (deque(unpack(kept), maxlen=size) for kept in state["episodes"])
    load_environments(student.env, unpack(state["environments"]))
    load_random(student, state)


def load_random(student: Any, state: dict[str, Any]) -> None:
    """Put back random states and exploration noise: once more at the first rollout, whose start may have drawn from them."""
    kept = unpack(state["random"])
    version, numbers, gauss = kept["python"]
    random.setstate((version, tuple(int(n) for n in numbers), gauss))
    np.random.set_state(kept["numpy"])
    student.action_space.np_random.bit_generator.state = kept["actions"]
    torch.set_rng_state(state["random"]["torch"])
    if state["random"]["cuda"]:
        torch.cuda.set_rng_state_all(state["random"]["cuda"])
    _load_noise(student, state["noise"])


def save_random(student: Any) -> dict[str, Any]:
    """Return the states of all generators that Stable-Baselines3 draws from."""
    version, numbers, gauss = random.getstate()
    return {
        "python": [version, np.array(numbers, dtype=np.int64), gauss],
        "numpy": np.random.get_state(legacy=False),
        "actions": student.action_space.np_random.bit_generator.state,
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if student.device.type == "cuda" else [],
    }


def save_environments(venv: Any) -> dict[str, Any]:
    """Return where vectorised environments are, and what their wrappers remember.

    Raises:
        CheckpointError: if the environments cannot say where they are.
    """
    wrappers: list[Any] = []
    while isinstance(venv, VecEnvWrapper):
        wrappers.append(_save_wrapper(venv))
        venv = venv.venv
    try:
        return {"wrappers": wrappers, "positions": venv.env_method("position")}
    except AttributeError as error:
        raise CheckpointError(
            "These environments cannot be taken up again: make them with tutelage.train.policies.vectorise or taught, whose episodes can "
            f"be replayed ({error})."
        ) from error


def load_environments(venv: Any, state: dict[str, Any]) -> None:
    """Bring vectorised environments to where others were (see `save_environments`)."""
    for kept in state["wrappers"]:
        if isinstance(venv, VecNormalize):
            for name, moments in kept["moments"].items():
                _load_moments(venv, name, moments)
            for name, value in kept["last"].items():
                setattr(venv, name, value)
        elif hasattr(type(venv), "load_state_dict"):
            venv.load_state_dict(kept)
        venv = venv.venv
    for i, position in enumerate(state["positions"]):
        venv.env_method("restore", position, indices=[i])


def _save_wrapper(venv: Any) -> dict[str, Any]:
    if isinstance(venv, VecNormalize):
        names = [name for name in ("obs_rms", "ret_rms") if hasattr(venv, name)]
        last = ("returns", "old_obs", "old_reward")
        return {"moments": {n: _moments(getattr(venv, n)) for n in names}, "last": {n: getattr(venv, n) for n in last if hasattr(venv, n)}}
    return dict(venv.state_dict()) if hasattr(type(venv), "state_dict") else {}


def _moments(kept: Any) -> dict[str, Any]:
    return {key: _moments(part) for key, part in kept.items()} if isinstance(kept, dict) else dict(vars(kept))


def _load_moments(venv: Any, name: str, state: dict[str, Any]) -> None:
    kept = getattr(venv, name)
    pairs = [(kept[key], state[key]) for key in kept] if isinstance(kept, dict) else [(kept, state)]
    for moments, values in pairs:
        assert isinstance(moments, RunningMeanStd)
        for field, value in values.items():
            setattr(moments, field, value)


def _identity(student: Any) -> dict[str, Any]:
    names = {"algorithm": type(student).__name__, "policy": type(student.policy).__name__, "environments": student.n_envs}
    return names | {"observations": str(student.observation_space), "actions": str(student.action_space)}


def _reach(student: Any, name: str) -> Any:
    found = student
    for part in name.split("."):
        found = getattr(found, part)
    return found


def _save_replay(student: Any) -> dict[str, Any] | None:
    buffer = getattr(student, "replay_buffer", None)
    if buffer is None:
        return None
    if type(buffer) not in _KNOWN:
        raise CheckpointError(
            f"A {type(buffer).__name__} cannot be kept in a checkpoint; expected {', '.join(k.__name__ for k in _KNOWN)}."
        )
    rows = buffer.buffer_size if buffer.full else min(buffer.pos + 1, buffer.buffer_size)
    arrays = {name: _first(getattr(buffer, name), rows) for name in _REPLAY if hasattr(buffer, name)}
    return {"arrays": arrays, "pos": buffer.pos, "full": buffer.full}


def _load_replay(student: Any, state: dict[str, Any] | None) -> None:
    if state is None:
        return
    buffer = student.replay_buffer
    for name, kept in unpack(state["arrays"]).items():
        own = getattr(buffer, name)
        for mine, theirs in [(own[key], kept[key]) for key in own] if isinstance(own, dict) else [(own, kept)]:
            if mine.shape[1:] != theirs.shape[1:] or len(mine) < len(theirs):
                raise CheckpointError(
                    f"The checkpoint's replay buffer holds {theirs.shape} {name}, this one {mine.shape}: same buffer_size?"
                )
            mine[: len(theirs)] = theirs
    buffer.pos, buffer.full = int(state["pos"]), bool(state["full"])


def _first(array: Any, rows: int) -> Any:
    return {key: part[:rows] for key, part in array.items()} if isinstance(array, dict) else array[:rows]


def _distributions(student: Any) -> dict[str, Any]:
    """Return the distributions of a student that explores by state-dependent noise."""
    owners = {"policy": student.policy, "actor": getattr(student, "actor", None)} if getattr(student, "use_sde", False) else {}
    return {name: owner.action_dist for name, owner in owners.items() if hasattr(owner, "action_dist")}


def _save_noise(student: Any) -> dict[str, Any]:
    matrices = {name: {n: getattr(d, n).detach() for n in _NOISE if hasattr(d, n)} for name, d in _distributions(student).items()}
    noise = getattr(student, "action_noise", None)
    return {"matrices": matrices, "previous": [n.noise_prev for n in getattr(noise, "noises", [noise]) if hasattr(n, "noise_prev")]}


def _load_noise(student: Any, state: dict[str, Any]) -> None:
    for name, distribution in _distributions(student).items():
        for n, value in state["matrices"][name].items():
            setattr(distribution, n, value.to(student.device))
    noise = getattr(student, "action_noise", None)
    able = [n for n in getattr(noise, "noises", [noise]) if hasattr(n, "noise_prev")]
    for one, previous in zip(able, unpack(state["previous"]), strict=True):
        one.noise_prev = previous
