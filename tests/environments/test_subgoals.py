from __future__ import annotations

import gymnasium
import minigrid  # noqa: F401
import numpy as np
import pytest

from tutelage.environments.cells import content, describe
from tutelage.environments.minigrid_view import fast_view, view
from tutelage.environments.rooms import PICKUP, TOGGLE, TwoRooms
from tutelage.environments.subgoals import Subgoal, SubgoalTracker, hashed
from tutelage.errors import OptionError, ShapeError, TrainingError
from tutelage.teachers.subgoals import oracle

DOWN, LEFT, RIGHT = 2, 3, 1
TO_KEY = [DOWN] * 6 + [LEFT] * 4
DOOR_KEY = "MiniGrid-DoorKey-6x6-v0"


def door_key(**options):
    return SubgoalTracker(gymnasium.make(DOOR_KEY, disable_env_checker=True), oracle, **options)


def rooms(*cells, **options):
    return SubgoalTracker(TwoRooms(), lambda *_: [Subgoal(*cell) for cell in cells], **options)


def play(env, actions):
    rewards = []
    for action in actions:
        seen, reward, _, _, info = env.step(action)
        rewards.append(reward)
    return seen, rewards, info


def test_without_bonus_and_subgoal_rewards_are_the_environments():
    plain = gymnasium.make(DOOR_KEY, disable_env_checker=True)
    wrapped = SubgoalTracker(gymnasium.make(DOOR_KEY, disable_env_checker=True), oracle, alpha=0.0, nosubgoal=True)
    assert list(wrapped.observation_space.spaces) == ["image"]
    rng = np.random.default_rng(0)
    for seed in range(5):
        one, other = plain.reset(seed=seed)[0], wrapped.reset(seed=seed)[0]
        over = False
        while not over:
            assert np.array_equal(one["image"].transpose(2, 0, 1), other["image"])
            action = int(rng.integers(7))
            one, reward, terminated, truncated, _ = plain.step(action)
            other, ours, *ends, _ = wrapped.step(action)
            assert (reward, [terminated, truncated]) == (ours, ends)
            over = terminated or truncated


def test_bonus_falls_with_the_steps_since_the_last_subgoal():
    class Hundred(TwoRooms):
        max_steps = 100

    env = SubgoalTracker(Hundred(), lambda *_: [Subgoal(6, 5), Subgoal(6, 7), Subgoal(0, 0)], alpha=0.2)
    env.reset(seed=0)
    _, rewards, _ = play(env, [TOGGLE] * 5 + [DOWN] * 5)
    assert rewards == [0.0] * 9 + [pytest.approx(0.18)]
    _, rewards, info = play(env, [DOWN, DOWN])
    assert rewards == [0.0, pytest.approx(0.2 * 0.98)]
    assert info["subgoals"] == {"reached": 2, "of": 2, "early": 0, "bonus": pytest.approx(0.18 + 0.196)}


def test_constant_bonus_and_no_reward():
    env = rooms((6, 3), (0, 0), decay=False)
    env.reset(seed=0)
    assert play(env, [DOWN] * 3)[1] == [0.0, 0.0, 0.2]
    env = rooms((6, 3), (0, 0), noreward=True)
    env.reset(seed=0)
    seen, rewards, info = play(env, [DOWN] * 3)
    assert rewards == [0.0] * 3
    assert info["subgoals"]["reached"] == 1
    assert "subgoal" in seen


def test_relative_goes_to_zero_and_representation_does_not_change_with_the_agent():
    env = rooms((7, 2), (6, 1), kind="relative")
    seen, _ = env.reset(seed=0)
    assert seen["subgoal"].tolist() == [1.0, 2.0]
    seen, _, _ = play(env, [DOWN])
    assert seen["subgoal"].tolist() == [1.0, 1.0]
    env = rooms((1, 6), (6, 1), kind="representation")
    seen, _ = env.reset(seed=0)
    before = seen["subgoal"].tolist()
    seen, _, _ = play(env, [DOWN, DOWN])
    assert seen["subgoal"].tolist() == before == [5.0, 4.0, 0.0]


def test_picking_up_and_toggling_count_though_the_agent_stands_beside():
    env = SubgoalTracker(TwoRooms(), oracle, kind="representation", alpha=1.0, decay=False)
    env.reset(seed=0)
    _, rewards, _ = play(env, [*TO_KEY, PICKUP])
    assert rewards == [0.0] * 10 + [1.0]
    assert env.unwrapped.agent_pos == (2, 6)
    seen, rewards, _ = play(env, [0] * 2 + [RIGHT] * 5 + [TOGGLE])
    assert rewards[-1] == 1.0
    assert env.unwrapped.opened
    assert seen["subgoal"].tolist() == [-1.0, -1.0, -1.0]


def test_later_subgoals_neither_pay_nor_advance():
    env = rooms((0, 0), (6, 1), (15, 4))
    env.reset(seed=0)
    _, rewards, info = play(env, [DOWN, DOWN])
    assert rewards == [0.0, 0.0]
    assert info["subgoals"] == {"reached": 0, "of": 2, "early": 1, "bonus": 0.0}


