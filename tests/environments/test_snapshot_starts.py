import json

import numpy as np
import pytest

from tutelage.environments.episodes import Episodes
from tutelage.environments.mazes import SerpentineMaze
from tutelage.environments.recording import record
from tutelage.environments.snapshot_starts import SnapshotStarts
from tutelage.errors import CheckpointError, DataError, OptionError

gymnasium = pytest.importorskip("gymnasium")
HORIZON = 40


def maze(slip=0.1):
    return gymnasium.wrappers.TimeLimit(SerpentineMaze(slip=slip), HORIZON)


def taught(env, every=5, episodes=3, **options):
    env.action_space.seed(0)
    return record(env, lambda _: env.action_space.sample(), lambda seen: np.zeros(len(seen)), every=every, episodes=episodes, **options)


@pytest.fixture(scope="module")
def in_maze():
    return taught(maze())


@pytest.fixture(scope="module")
def hopping():
    return taught(gymnasium.make("Hopper-v5"))


def play(env, action=0):
    """Play one episode to its end and return its length and flags."""
    steps = 0
    while True:
        _, _, terminated, truncated, _ = env.step(action)
        steps += 1
        if terminated or truncated:
            return steps, terminated, truncated


def test_an_episode_lasts_as_long_as_told_whatever_is_left_of_the_horizon(in_maze):
    env = SnapshotStarts(maze(), in_maze, steps=10_000, truncate_step=25)
    late = 0
    for seed in range(30):
        _, info = env.reset(seed=seed)
        late += in_maze.elapsed[info["snapshot"]] > HORIZON - 25
        assert env.remaining == 25
        assert play(env) == (25, False, True)
    assert late > 3


def test_without_truncation_an_episode_lasts_the_horizon_from_its_snapshot_on(in_maze):
    env = SnapshotStarts(maze(), in_maze, steps=10_000, truncate_step=None)
    env.reset(seed=0)
    assert env.remaining == HORIZON
    assert play(env) == (HORIZON, False, True)


def test_a_terminal_state_stays_terminal(hopping):
    env = SnapshotStarts(gymnasium.make("Hopper-v5"), hopping, steps=5000, truncate_step=300)
    lengths = []
    for seed in range(5):
        env.reset(seed=seed)
        steps, terminated, truncated = play(env, np.ones(3, np.float32))
        assert terminated
        assert not truncated
        lengths.append(steps)
    assert max(lengths) < 300


def test_the_first_observation_and_what_follows_are_the_teachers(hopping):
    env = SnapshotStarts(gymnasium.make("Hopper-v5"), hopping, steps=5000, weights=(hopping.elapsed > 0).astype(float))
    for seed in range(4):
        observation, info = env.reset(seed=seed)
        index = info["snapshot"]
        assert observation.tobytes() == hopping.observations[index].tobytes()
        place = index + 1
        if place < len(hopping) and hopping.episode[place] == hopping.episode[index]:
            for action in hopping.actions_of(hopping.episode[index])[hopping.elapsed[index] : hopping.elapsed[place]]:
                observation = env.step(action)[0]
            assert observation.tobytes() == hopping.observations[place].tobytes()


def test_resets_from_one_snapshot_are_independent(hopping):
    env = SnapshotStarts(gymnasium.make("Hopper-v5"), hopping, steps=5000, weights=np.eye(len(hopping))[2])
    first, _ = env.reset(seed=0)
    kept = first.copy()
    first += 1.0
    one = [env.step(np.ones(3, np.float32))[0] for _ in range(5)]
    second, _ = env.reset()
    assert np.array_equal(second, kept)
    assert all(np.array_equal(a, env.step(np.ones(3, np.float32))[0]) for a in one)


def test_weights_are_the_probabilities_of_snapshots(in_maze):
    weights = np.zeros(len(in_maze))
    weights[0], weights[5] = 0.5, 0.5
    env = SnapshotStarts(maze(), in_maze, steps=10**6, weights=weights)
    env.reset(seed=0)
    drawn = np.bincount([env.draw() for _ in range(2000)], minlength=len(in_maze))
    assert drawn[0] + drawn[5] == 2000
    assert abs(drawn[0] - 1000) < 4 * np.sqrt(500)


def test_after_the_phase_every_episode_is_the_environments_own(in_maze):
    env = SnapshotStarts(maze(), in_maze, steps=60, truncate_step=25, weights=in_maze.elapsed > 0)
    env.reset(seed=0)
    assert [play(env) for _ in (0, 0) if env.reset()] == [(25, False, True)] * 2
    _, info = env.reset()
    assert "snapshot" in info
    # The phase's last step ends the episode: the swap of environments, as a timeout.
    assert play(env) == (10, False, True)
    assert env.steps_done == 60
    assert not env.active
    for _ in range(3):
        assert env.reset() == (0, {})
        assert env.remaining is None
        assert play(env) == (HORIZON, False, True)


