from __future__ import annotations

import gymnasium
import minigrid  # noqa: F401
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.environments.cells import content, describe, position
from tutelage.environments.rooms import TwoRooms
from tutelage.environments.subgoals import Subgoal
from tutelage.errors import OptionError
from tutelage.teachers.subgoals import Extra, Near, Noise, Noisy, noise_of, oracle, ring
from tutelage.teachers.subgoals.noise import room_of

WORDS = {
    "MultiRoom-N2-S4-v0": ["door", "goal"],
    "MultiRoom-N4-S5-v1": ["door", "door", "door", "goal"],
    "DoorKey-6x6-v0": ["key", "door", "goal"],
    "KeyCorridorS3R1-v0": ["key", "door", "ball"],
    "KeyCorridorS3R3-v0": ["key", "door", "ball"],
    "KeyCorridorS6R3-v0": ["key", "door", "ball"],
    "ObstructedMaze-1Dl-v0": ["key", "door", "ball"],
    "ObstructedMaze-1Dlh-v0": ["box", "key", "door", "ball"],
    "ObstructedMaze-1Dlhb-v0": ["ball", "box", "key", "door", "ball"],
}


def level(name, seed=0):
    env = gymnasium.make(f"MiniGrid-{name}", disable_env_checker=True)
    env.reset(seed=seed)
    return env


@pytest.mark.parametrize("name", WORDS)
def test_the_oracle_names_what_the_task_needs(name):
    env = level(name)
    for seed in range(10):
        env.reset(seed=seed)
        found = oracle(env, seed, None)
        assert [s.text.rpartition("_")[2] for s in found] == WORDS[name]
        for s in found:
            hidden = name.startswith("ObstructedMaze-1Dlh") and s.text == "key"
            assert describe(content(env, s.x, s.y)) == ("box" if hidden else s.text)
        if name.startswith(("KeyCorridor", "Obstructed")):
            assert tuple(env.unwrapped.obj.cur_pos) == found[-1][:2]


def test_an_unknown_environment_is_refused():
    with pytest.raises(OptionError, match="No oracle knows CartPoleEnv"):
        oracle(gymnasium.make("CartPole-v1"))


@given(x=st.integers(-5, 5), y=st.integers(-5, 5), distance=st.integers(1, 12), seed=st.integers(0, 99))
def test_a_ring_has_exactly_its_distance(x, y, distance, seed):
    found = ring((x, y), distance, np.random.default_rng(seed))
    assert abs(found[0] - x) + abs(found[1] - y) == distance


def test_a_ring_is_uniform_over_its_cells():
    rng = np.random.default_rng(0)
    drawn = [ring((0, 0), 3, rng) for _ in range(6000)]
    counts = {cell: drawn.count(cell) for cell in set(drawn)}
    assert len(counts) == 12
    assert min(counts.values()) > 400


@pytest.mark.parametrize("kind", ["relative", "representation", "language"])
@pytest.mark.parametrize("name", ["MultiRoom-N2-S4-v0", "KeyCorridorS3R3-v0", "ObstructedMaze-1Dlhb-v0"])
def test_accuracy_one_keeps_all_and_zero_changes_all(name, kind):
    env = level(name)
    for seed in range(10):
        env.reset(seed=seed)
        rng, right = np.random.default_rng(seed), oracle(env)
        assert Noisy(oracle, Noise(1.0, 3, 2), kind)(env, seed, rng) == right
        wrong = Noisy(oracle, Noise(0.0, 3, 2), kind)(env, seed, rng)
        assert all(a[:2] != b[:2] for a, b in zip(right, wrong, strict=True))
        if kind != "relative":
            outside = room_of(env, right[-1][:2])
            assert all(describe(content(env, s.x, s.y)) == s.text and s[:2] not in outside for s in wrong)
        if kind != "relative" and name.startswith("Key"):
            assert all(s.text.endswith("door") for s in wrong)


def test_noise_has_its_accuracy_and_distance():
    rng, env = np.random.default_rng(0), TwoRooms()
    right = oracle(env)
    drawn = [Noisy(oracle, Noise(0.7, 5, 0), "relative")(env, 0, rng) for _ in range(1000)]
    far = [abs(a.x - b.x) + abs(a.y - b.y) for one in drawn for a, b in zip(one, right, strict=True)]
    assert set(far) == {0, 5}
    assert np.mean(np.array(far) == 0) == pytest.approx(0.7, abs=0.03)


def test_measured_noise_of_language_models():
    assert noise_of("llama", "MiniGrid-KeyCorridorS3R3-v0", "relative") == Noise(0.974, 0.18, 1.20)
    assert noise_of("deepseek", "MultiRoom-N2-S4", "representation") == noise_of("deepseek", "MultiRoom-N2-S4", "language")
    assert noise_of("qwen", "ObstructedMaze-1Dlhb", "language").accuracy == 0.482
    with pytest.raises(OptionError, match="task 'DoorKey-6x6'"):
        noise_of("llama", "DoorKey-6x6", "relative")
    with pytest.raises(OptionError, match="Did you mean 'llama'"):
        noise_of("lama", "MultiRoom-N2-S4", "relative")
    with pytest.raises(OptionError, match="accuracy"):
        Noise(1.5)


def test_extra_subgoals_come_before_the_last():
    rng, env = np.random.default_rng(0), TwoRooms()
    right = oracle(env)
    for _ in range(20):
        found = Extra(oracle, 5)(env, 0, rng)
        assert len(found) == 8
        assert found[-1] == right[-1]
        assert [s for s in found if s in right[:2]][:1] == right[:1] or right[0] in found


def test_a_near_subgoal_is_near_and_open():
    env, rng = level("KeyCorridorS3R3-v0"), np.random.default_rng(0)
    x, y = position(env)
    for _ in range(20):
        (s,) = Near(2)(env, 0, rng)
        assert 0 < abs(s.x - x) + abs(s.y - y) <= 2
        assert content(env, s.x, s.y)[0] != 2
    assert isinstance(Near()(env, 0, rng)[0], Subgoal)
