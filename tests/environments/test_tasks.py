from __future__ import annotations

import gymnasium
import numpy as np
import pytest

from tutelage.environments import Episodes, TaskBox, TaskEnvironment, ToySpace
from tutelage.environments.cart_pole import BOX, TaskCartPole, _balances, learnable, make
from tutelage.errors import CheckpointError, OptionError, ShapeError, TrainingError


@pytest.mark.parametrize(("low", "high"), [((0, 1), (1, 1)), ((0, 2), (1, 1)), ((0, 0), (1, np.inf)), ((0, np.nan), (1, 1))])
def test_a_side_without_width_is_named(low, high):
    with pytest.raises(OptionError, match="'spacing'"):
        TaskBox(low, high, ("height", "spacing"))


def test_boxes_need_a_parameter_and_matching_lengths():
    with pytest.raises(OptionError, match="2 upper bounds"):
        TaskBox((0,), (1, 1))
    with pytest.raises(OptionError, match="at least one"):
        TaskBox((), ())


def test_box_scales_clips_and_checks():
    box = TaskBox((0, -2), (4, 2))
    np.testing.assert_allclose(box.unit(np.array([[1.0, 0.0], [4.0, -2.0]])), [[0.25, 0.5], [1, 0]])
    np.testing.assert_allclose(box.clip(np.array([9.0, -9.0])), [4, -2])
    np.testing.assert_allclose(box.centre, [2, 0])
    with pytest.raises(OptionError, match="'p1' is 3"):
        box.check([1, 3])
    with pytest.raises(OptionError, match="'p0' is nan"):
        box.check([np.nan, 0])
    with pytest.raises(ShapeError):
        box.check([1])
    drawn = np.array([box.uniform(np.random.default_rng(i)) for i in range(200)])
    assert ((drawn >= box.lows) & (drawn <= box.highs)).all()


def test_toy_space_opens_its_neighbours_at_75():
    space = ToySpace(10, 2)
    corner = np.array([0.05, 0.05])
    for i in range(75):
        assert not space.open[1, 1]
        assert space.visit(corner) == pytest.approx((i + 1) / 100)
    assert space.open[0, 1]
    assert space.open[1, 0]
    assert space.open[1, 1]
    assert not space.open[0, 2]
    assert space.visit(np.array([0.05, 0.25])) == 0
    for _ in range(50):
        last = space.visit(corner)
    assert last == 1  # saturates at 100
    assert space.mastered == 1


def test_toy_space_ignores_irrelevant_parameters_and_takes_its_edge():
    space = ToySpace(5, 2, irrelevant=3)
    assert space.box.dimension == 5
    assert space.cell(np.array([1.0, 0.0, 0.9, 0.9, 0.9])) == (4, 0)
    assert space.visit(np.array([0.1, 0.1, 0.99, 0.0, 0.5])) == 0.01


def test_toy_space_is_taken_up_again():
    space, rng = ToySpace(4, 2), np.random.default_rng(0)
    for _ in range(3000):
        space.visit(rng.random(2) * 0.6)
    other = ToySpace(4, 2)
    other.load_state_dict(space.state_dict())
    np.testing.assert_array_equal(space.open, other.open)
    np.testing.assert_array_equal(space.competence, other.competence)
    with pytest.raises(CheckpointError, match="toy space of"):
        ToySpace(3, 2).load_state_dict(space.state_dict())


def test_task_environment_builds_once_where_tasks_can_be_set():
    built = []

    def factory(task):
        built.append(task)
        return make(task)

    env = TaskEnvironment(factory, BOX)
    env.reset(seed=0, options={"task": [1.0, 15.0, 9.8]})
    env.reset(seed=1, options={"task": [0.2, 5.0, 20.0]})
    assert len(built) == 1
    inner = env.env.unwrapped
    assert (inner.length, inner.force_mag, inner.gravity, inner.polemass_length) == (0.2, 5.0, 20.0, pytest.approx(0.02))
    _, _, _, _, info = env.step(0)
    np.testing.assert_array_equal(info["task"], [0.2, 5.0, 20.0])
    with pytest.raises(OptionError, match="'force'"):
        env.reset(options={"task": [1.0, 50.0, 9.8]})


def test_task_environment_builds_anew_otherwise_and_checks_spaces():
    def factory(task):
        return gymnasium.make("CartPole-v1" if task[0] < 0.7 else "Pendulum-v1")

    env = TaskEnvironment(factory, TaskBox((0,), (1,), ("kind",)))
    first = env.env
    env.reset(seed=0, options={"task": [0.1]})
    assert env.env is not first
    with pytest.raises(TrainingError, match=r"kind=0.9.*all tasks must share"):
        env.reset(options={"task": [0.9]})


def test_a_factory_that_fails_at_once_is_named():
    with pytest.raises(TrainingError, match=r"length=0\.525"):
        TaskEnvironment(lambda task: 1 / 0, BOX)


def test_episodes_replay_to_where_another_copy_was():
    one, other = (Episodes(TaskEnvironment(make, BOX), seed=7) for _ in range(2))
    rng = np.random.default_rng(0)
    for number in range(3):
        one.reset(options={"task": BOX.uniform(rng)})
        for _ in range(5 + number):
            one.step(int(rng.integers(2)))
    seen = other.restore(one.position())
    np.testing.assert_array_equal(seen, one.position()["observation"])
    for _ in range(3):
        np.testing.assert_array_equal(one.step(1)[0], other.step(1)[0])
    np.testing.assert_array_equal(one.reset()[0], other.reset()[0])


def test_episodes_notice_what_cannot_be_replayed():
    class Loose(TaskCartPole):
        def step(self, action):
            observation, *rest = super().step(action)
            return observation + np.random.rand(), *rest

    one, other = (Episodes(Loose(BOX.centre)) for _ in range(2))
    one.reset()
    one.step(0)
    with pytest.raises(CheckpointError, match="does not replay"):
        other.restore(one.position())


def test_episodes_have_seeds_of_their_own_and_can_be_held():
    env = Episodes(make(BOX.centre), seed=3, hold=True)
    blank, _ = env.reset(seed=11)
    assert not blank.any()
    first, _ = env.begin()
    seeds = {env.episode_seed}
    for _ in range(20):
        env.begin()
        seeds.add(env.episode_seed)
    assert len(seeds) == 21
    env.reset(seed=11)
    np.testing.assert_array_equal(env.begin()[0], first)


def test_learnable_poles_are_a_minority_that_depends_on_the_seed_alone():
    tasks = learnable(20, seed=3)
    np.testing.assert_array_equal(tasks, learnable(20, seed=3))
    assert all((task >= BOX.lows).all() and (task <= BOX.highs).all() for task in tasks)
    rng = np.random.default_rng(0)
    assert np.mean([_balances(BOX.uniform(rng)) for _ in range(200)]) < 0.5
    assert _balances(np.array([0.5, 10.0, 9.8]))
    assert not _balances(np.array([0.1, 1.0, 90.0]))