def test_no_phase_is_the_plain_environment_bit_for_bit(hopping):
    def trace(env):
        env.action_space.seed(1)
        rows = [env.reset(seed=5)[0].tobytes()]
        for _ in range(150):
            observation, reward, terminated, truncated, _ = env.step(env.action_space.sample())
            rows.append((observation.tobytes(), float(reward), terminated, truncated))
            if terminated or truncated:
                rows.append(env.reset()[0].tobytes())
        return rows

    assert trace(SnapshotStarts(gymnasium.make("Hopper-v5"), hopping, steps=0)) == trace(gymnasium.make("Hopper-v5"))


def test_replayed_episodes_do_not_seed_what_comes_after():
    env = gymnasium.make("CartPole-v1")
    snapshots = taught(env, how="replay", episodes=1)
    wrapped = SnapshotStarts(gymnasium.make("CartPole-v1"), snapshots, steps=1)
    wrapped.reset(seed=0)
    wrapped.step(0)
    first, second = wrapped.reset()[0], wrapped.reset()[0]
    assert not np.array_equal(first, second)
    replayed = gymnasium.make("CartPole-v1")
    assert not np.array_equal(first, replayed.reset(seed=int(snapshots.episode_seed[0]))[0])


def test_equal_seeds_draw_equal_snapshots(in_maze):
    def drawn(seed):
        env = SnapshotStarts(maze(), in_maze, steps=10**6, seed=9)
        return [env.reset(seed=seed)[1]["snapshot"], *(env.reset()[1]["snapshot"] for _ in range(10))]

    assert drawn(1) == drawn(1) != drawn(2)


def test_the_phase_goes_on_from_a_checkpoint(in_maze):
    env = SnapshotStarts(maze(), in_maze, steps=60, truncate_step=25)
    env.reset(seed=3)
    play(env)
    began = env.reset()
    for _ in range(7):
        env.step(1)
    state = json.loads(json.dumps(env.state_dict()))
    other = SnapshotStarts(maze(), in_maze, steps=60, truncate_step=25)
    other.load_state_dict(state)
    assert other.steps_done == 25
    assert other.reset() == began
    for _ in range(7):
        other.step(1)
    assert other.steps_done == env.steps_done == 32
    assert [env.reset()[1] for _ in range(5)] == [other.reset()[1] for _ in range(5)]
    with pytest.raises(CheckpointError, match="60 steps from snapshots, this environment 70"):
        SnapshotStarts(maze(), in_maze, steps=70).load_state_dict(state)


def test_it_is_taken_up_inside_an_episode_by_replay(hopping):
    def build():
        inner = SnapshotStarts(gymnasium.make("Hopper-v5"), hopping, steps=40, truncate_step=12)
        return inner, Episodes(inner, seed=4)

    inner, env = build()
    env.action_space.seed(0)
    env.reset()
    for _ in range(31):
        if any(env.step(env.action_space.sample())[2:4]):
            env.reset()
    state, position = inner.state_dict(), env.position()
    resumed, other = build()
    resumed.load_state_dict(state)
    assert np.array_equal(other.restore(position), position["observation"])
    assert resumed.steps_done == inner.steps_done == 31
    for _ in range(40):
        action = env.action_space.sample()
        one, two = env.step(action), other.step(action)
        assert np.array_equal(one[0], two[0])
        assert one[1:4] == two[1:4]
        if one[2] or one[3]:
            assert np.array_equal(env.reset()[0], other.reset()[0])


def test_bad_input_is_refused(in_maze, hopping):
    with pytest.raises(DataError, match="another environment"):
        SnapshotStarts(gymnasium.make("Walker2d-v5"), hopping, steps=10)
    with pytest.raises(OptionError, match="steps is -1"):
        SnapshotStarts(maze(), in_maze, steps=-1)
    with pytest.raises(OptionError, match="truncate_step is 0"):
        SnapshotStarts(maze(), in_maze, steps=10, truncate_step=0)
    with pytest.raises(OptionError, match="weights has the shape"):
        SnapshotStarts(maze(), in_maze, steps=10, weights=np.ones(3))
    with pytest.raises(OptionError, match="weights has the shape"):
        SnapshotStarts(maze(), in_maze, steps=10, weights=np.zeros(len(in_maze)))
