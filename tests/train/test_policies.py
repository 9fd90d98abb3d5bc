from __future__ import annotations

import os
import signal

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.noise import OrnsteinUhlenbeckActionNoise
from stable_baselines3.common.vec_env import VecNormalize

from tutelage.environments import TaskBox
from tutelage.environments.cart_pole import BOX, TaskCartPole, make
from tutelage.errors import CheckpointError, OptionError, TrainingError
from tutelage.methods.control.alp_gmm import ALPGMM
from tutelage.teachers.curricula import Random
from tutelage.train.interrupt import Interrupted
from tutelage.train.policies import Watch, taught, train


def small():
    return {"policy_kwargs": {"net_arch": [16]}, "device": "cpu", "seed": 0}  # Stable-Baselines3 writes into policy_kwargs


class Slide(gymnasium.Env):
    """A point that is pushed; its friction is the task, its noise comes from np_random."""

    observation_space = gymnasium.spaces.Box(-10, 10, (2,))
    action_space = gymnasium.spaces.Box(-1, 1, (1,))

    def __init__(self, task, bad=None):
        self.friction, self.bad = float(task[0]), bad

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x, self.n = self.np_random.normal(size=2).astype(np.float32), 0
        return self.x.copy(), {}

    def step(self, action):
        self.n += 1
        if self.bad == "crash" and self.friction > 0.5 and self.n > 3:
            raise ValueError("wheels off")
        self.x[1] = (1 - self.friction) * self.x[1] + float(action[0]) * 0.1 + 0.01 * self.np_random.normal()
        self.x[0] = np.clip(self.x[0] + 0.1 * self.x[1], -10, 10)
        reward = float("nan") if self.bad == "nan" and self.friction > 0.5 else -float(self.x[0] ** 2)
        return self.x.copy(), reward, bool(self.np_random.random() < 0.02), self.n >= 40, {}


FRICTION = TaskBox((0.0,), (1.0,), ("friction",))


def slides(seed=3, bad=None, **options):
    teacher = ALPGMM(FRICTION, fit_rate=10, components=(2, 3), seed=seed)
    return taught(lambda task: Slide(task, bad), teacher, seed=seed, **options)


def poles(**options):
    return taught(make, ALPGMM(BOX, fit_rate=10, components=(2, 3), value_range=(0, 500)), seed=5, **options)


STUDENTS = {
    "ppo": lambda: PPO("MlpPolicy", poles(envs=2), n_steps=32, batch_size=32, n_epochs=2, **small()),
    "ppo-sde-normalised": lambda: PPO("MlpPolicy", VecNormalize(slides(envs=2)), n_steps=32, batch_size=32, use_sde=True, **small()),
    "a2c": lambda: A2C("MlpPolicy", poles(envs=2), **small()),
    "dqn": lambda: DQN("MlpPolicy", poles(), buffer_size=300, learning_starts=50, batch_size=16, target_update_interval=40, **small()),
    "sac": lambda: SAC("MlpPolicy", slides(), buffer_size=300, learning_starts=50, batch_size=16, **small()),
    "sac-sde": lambda: SAC(
        "MlpPolicy", slides(), learning_starts=50, batch_size=16, buffer_size=900, use_sde=True, train_freq=8, **small()
    ),
    "td3": lambda: TD3(
        "MlpPolicy",
        slides(envs=2),
        buffer_size=1000,
        learning_starts=50,
        batch_size=16,
        action_noise=OrnsteinUhlenbeckActionNoise(np.zeros(1), 0.1 * np.ones(1)),
        **small(),
    ),
}


class Killed(Exception):
    pass


class KillAt(BaseCallback):
    def __init__(self, step):
        super().__init__()
        self.step = step

    def _on_step(self):
        if self.num_timesteps >= self.step:
            raise Killed
        return True


def weights(student):
    return {name: value.clone() for name, value in student.policy.state_dict().items()}


@pytest.mark.parametrize("name", STUDENTS)
def test_a_killed_training_ends_bit_identical(name, tmp_path):
    whole = STUDENTS[name]()
    watch = Watch(lambda student: {"return": float(np.mean([e["r"] for e in student.ep_info_buffer] or [0]))}, 150)
    rows = train(whole, 600, directory=tmp_path / "whole", every=100, watch=watch)
    broken = STUDENTS[name]()
    with pytest.raises(Killed):
        train(broken, 600, directory=tmp_path / "broken", every=100, watch=watch, callbacks=[KillAt(370)])
    again = STUDENTS[name]()
    torch.manual_seed(99)
    np.random.seed(99)
    resumed = train(again, 600, directory=tmp_path / "broken", every=100, watch=watch, resume=True)
    for key, value in weights(whole).items():
        assert torch.equal(value, again.policy.state_dict()[key]), key
    ours, theirs = (s.env.venv if isinstance(s.env, VecNormalize) else s.env for s in (whole, again))
    assert len(ours.record) > 10
    np.testing.assert_array_equal(ours.record.tasks, theirs.record.tasks)
    np.testing.assert_array_equal(ours.record.values, theirs.record.values)
    np.testing.assert_array_equal(ours.record.steps, theirs.record.steps)
    assert ours.teacher.mixture is not None
    assert rows == resumed
    assert rows[-1]["step"] >= 600


