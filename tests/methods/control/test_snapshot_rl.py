from functools import partial

import numpy as np
import pytest
import torch

from tutelage.errors import DataError, OptionError
from tutelage.methods.control.snapshot_rl import SnapshotRL
from tutelage.teachers.policies import PolicyTeacher

gymnasium = pytest.importorskip("gymnasium")
sb3 = pytest.importorskip("stable_baselines3")
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv  # noqa: E402


def small():
    return {"policy_kwargs": {"net_arch": [16]}, "learning_starts": 20, "batch_size": 16, "device": "cpu", "seed": 0}


def make():
    return gymnasium.make("InvertedPendulum-v5")


@pytest.fixture(scope="module")
def teacher():
    def act(observation):
        return np.array([0.4 * observation[0] + 8.0 * observation[1] + 0.6 * observation[2] + 1.2 * observation[3]], np.float32).clip(-3, 3)

    return PolicyTeacher(act, lambda seen: -np.abs(seen[:, 1]))


@pytest.fixture(scope="module")
def snapshots(teacher):
    return SnapshotRL(num_ep=4, best_num_ep=3).collect(make(), teacher)


def test_the_best_episodes_of_the_teacher_are_collected(teacher, snapshots):
    every = SnapshotRL(num_ep=4).collect(make(), teacher)
    assert set(snapshots.episode.tolist()) == set(np.argsort(-every.episode_return, kind="stable")[:3].tolist())
    assert (snapshots.elapsed % 10 == 0).all()
    assert np.array_equal(snapshots.values, -np.abs(snapshots.observations[:, 1]))


def test_every_class_of_status_is_drawn_as_often(snapshots):
    method = SnapshotRL(n_clusters=4)
    classes, weights = method.classes(snapshots), method.weights(snapshots)
    assert sorted(np.unique(classes)) == [0, 1, 2, 3]
    assert [weights[classes == number].sum() for number in range(4)] == pytest.approx([0.25] * 4)
    assert len(set(np.bincount(classes))) > 1


def test_one_class_is_a_uniform_draw(snapshots):
    assert SnapshotRL(n_clusters=1).weights(snapshots) == pytest.approx(np.full(len(snapshots), 1 / len(snapshots)))


def test_published_options():
    assert [SnapshotRL.published(name).n_clusters for name in ("td3", "sac", "ppo")] == [6, 4, 6]
    with pytest.raises(OptionError, match="td3, sac, ppo"):
        SnapshotRL.published("dqn")


def test_parallel_environments_share_the_phase(snapshots):
    method = SnapshotRL(snapshot_timesteps=103)
    steps = [method.environment(make(), snapshots, share=(number, 4)).steps for number in range(4)]
    assert steps == [26, 26, 26, 25]


@pytest.mark.parametrize("kind", [DummyVecEnv, SubprocVecEnv])
def test_the_phase_ends_in_vectorised_environments(kind, snapshots):
    method = SnapshotRL(snapshot_timesteps=60, truncate_step=20)
    # A worker cannot import this file: what it gets must come from a package.
    vector = kind(method.factories(partial(gymnasium.make, "InvertedPendulum-v5"), snapshots, 2))
    try:
        vector.seed(0)
        vector.reset()
        ends = []
        for _ in range(31):
            _, _, dones, infos = vector.step(np.zeros((2, 1), np.float32))
            ends += [bool(info["TimeLimit.truncated"]) for done, info in zip(dones, infos, strict=True) if done]
        assert vector.get_attr("active") == [False, False]
        assert any(ends)
        # Plain episodes begin at rest near the origin, the teacher's states do not all.
        assert all("snapshot" not in info for info in vector.reset_infos)
    finally:
        vector.close()


def test_a_cut_by_truncation_is_stored_as_a_timeout_with_the_true_last_observation(snapshots):
    method = SnapshotRL(snapshot_timesteps=200, truncate_step=5)
    env = method.environment(make(), snapshots)
    seen = []

    class Spy(gymnasium.Wrapper):
        def step(self, action):
            found = self.env.step(action)
            seen.append((np.array(found[0]), found[2], found[3]))
            return found

    model = sb3.TD3("MlpPolicy", Spy(env), buffer_size=100, **small())
    model.learn(60)
    buffer, cut = model.replay_buffer, 0
    for place, (observation, terminated, truncated) in enumerate(seen):
        bootstrap = 1 - buffer.dones[place, 0] * (1 - buffer.timeouts[place, 0])
        assert bootstrap == (0.0 if terminated else 1.0)
        assert np.allclose(buffer.next_observations[place, 0], observation)
        cut += truncated
    assert cut >= 5


def test_no_phase_is_the_plain_algorithm_bit_for_bit(snapshots):
    def weights(env):
        model = sb3.TD3("MlpPolicy", env, buffer_size=200, **small())
        model.learn(80)
        return torch.cat([p.flatten() for p in model.policy.parameters()])

    torch.set_num_threads(1)
    plain = weights(make())
    assert torch.equal(weights(SnapshotRL(snapshot_timesteps=0).environment(make(), snapshots)), plain)
    assert not torch.equal(weights(SnapshotRL(snapshot_timesteps=80).environment(make(), snapshots)), plain)


@pytest.mark.parametrize("algorithm", ["TD3", "SAC", "PPO"])
def test_students_need_no_change(algorithm, snapshots):
    method = SnapshotRL(snapshot_timesteps=40, truncate_step=10)
    options = {"n_steps": 32, "batch_size": 16, "device": "cpu"} if algorithm == "PPO" else {"buffer_size": 100, **small()}
    vector = DummyVecEnv(method.factories(make, snapshots, 2))
    model = getattr(sb3, algorithm)("MlpPolicy", vector, **options)
    model.learn(64, callback=method.callbacks())
    assert vector.get_attr("steps_done") == [32, 32]
    assert vector.get_attr("active") == [False, False]


def test_the_replay_buffer_can_be_dropped_after_the_phase(snapshots):
    method = SnapshotRL(snapshot_timesteps=50, drop_buffer=True)
    model = sb3.TD3("MlpPolicy", method.environment(make(), snapshots), buffer_size=200, train_freq=1, **small())
    model.learn(80, callback=method.callbacks())
    assert model.replay_buffer.pos == 30
    kept = sb3.TD3("MlpPolicy", SnapshotRL(snapshot_timesteps=50).environment(make(), snapshots), buffer_size=200, train_freq=1, **small())
    kept.learn(80)
    assert kept.replay_buffer.pos == 80
    assert SnapshotRL().callbacks() == []


def test_bad_options_and_other_environments_are_refused(snapshots):
    for options in ({"n_clusters": 0}, {"save_frequency": 0}, {"num_ep": 0}, {"truncate_step": 0}, {"snapshot_timesteps": -1}):
        with pytest.raises(OptionError, match=next(iter(options))):
            SnapshotRL(**options)
    with pytest.raises(DataError, match="InvertedPendulum-v5, there Hopper-v5"):
        SnapshotRL().environment(gymnasium.make("Hopper-v5"), snapshots)
