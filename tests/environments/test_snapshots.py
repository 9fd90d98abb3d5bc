import json

import numpy as np
import pytest

from tutelage.environments.mazes import SerpentineMaze
from tutelage.environments.recording import record
from tutelage.environments.snapshots import Origin, Snapshots
from tutelage.errors import DataError, OptionError, TrainingError

gymnasium = pytest.importorskip("gymnasium")


def make(name="Hopper-v5", **options):
    return gymnasium.make(name, **options)


def rollout(env, episodes=3, every=4, how=None, seed=0):
    """Record a teacher that acts at random but for sure."""
    env.action_space.seed(seed)
    return record(
        env,
        lambda _: env.action_space.sample(),
        lambda seen: seen.reshape(len(seen), -1)[:, 0],
        episodes=episodes,
        every=every,
        seed=seed,
        how=how,
    )


def observations_after(env, snapshots, index):
    """Put a snapshot back and follow the teacher from there."""
    env.reset(seed=77)
    seen = [snapshots.put(env, index)]
    for action in snapshots.actions_of(int(snapshots.episode[index]))[snapshots.elapsed[index] :]:
        seen.append(env.step(action)[0])
    return seen


@pytest.mark.parametrize(
    ("name", "how"),
    [("Hopper-v5", None), ("Hopper-v5", "replay"), ("CartPole-v1", None), ("LunarLander-v3", None), ("BipedalWalker-v3", None)],
)
def test_the_teachers_actions_lead_to_what_the_teacher_saw(name, how):
    limit = {"max_episode_steps": 150}
    snapshots = rollout(make(name, **limit), how=how)
    expected = "replay" if how or "Lander" in name or "Bipedal" in name else ("mujoco" if "Hopper" in name else "attributes")
    assert snapshots.origin.how == expected
    assert (len(snapshots.states) == 0) == (expected == "replay")
    other, checked = make(name, **limit), 0
    for index in range(0, len(snapshots), 3):
        seen = observations_after(other, snapshots, index)
        later = np.flatnonzero((snapshots.episode == snapshots.episode[index]) & (snapshots.elapsed >= snapshots.elapsed[index]))
        for place in later:
            found = seen[snapshots.elapsed[place] - snapshots.elapsed[index]]
            assert found.tobytes() == snapshots.observations[place].tobytes()
            checked += 1
    assert checked > 10


def test_every_few_steps_from_the_reset_to_the_end():
    env = gymnasium.wrappers.TimeLimit(SerpentineMaze(), 23)
    snapshots = rollout(env, episodes=2, every=5)
    assert snapshots.elapsed.tolist() == [0, 5, 10, 15, 20] * 2
    assert snapshots.episode.tolist() == [0] * 5 + [1] * 5
    assert snapshots.observations[0] == snapshots.observations[5] == 0
    assert len(snapshots.actions) == 46
    assert len(snapshots.actions_of(1)) == 23
    assert np.array_equal(snapshots.states["cell"], snapshots.observations)
    assert np.array_equal(snapshots.values, snapshots.observations.astype(float))


def test_the_step_counter_goes_on_from_the_snapshot():
    env = make(max_episode_steps=60)
    snapshots = rollout(env)
    index = int(snapshots.elapsed.argmax())
    env.reset(seed=0)
    snapshots.put(env, index)
    assert env._elapsed_steps == snapshots.elapsed[index] > 0


def test_the_best_episodes_are_kept():
    snapshots = rollout(make(), episodes=5)
    best = snapshots.best(2)
    kept = set(np.argsort(-snapshots.episode_return)[:2].tolist())
    assert set(best.episode.tolist()) == kept
    assert len(best.states["qpos"]) == len(best) == np.isin(snapshots.episode, list(kept)).sum()
    assert len(snapshots.best(50)) == len(snapshots)
    with pytest.raises(OptionError, match="best 0"):
        snapshots.best(0)


