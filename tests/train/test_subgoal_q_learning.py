from __future__ import annotations

import numpy as np
import pytest

from tutelage.environments.rooms import TwoRooms
from tutelage.environments.subgoals import SubgoalTracker
from tutelage.errors import OptionError
from tutelage.teachers.subgoals import Noise, Noisy, oracle
from tutelage.train.subgoal_q_learning import Crowd, Pupil, choose, learn


@pytest.mark.parametrize("teacher", [oracle, Noisy(oracle, Noise(0.5, 2, 2), "relative")])
def test_a_crowd_does_what_the_wrapper_does(teacher):
    given = []

    def shared(env, level, generator):
        given.append(teacher(env, level, generator))
        return given[-1]

    crowd = Crowd([Pupil((0,), shared, alpha=0.3)], [(0,)])
    env = SubgoalTracker(TwoRooms(), lambda *_: given[-1], alpha=0.3, decay=False, kind="relative")
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(40):
        env.reset()
        keys = [2] * 6 + [3] * 4 + [4] + [0] * 2 + [1] * 5 + [5] + [1] * 7 + [4]
        for wanted in [*keys, *[None] * 300]:
            action = int(rng.integers(6)) if wanted is None or rng.random() < 0.03 else wanted
            seen, reward, terminated, truncated, info = env.step(action)
            rewards, done, cut = crowd.step(np.array([action]))
            assert (rewards[0], done[0], cut[0]) == (pytest.approx(reward), terminated, truncated)
            if not terminated:
                assert crowd.state[0] == seen["observation"]
            assert crowd.reached[0] == info["subgoals"]["reached"]
            if terminated or truncated:
                break
        hits += info["subgoals"]["reached"]
        crowd.begin(np.array([0]))
    assert hits > 20


def test_a_pupil_does_not_depend_on_its_company():
    pupils = [Pupil((0,), oracle), Pupil((1,)), Pupil((2,), Noisy(oracle, Noise(0.5, 2, 2), "relative"))]
    at, together = learn(pupils, 6000, every=3000, episodes=3)
    assert at.tolist() == [3000, 6000]
    for number, pupil in enumerate(pupils):
        assert np.array_equal(learn([pupil], 6000, every=3000, episodes=3)[1][0], together[number])


def test_an_unpaid_unseen_teacher_is_no_teacher():
    found = [learn([pupil], 3000, every=1000, episodes=2)[1] for pupil in (Pupil((5,)), Pupil((5,), oracle, alpha=0.0, shown=False))]
    assert np.array_equal(*found)


def test_choices_are_greedy_with_fair_ties():
    rng = np.random.default_rng(0)
    values = np.tile([[0.0, 1.0, 0.0, 1.0, 0.0, 0.0]], (4000, 1))
    chosen = choose(values, rng.random((4000, 8)), 0.0)
    assert set(chosen) == {1, 3}
    assert np.mean(chosen == 1) == pytest.approx(0.5, abs=0.03)
    assert set(choose(values, rng.random((4000, 8)), 1.0)) == set(range(6))


def test_nothing_to_learn_is_refused():
    with pytest.raises(OptionError, match="0 pupils"):
        learn([], 10)
