"""Students of the snapshot RL recipe: Stable-Baselines3's TD3, SAC and PPO, unchanged, and their teachers."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3 import PPO, SAC, TD3
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecNormalize

from tutelage.environments.snapshots import Snapshots
from tutelage.errors import OptionError
from tutelage.methods.control.snapshot_rl import SnapshotRL
from tutelage.recipes.control.snapshot_rl import PLAIN, Curves, StudentOptions
from tutelage.teachers.policies import PolicyTeacher, cleanrl_teacher, rule_teacher, sb3_teacher
from tutelage.train import Run

_EVALUATION = 10_000  # seeds of evaluation episodes, apart from those of training


class Evaluations(BaseCallback):  # type: ignore[misc]
    """Plays deterministic episodes in the original environment at equal distances; nothing of the training is touched.

    Args:
        options: how often, and how many episodes.
    """

    def __init__(self, options: StudentOptions) -> None:
        super().__init__()
        self.options, self.envs = options, [gymnasium.make(options.environment) for _ in range(options.episodes)]
        self.steps: list[float] = []
        self.returns: list[float] = []

    def _on_step(self) -> bool:
        if self.num_timesteps // self.options.every > len(self.steps):
            self.steps.append(float(self.options.every * (len(self.steps) + 1)))
            self.returns.append(self.measure())
        return True

    def measure(self) -> float:
        """Return the mean return of the student as it is."""
        normaliser, total = self.model.get_vec_normalize_env(), 0.0
        seen = [env.reset(seed=_EVALUATION + number)[0] for number, env in enumerate(self.envs)]
        going = list(range(len(self.envs)))
        while going:
            rows = np.stack([seen[number] for number in going])
            actions, _ = self.model.predict(rows if normaliser is None else normaliser.normalize_obs(rows), deterministic=True)
            for number, action in zip(list(going), actions, strict=True):
                seen[number], reward, terminated, truncated, _ = self.envs[number].step(action)
                total += float(reward)
                if terminated or truncated:
                    going.remove(number)
        return total / len(self.envs)


def teach(options: StudentOptions, seed: int, run: Run) -> Snapshots:
    """Return the snapshots of the teacher that the options name.

    Args:
        options: the simulator and its teacher.
        seed: seed of the teacher's episodes, and of its training.
        run: where a message goes; the snapshots are kept in its directory.
    """
    path = None if run.directory is None else run.directory / f"seed-{seed}" / "teacher.safetensors"
    if path is not None and path.exists():
        return Snapshots.load(path)
    if options.teacher == "trained":
        run.say(f"seed-{seed}/teacher ...")
    found = SnapshotRL(**asdict(options.options)).collect(gymnasium.make(options.environment), _teacher(options, seed), seed=seed)
    if path is not None:
        found.save(path)
    return found


def train(options: StudentOptions, arm: str, snapshots: Snapshots | None, seed: int) -> dict[str, Curves]:
    """Train a student and evaluate it along the way.

    Args:
        options: the student.
        arm: which variant.
        snapshots: what `teach` returned.
        seed: seed of the student.

    Returns:
        Under the arm's name `steps` and `return`.
    """
    if snapshots is None:
        raise OptionError(f"The arm '{arm}' has no snapshots: call teach first.")
    method = SnapshotRL(**asdict(options.options.arm(arm)))
    model = student(options, method, snapshots, seed)
    watch = Evaluations(options)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # The matrices are small: threads would cost more than they bring.
    try:
        model.learn(options.steps, callback=[watch, *method.callbacks()])
    finally:
        torch.set_num_threads(threads)
        model.get_env().close()
        for env in watch.envs:
            env.close()
    return {arm: {"steps": watch.steps, "return": watch.returns}}


def student(options: StudentOptions, method: SnapshotRL, snapshots: Snapshots, seed: int) -> Any:
    """Return an untrained student of Stable-Baselines3 in the method's environments.

    Args:
        options: the student.
        method: wraps the environments.
        snapshots: what a teacher left.
        seed: seed of the student and its environments.
    """

    def make() -> Any:
        return gymnasium.make(options.environment)

    kind = SubprocVecEnv if options.subprocesses else DummyVecEnv
    environments = kind([_monitored(f) for f in method.factories(make, snapshots, options.environments, seed=seed)])
    # The fused optimizer takes the same steps as the usual one in less time on a CPU.
    network: dict[str, Any] = {"net_arch": list(options.widths), "optimizer_kwargs": {"fused": True}}
    if options.algorithm == "ppo":
        network["activation_fn"] = torch.nn.Tanh
        normalised = VecNormalize(environments)
        return PPO(
            "MlpPolicy",
            normalised,
            learning_rate=lambda left: 3e-4 * left,
            n_steps=max(min(2048, options.steps) // options.environments, 2),
            policy_kwargs=network | {"optimizer_kwargs": {"fused": True, "eps": 1e-5}},
            seed=seed,
            device="cpu",
        )
    shared = {
        "policy_kwargs": network,
        "batch_size": options.batch,
        "buffer_size": min(options.steps, 1_000_000),
        "learning_starts": options.warmup,
        "train_freq": max(options.block // options.environments, 1),
        "gradient_steps": max(options.block // options.per_update, 1),
        "seed": seed,
        "device": "cpu",
    }
    if options.algorithm == "sac":
        return SAC("MlpPolicy", environments, **shared)
    size = environments.action_space.shape
    return TD3("MlpPolicy", environments, learning_rate=3e-4, action_noise=NormalActionNoise(np.zeros(size), np.full(size, 0.1)), **shared)


def _monitored(factory: Any) -> Any:
    return lambda: Monitor(factory())


def _pump(observation: Any) -> Any:
    """Push the car the way that it moves."""
    return np.array([1.0 if observation[1] >= 0 else -1.0], np.float32)


def _teacher(options: StudentOptions, seed: int) -> PolicyTeacher:
    if options.teacher == "rule":
        if options.environment != "MountainCarContinuous-v0":
            raise OptionError(
                f"teacher is 'rule', which knows MountainCarContinuous-v0 alone, and environment is '{options.environment}': "
                "take teacher=trained, or the path of a CleanRL checkpoint."
            )
        return rule_teacher(_pump, gymnasium.make(options.environment), seed=seed)
    if options.teacher == "trained":
        return _trained(options, seed)
    if not Path(options.teacher).is_file():
        raise OptionError(f"teacher is '{options.teacher}'; expected 'rule', 'trained', or the path of a CleanRL checkpoint.")
    return cleanrl_teacher(options.teacher, options.algorithm)


def _trained(options: StudentOptions, seed: int) -> PolicyTeacher:
    """Train a plain student as the teacher, with a seed that no student has."""
    env = gymnasium.make(options.environment)
    zeros = PolicyTeacher(lambda _: env.action_space.sample(), lambda seen: np.zeros(len(seen)))
    method = SnapshotRL(**asdict(options.options.arm(PLAIN)))
    nothing = SnapshotRL(num_ep=1).collect(env, zeros)
    model = student(options, method, nothing, 1_000_000 + seed)
    model.learn(options.teacher_steps)
    normaliser = model.get_vec_normalize_env()
    return sb3_teacher(model, None if normaliser is None else normaliser.normalize_obs)