def test_files_come_back_the_same(tmp_path):
    snapshots = rollout(make())
    snapshots.save(tmp_path / "teacher.safetensors")
    back = Snapshots.load(tmp_path / "teacher.safetensors")
    assert back.origin == snapshots.origin
    for name in ("observations", "elapsed", "episode", "values", "episode_return", "episode_seed", "actions", "action_start"):
        assert getattr(back, name).tobytes() == getattr(snapshots, name).tobytes()
    assert back.states.keys() == snapshots.states.keys() >= {"qpos", "qvel", "time"}
    assert all(np.array_equal(back.states[name], snapshots.states[name]) for name in back.states)
    assert observations_after(make(), back, 2)[3].tobytes() == observations_after(make(), snapshots, 2)[3].tobytes()


def test_damaged_and_foreign_files_are_refused(tmp_path):
    from safetensors.numpy import save_file

    path = tmp_path / "teacher.safetensors"
    with pytest.raises(DataError, match="Cannot read"):
        Snapshots.load(path)
    rollout(make()).save(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="Cannot read"):
        Snapshots.load(path)
    save_file({"a": np.zeros(3)}, path)
    with pytest.raises(DataError, match="holds no snapshots"):
        Snapshots.load(path)
    origin = json.dumps(vars(Origin.of(make())))
    save_file({"elapsed": np.zeros(3)}, path, {"format": "tutelage snapshots 1", "origin": origin})
    with pytest.raises(DataError, match=r"damaged|Cannot read"):
        Snapshots.load(path)


def test_another_environment_or_version_is_refused():
    snapshots = rollout(make())
    snapshots.check(make())
    snapshots.check(make(render_mode="rgb_array"))
    with pytest.raises(DataError, match="environment: Hopper-v5, there Walker2d-v5"):
        snapshots.check(make("Walker2d-v5"))
    with pytest.raises(DataError, match=r"options: .*healthy_reward"):
        snapshots.check(make(healthy_reward=2.0))
    from dataclasses import replace

    older = replace(snapshots, origin=replace(snapshots.origin, environment="Hopper-v4"))
    with pytest.raises(DataError, match="environment: Hopper-v4, there Hopper-v5"):
        older.check(make())
    libraries = snapshots.origin.libraries | {"mujoco": "2.1.0"}
    other = replace(snapshots, origin=replace(snapshots.origin, libraries=libraries))
    with pytest.raises(DataError, match=r"mujoco: 2.1.0, there 3.*other_libraries=True"):
        other.check(make())
    other.check(make(), other_libraries=True)
    with pytest.raises(DataError, match="Walker2d"):
        other.check(make("Walker2d-v5"), other_libraries=True)


class Drifting(SerpentineMaze):
    """Draws from elsewhere."""

    chance = np.random.default_rng(0)

    def step(self, action):
        return super().step(int(self.chance.integers(4)))


def test_an_episode_that_does_not_replay_is_noticed():
    env = gymnasium.wrappers.TimeLimit(Drifting(), 60)
    snapshots = rollout(env, how="replay", every=20)
    last = int(snapshots.elapsed.argmax())
    with pytest.raises(DataError, match="does not replay"):
        snapshots.put(env, last)


def test_bad_teachers_and_environments_are_refused():
    env = gymnasium.wrappers.TimeLimit(SerpentineMaze(), 10)
    with pytest.raises(OptionError, match="0 episodes"):
        record(env, lambda _: 0, lambda seen: seen, episodes=0)
    with pytest.raises(TrainingError, match="critic returned 10 values, 0 of them finite"):
        record(env, lambda _: 0, lambda seen: np.full(len(seen), np.nan))
    with pytest.raises(TrainingError, match="critic returned 1 values"):
        record(env, lambda _: 0, lambda seen: np.zeros(1))
    broken = gymnasium.wrappers.TransformReward(env, lambda reward: float("nan"))
    with pytest.raises(TrainingError, match="not finite"):
        record(broken, lambda _: 0, lambda seen: seen)
