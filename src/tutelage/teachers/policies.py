"""Teachers that act: a policy with a critic, from Stable-Baselines3, from CleanRL's checkpoints, or from a rule and its own returns."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tutelage.errors import DataError, OptionError

Array = NDArray[Any]
Normalise = Callable[[Array], Array]


@dataclass(frozen=True)
class PolicyTeacher:
    """A finished policy and what it thinks of states.

    Args:
        act: from one observation to one action.
        value: from observations `[n, ...]` to values `[n]`.
    """

    act: Callable[[Any], Any]
    value: Callable[[Array], NDArray[np.float64]]


def sb3_teacher(model: Any, normalise: Normalise | None = None) -> PolicyTeacher:
    """Return a trained model of Stable-Baselines3 as a teacher.

    DDPG and TD3 act deterministically, others sample; values are `Q(s, pi(s))` by the first critic, or `V(s)` of on-policy models.

    Args:
        model: the model; it is only read.
        normalise: what its observations go through first, `vec_normalize.normalize_obs` for instance; statistics must be frozen.

    Raises:
        OptionError: for a model without a critic of states, DQN's for instance has `Q(s, a)` for all actions and is read by its maximum.
    """
    policy, off_policy = model.policy, hasattr(model, "critic")
    deterministic = type(model).__name__ in ("TD3", "DDPG")
    if not (off_policy or hasattr(policy, "predict_values") or hasattr(model, "q_net")):
        raise OptionError(f"{type(model).__name__} has no critic: expected DDPG, TD3, SAC, PPO, A2C or DQN of Stable-Baselines3.")
    seen = normalise or _same

    @torch.no_grad()
    def value(observations: Array) -> NDArray[np.float64]:
        policy.set_training_mode(False)
        tensor, _ = policy.obs_to_tensor(seen(observations))
        if off_policy:
            found = model.critic.q1_forward(tensor, model.actor(tensor))
        elif hasattr(policy, "predict_values"):
            found = policy.predict_values(tensor)
        else:
            found = model.q_net(tensor).max(1).values
        return np.asarray(found.cpu().numpy(), np.float64).reshape(-1)

    return PolicyTeacher(lambda observation: model.predict(seen(observation), deterministic=deterministic)[0], value)


def rule_teacher(act: Callable[[Any], Any], env: Any, *, episodes: int = 10, discount: float = 0.99, seed: int = 0) -> PolicyTeacher:
    """Return a rule as a teacher, with a critic fitted to its own discounted returns.

    Args:
        act: the rule, from one observation to one action.
        env: environment in which it plays for the fit; observations are vectors.
        episodes: episodes to play for the fit.
        discount: gamma of the returns.
        seed: seed of these episodes.
    """
    seen: list[Any] = []
    returns: list[float] = []
    for episode_seed in np.random.SeedSequence(seed).generate_state(episodes):
        observation, _ = env.reset(seed=int(episode_seed))
        rewards, over = [], False
        while not over:
            seen.append(np.array(observation))
            observation, reward, terminated, truncated, _ = env.step(act(observation))
            rewards.append(float(reward))
            over = bool(terminated or truncated)
        total, backwards = 0.0, []
        for reward in reversed(rewards):
            total = reward + discount * total
            backwards.append(total)
        returns += reversed(backwards)
    return PolicyTeacher(act, fit_value(np.stack(seen), np.array(returns)))


def fit_value(observations: Array, returns: Array, *, centres: int = 100, ridge: float = 1e-4) -> Callable[[Array], NDArray[np.float64]]:
    """Fit values to returns by ridge regression on Gaussian bumps around observations.

    Args:
        observations: `[n, d]`.
        returns: `[n]`.
        centres: bumps, at evenly spaced rows of `observations`, of width 1 in standard deviations.
        ridge: weight of the squared coefficients, per observation.

    Returns:
        A function from observations `[m, d]` to values `[m]`.
    """
    rows = np.asarray(observations, np.float64).reshape(len(observations), -1)
    mean, scale = rows.mean(0), rows.std(0) + 1e-8
    middle = ((rows - mean) / scale)[np.linspace(0, len(rows) - 1, min(centres, len(rows))).astype(int)]
    offset = float(np.mean(returns))

    def features(given: Array) -> NDArray[np.float64]:
        units = (np.asarray(given, np.float64).reshape(len(given), -1) - mean) / scale
        found: NDArray[np.float64] = np.exp(-0.5 * ((units[:, None] - middle) ** 2).sum(-1))
        return found

    design = features(rows)
    weights = np.linalg.solve(design.T @ design + ridge * len(rows) * np.eye(len(middle)), design.T @ (np.asarray(returns) - offset))
    return lambda given: features(given) @ weights + offset


def cleanrl_teacher(path: str | Path, algorithm: Literal["td3", "sac", "ppo"], *, normalise: Normalise | None = None) -> PolicyTeacher:
    """Read a checkpoint of CleanRL's continuous TD3, SAC or PPO as a teacher: its state dictionaries, nothing else.

    Args:
        path: what CleanRL saved: for TD3 and SAC `(actor, first critic, ...)`, for PPO the agent.
        algorithm: which of the three.
        normalise: what observations go through first; PPO's frozen statistics of observations belong here.

    Raises:
        DataError: if it is not such a checkpoint.
    """
    if algorithm not in ("td3", "sac", "ppo"):
        raise OptionError(f"algorithm is '{algorithm}'; expected 'td3', 'sac' or 'ppo'.")
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        parts: Sequence[dict[str, Tensor]] = (saved,) if isinstance(saved, dict) else saved
        pi, critic, noise = _cleanrl_networks(parts, algorithm)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise DataError(f"{path} is not a checkpoint of CleanRL's {algorithm}: {type(error).__name__}: {error}.") from error
    seen = normalise or _same

    @torch.no_grad()
    def act(observation: Array) -> Array:
        x = torch.as_tensor(seen(np.asarray(observation))[None], dtype=torch.float32)
        return np.asarray(noise(x)[0].numpy())

    @torch.no_grad()
    def value(observations: Array) -> NDArray[np.float64]:
        x = torch.as_tensor(seen(np.asarray(observations)), dtype=torch.float32)
        answer = critic(x) if algorithm == "ppo" else critic(torch.cat([x, pi(x)], 1))
        return np.asarray(answer.numpy(), np.float64).reshape(-1)

    return PolicyTeacher(act, value)


_Network = Callable[[Tensor], Tensor]


def _cleanrl_networks(parts: Sequence[dict[str, Tensor]], algorithm: str) -> tuple[_Network, _Network, _Network]:
    """Return the mean policy, the critic's network and the policy that acts."""
    if algorithm == "ppo":
        agent = parts[0]
        mean = _layers(agent, ("actor_mean.0", "actor_mean.2", "actor_mean.4"), nn.Tanh)
        std = agent["actor_logstd"].exp()
        return mean, _layers(agent, ("critic.0", "critic.2", "critic.4"), nn.Tanh), lambda x: torch.normal(mean(x), std.expand(len(x), -1))
    actor, scale, bias = parts[0], parts[0]["action_scale"], parts[0]["action_bias"]
    head = "fc_mu" if algorithm == "td3" else "fc_mean"
    raw = _layers(actor, ("fc1", "fc2", head), nn.ReLU)
    critic = _layers(parts[1], ("fc1", "fc2", "fc3"), nn.ReLU)
    if algorithm == "td3":
        return lambda x: torch.tanh(raw(x)) * scale + bias, critic, lambda x: torch.tanh(raw(x)) * scale + bias
    wide = _layers(actor, ("fc1", "fc2", "fc_logstd"), nn.ReLU)

    def sample(x: Tensor) -> Tensor:
        # CleanRL squeezes the logarithm of the deviation into [-5, 2].
        deviation = (-5 + 3.5 * (torch.tanh(wide(x)) + 1)).exp()
        return torch.tanh(torch.normal(raw(x), deviation)) * scale + bias

    # The paper's feature is Q(s, pi(s)) with the action that SAC's actor gives: a sample.
    return sample, critic, sample


def _layers(state: dict[str, Tensor], names: Sequence[str], activation: type[nn.Module]) -> nn.Sequential:
    """Build a perceptron from the weights of its layers."""
    found: list[nn.Module] = []
    for name in names:
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        layer = nn.Linear(weight.shape[1], weight.shape[0])
        layer.load_state_dict({"weight": weight, "bias": bias})
        found += [layer, activation()]
    return nn.Sequential(*found[:-1]).requires_grad_(False).eval()


def _same(observations: Array) -> Array:
    return observations