def test_the_last_subgoal_is_neither_shown_nor_paid():
    env = SubgoalTracker(TwoRooms(), oracle, kind="relative", alpha=0.2)
    rng = np.random.default_rng(0)
    for seed in range(3):
        env.reset(seed=seed)
        total, extrinsic, over = 0.0, 0.0, False
        while not over:
            seen, reward, terminated, truncated, info = env.step(int(rng.integers(6)))
            total, over = total + reward, terminated or truncated
            extrinsic += float(terminated)
            if info["subgoals"]["reached"] == 2:
                assert not seen["subgoal"].any()
        assert total - extrinsic <= 0.2 * 2
        assert info["episode"]["r"] == extrinsic
        assert info["is_success"] == terminated
    alone = rooms((6, 1))
    alone.reset(seed=0)
    assert play(alone, [DOWN])[1] == [0.0]


def test_language_shows_the_embedding_of_the_text():
    env = rooms((1, 6), (6, 1), kind="language")
    seen, _ = env.reset(seed=0)
    assert np.array_equal(seen["subgoal"], hashed("key"))
    assert np.linalg.norm(seen["subgoal"]) == pytest.approx(1)
    assert not np.allclose(hashed("key"), hashed("box"))
    with pytest.raises(ShapeError, match="embedding of 'key'"):
        rooms((1, 6), (6, 1), kind="language", embed=lambda _: np.zeros(3)).reset(seed=0)


def test_subgoals_out_of_the_grid_are_dropped_and_counted():
    env = rooms((-1, 3), (6, 1), (99, 99))
    _, info = env.reset(seed=0)
    assert info["subgoals"]["of"] == 1
    assert (env.counts.outside, env.counts.empty) == (1, 0)
    empty = rooms()
    seen, _ = empty.reset(seed=0)
    assert seen["subgoal"].tolist() == [-1.0] * 3
    assert (empty.counts.episodes, empty.counts.empty) == (1, 1)


@pytest.mark.parametrize("answer", [[("a", 1)], [(1, 2, "dragon")], [(1.5, 2)], [3], None])
def test_answers_that_are_no_subgoals_are_named(answer):
    env = SubgoalTracker(TwoRooms(), lambda *_: answer)
    with pytest.raises(TrainingError, match="answer for level 7"):
        env.reset(seed=7)


def test_levels_are_drawn_from_a_pool_and_repeat_with_the_seed():
    met = []
    env = SubgoalTracker(TwoRooms(), lambda _, level, __: met.append(level) or [], levels=5)
    for seed in [*range(40), 0]:
        env.reset(seed=seed)
    assert set(met) == set(range(5))
    assert met[0] == met[-1]


def test_pre_training_ends_at_the_subgoal_and_withholds_the_reward():
    env = rooms((6, 3), pretrain=True, alpha=0.2)
    env.reset(seed=0)
    env.step(DOWN)
    env.step(DOWN)
    _, reward, terminated, _, info = env.step(DOWN)
    assert (reward, terminated, info["is_success"]) == (pytest.approx(0.2 * (1 - 3 / 256)), True, True)


def test_options_out_of_range():
    with pytest.raises(OptionError, match="Did you mean 'relative'"):
        rooms(kind="relativ")
    with pytest.raises(OptionError, match="alpha is -1"):
        rooms(alpha=-1)
    with pytest.raises(OptionError, match="no width"):
        SubgoalTracker(gymnasium.make("CartPole-v1"), oracle)


def test_two_rooms_by_hand():
    env = TwoRooms()
    env.reset(seed=0)
    for action in [*TO_KEY, PICKUP, *[0] * 2, *[RIGHT] * 5, TOGGLE, *[RIGHT] * 7]:
        _, reward, done, _, _ = env.step(action)
        assert (reward, done) == (0.0, False)
    assert env.agent_pos == (14, 4)
    assert env.step(PICKUP)[1:3] == (1.0, True)
    assert env.content(8, 0) == (2, 5, 0)
    assert [describe(TwoRooms().content(*c)) for c in ((1, 6), (8, 4), (15, 4), (8, 0))] == ["key", "locked_door", "blue_ball", ""]


def test_two_rooms_are_cut_by_their_limit():
    env = TwoRooms()
    env.reset()
    assert [env.step(0)[3] for _ in range(256)] == [False] * 255 + [True]


@pytest.mark.parametrize("name", ["MultiRoom-N2-S4", "KeyCorridorS3R3", "DoorKey-6x6", "ObstructedMaze-1Dlhb"])
def test_the_fast_view_is_minigrids(name):
    env = gymnasium.make(f"MiniGrid-{name}-v0", disable_env_checker=True).unwrapped
    env.reset(seed=0)
    for action in np.random.default_rng(0).integers(0, 7, 600):
        seen, _, terminated, truncated, _ = env.step(int(action))
        assert np.array_equal(seen["image"], view(env))
        if terminated or truncated:
            env.reset()
    fast_view(env)
    assert np.array_equal(env.reset(seed=1)[0]["image"], view(env))
    env.see_through_walls = True
    assert view(env)[..., 0].min() > 0


def test_the_fast_view_is_for_minigrid_alone():
    with pytest.raises(OptionError, match="no environment of MiniGrid"):
        fast_view(TwoRooms())


def test_contents_are_minigrids():
    env = gymnasium.make(DOOR_KEY, disable_env_checker=True)
    env.reset(seed=0)
    assert content(env, 4, 4) == (8, 1, 0)
    assert content(env, 0, 0) == (2, 5, 0)
