from __future__ import annotations

import av
import gymnasium
import numpy as np
import pytest

from tutelage.environments.cart_pole import BOX, make
from tutelage.errors import OptionError, TrainingError
from tutelage.evaluate.policies import mastered, returns, video


def lean(observations):
    return (observations[:, 2] + observations[:, 3] > 0).astype(int)


def one_by_one(task, seed):
    env, total, over = make(task), 0.0, False
    observation, _ = env.reset(seed=seed)
    while not over:
        observation, reward, terminated, truncated, _ = env.step(int(lean(observation[None])[0]))
        total, over = total + reward, terminated or truncated
    return total


@pytest.mark.parametrize("batch", [1, 4, 50])
def test_returns_do_not_depend_on_the_batch(batch):
    rng = np.random.default_rng(0)
    tasks = np.array([BOX.uniform(rng) for _ in range(5)])
    expected = [[one_by_one(task, seed) for seed in (3, 4)] for task in tasks]
    np.testing.assert_array_equal(returns(lean, make, tasks, seeds=(3, 4), batch=batch), expected)


def test_mastered_is_a_share_of_tasks():
    assert mastered(np.array([[240.0, 250.0], [100.0, 400.0], [0.0, 10.0], [229.0, 231.0]])) == 50


def test_failures_are_named_or_left_out():
    class Bad(gymnasium.Wrapper):
        def step(self, action):
            observation, _, *rest = self.env.step(action)
            return observation, float("nan"), *rest

    def factory(task):
        return Bad(make(task)) if task[1] > 10 else make(task)

    tasks = np.array([[0.5, 5.0, 9.8], [0.5, 15.0, 9.8]])
    with pytest.raises(TrainingError, match=r"\[0.5, 15.0, 9.8\].*nan"):
        returns(lean, factory, tasks)
    found = returns(lean, factory, tasks, on_failure="skip")
    assert np.isnan(found[1, 0])
    assert found[0, 0] > 0


def test_endless_episodes_are_cut():
    class Endless(gymnasium.Wrapper):
        def step(self, action):
            observation, reward, *_ = self.env.step(action)
            return np.nan_to_num(observation), reward, False, False, {}

    env = gymnasium.make("Pendulum-v1").unwrapped
    assert returns(lambda o: np.zeros((len(o), 1)), lambda task: Endless(env), [0], limit=30).shape == (1, 1)


def test_a_video_shows_every_step(tmp_path):
    count = video(lean, make(BOX.centre, limit=25, render_mode="rgb_array"), tmp_path / "a.mp4", seed=1)
    with av.open(str(tmp_path / "a.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == count > 5
    assert frames[0].shape == (400, 600, 3)
    assert np.abs(frames[0].astype(int) - frames[-1]).max() > 100


def test_an_environment_without_pictures_is_refused_and_leaves_no_file(tmp_path):
    with pytest.raises(OptionError, match="render_mode"):
        video(lean, make(BOX.centre), tmp_path / "a.mp4")
    assert not list(tmp_path.iterdir())