def test_sigterm_leaves_a_checkpoint_from_which_it_goes_on(tmp_path):
    class Ask(BaseCallback):
        def _on_step(self):
            if self.num_timesteps == 170:
                os.kill(os.getpid(), signal.SIGTERM)
            return True

    whole = STUDENTS["a2c"]()
    train(whole, 400)
    with pytest.raises(Interrupted, match="resume goes on"):
        train(STUDENTS["a2c"](), 400, directory=tmp_path, callbacks=[Ask()])
    again = STUDENTS["a2c"]()
    train(again, 400, directory=tmp_path, resume=True)
    assert all(torch.equal(v, again.policy.state_dict()[k]) for k, v in weights(whole).items())


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(tmp_path):
    whole = STUDENTS["sac"]()
    train(whole, 300, directory=tmp_path, every=100)
    newest = sorted(tmp_path.glob("step-*"))[-1] / "state.safetensors"
    newest.write_bytes(newest.read_bytes()[:-7])
    again = STUDENTS["sac"]()
    with pytest.warns(UserWarning, match=r"truncated or altered.*one before"):
        train(again, 300, directory=tmp_path, every=100, resume=True)
    assert all(torch.equal(v, again.policy.state_dict()[k]) for k, v in weights(whole).items())


def test_keeping_checkpoints_changes_nothing(tmp_path):
    plain = STUDENTS["sac"]()
    plain.learn(300)
    kept = STUDENTS["sac"]()
    train(kept, 300, directory=tmp_path, every=50, watch=Watch(lambda s: {"x": float(np.random.random())}, 70))
    for key, value in weights(plain).items():
        assert torch.equal(value, kept.policy.state_dict()[key])


def test_a_finished_training_is_not_repeated(tmp_path):
    first = STUDENTS["a2c"]()
    train(first, 100, directory=tmp_path)
    second = STUDENTS["a2c"]()
    train(second, 100, directory=tmp_path, resume=True)
    assert second.num_timesteps == first.num_timesteps
    assert all(torch.equal(v, second.policy.state_dict()[k]) for k, v in weights(first).items())
    with pytest.raises(OptionError, match="resume=True"):
        train(STUDENTS["a2c"](), 100, directory=tmp_path)


def test_checkpoints_hold_no_pickle_and_fit_one_kind_of_student(tmp_path):
    train(STUDENTS["a2c"](), 100, directory=tmp_path)
    names = {p.suffix for p in tmp_path.rglob("*") if p.is_file()}
    assert names == {".json", ".safetensors"}
    with pytest.raises(CheckpointError, match="PPO"):
        train(STUDENTS["ppo"](), 100, directory=tmp_path, resume=True)


def test_the_teacher_learns_an_episode_before_it_names_the_next_task():
    order = []

    class Told(Random):
        def sample(self):
            order.append("sample")
            return super().sample()

        def learn(self, task, value):
            order.append("update")

    envs = taught(Slide, Told(FRICTION), seed=0)
    envs.reset()
    for _ in range(200):
        envs.step(np.zeros((1, 1), np.float32))
    assert order[:5] == ["sample", "update", "sample", "update", "sample"]


def test_values_are_the_returns_of_the_tasks_they_name():
    envs = taught(Slide, Random(FRICTION, seed=1), envs=3, seed=2)
    envs.reset()
    sums, seen = np.zeros(3), []
    for _ in range(150):
        before = [task.copy() for task in envs.tasks]
        _, rewards, dones, infos = envs.step(np.zeros((3, 1), np.float32))
        sums += rewards
        for i in np.flatnonzero(dones):
            seen.append((before[i][0], sums[i]))
            np.testing.assert_array_equal(infos[i]["task"], before[i])
            sums[i] = 0
    np.testing.assert_allclose(np.column_stack([envs.record.tasks[:, 0], envs.record.values]), seen)
    assert len(seen) > 5


def test_processes_give_the_same_curriculum_and_resume(tmp_path):
    def build(subprocess):
        return PPO("MlpPolicy", poles(envs=2, subprocess=subprocess), n_steps=32, batch_size=32, n_epochs=2, **small())

    here = build(False)
    train(here, 256)
    there = build(True)
    try:
        with pytest.raises(Killed):
            train(there, 256, directory=tmp_path, every=64, callbacks=[KillAt(150)])
        again = build(True)
        train(again, 256, directory=tmp_path, every=64, resume=True)
        np.testing.assert_array_equal(here.env.record.tasks, again.env.record.tasks)
        assert all(torch.equal(v, again.policy.state_dict()[k]) for k, v in weights(here).items())
    finally:
        there.env.close()
        again.env.close()


@pytest.mark.parametrize("bad", ["crash", "nan"])
def test_a_failing_environment_is_named_or_skipped(bad):
    with pytest.raises(TrainingError, match=r"friction=0\.[5-9].*(wheels off|nan)"):
        PPO("MlpPolicy", slides(bad=bad), n_steps=32, batch_size=32, **small()).learn(2000)
    envs = slides(bad=bad, on_failure="skip")
    PPO("MlpPolicy", envs, n_steps=32, batch_size=32, **small()).learn(2000)
    assert len(envs.record.failures) > 5
    assert all(f.task[0] > 0.5 for f in envs.record.failures)
    assert (envs.record.tasks <= 0.5).all()
    assert np.isfinite(envs.record.values).all()
    assert envs.teacher.episodes == len(envs.record)


def test_a_factory_that_fails_for_every_task_stops_all_the_same():
    calls = []

    def factory(task):
        calls.append(1)
        if len(calls) > 1:
            raise RuntimeError("no such level")
        return Slide(task)

    envs = taught(factory, Random(FRICTION), on_failure="skip")
    with pytest.raises(TrainingError, match="100 tasks in a row"):
        envs.reset()


def test_a_process_that_dies_is_explained():
    class Dies(TaskCartPole):
        def step(self, action):
            import os

            os._exit(1)

    envs = taught(Dies, Random(BOX), subprocess=True)
    envs.reset()
    with pytest.raises(TrainingError, match=r"process of an environment died.*length="):
        envs.step(np.zeros(1, int))
