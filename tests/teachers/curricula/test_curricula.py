from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats

from tutelage.environments import TaskBox, ToySpace
from tutelage.errors import CheckpointError, OptionError, ShapeError, TrainingError
from tutelage.methods.control.alp_gmm import ALPGMM
from tutelage.recipes.teach import curriculum
from tutelage.teachers.curricula import RIAC, CovarGMM, Mixture, Oracle, Random, TaskHistory, rescale

BOX = TaskBox((0, 0), (3, 6), ("height", "spacing"))
TEACHERS = {
    "random": lambda seed=0: Random(BOX, seed=seed),
    "oracle": lambda seed=0: Oracle(BOX, (0.1, -0.2), episodes=20, threshold=1.5, seed=seed),
    "riac": lambda seed=0: RIAC(BOX, capacity=40, seed=seed),
    "covar-gmm": lambda seed=0: CovarGMM(BOX, fit_rate=50, components=(2, 3), seed=seed),
    "alp-gmm": lambda seed=0: ALPGMM(BOX, fit_rate=50, components=(2, 3), seed=seed),
}


def value(task, n):
    return float(np.sin(task[0] + 0.01 * n) * task[1])


def go(teacher, start, stop):
    drawn = []
    for n in range(start, stop):
        task = teacher.sample()
        drawn.append(task)
        teacher.update(task, value(task, n))
    return np.array(drawn)


@pytest.mark.parametrize("name", TEACHERS)
def test_tasks_lie_in_the_box_and_seeds_matter(name):
    drawn = go(TEACHERS[name](), 0, 400)
    assert drawn.shape == (400, 2)
    assert ((drawn >= BOX.lows) & (drawn <= BOX.highs)).all()
    np.testing.assert_array_equal(drawn, go(TEACHERS[name](), 0, 400))
    assert not np.array_equal(drawn, go(TEACHERS[name](1), 0, 400))


@pytest.mark.parametrize("name", TEACHERS)
def test_a_teacher_is_taken_up_again(name):
    whole, broken, resumed = (TEACHERS[name](s) for s in (0, 0, 5))
    expected = go(whole, 0, 500)[260:]
    go(broken, 0, 260)
    resumed.load_state_dict(broken.state_dict())
    np.testing.assert_array_equal(go(resumed, 260, 500), expected)


@pytest.mark.parametrize("name", TEACHERS)
def test_state_is_plain(name):
    teacher = TEACHERS[name]()
    go(teacher, 0, 120)
    json.dumps(teacher.state_dict(), default=lambda array: array.tolist())
    with pytest.raises(CheckpointError, match="is of the teacher"):
        Random(TaskBox((0, 0), (3, 7))).load_state_dict(teacher.state_dict())


@pytest.mark.parametrize("name", TEACHERS)
def test_values_and_tasks_are_checked(name):
    teacher = TEACHERS[name]()
    with pytest.raises(TrainingError, match=r"height=1, spacing=2.*nan"):
        teacher.update(np.array([1.0, 2.0]), float("nan"))
    with pytest.raises(ShapeError):
        teacher.update(np.array([1.0]), 0.0)


def test_returns_are_rescaled_and_clipped():
    assert [rescale(v, (-150, 350)) for v in (-150, 350, 100, 1000, -1000)] == [0, 1, 0.5, 1, 0]
    assert rescale(7.0, None) == 7
    with pytest.raises(OptionError, match="smaller return first"):
        Random(BOX, value_range=(1, 0))
    seen = []

    class Listens(Random):
        def learn(self, task, value):
            seen.append(value)

    Listens(BOX, value_range=(-150, 350)).update(BOX.centre, 100)
    assert seen == [0.5]


def test_history_finds_the_nearest_by_brute_force():
    rng = np.random.default_rng(0)
    history, kept = TaskHistory(3), []
    for i in range(700):
        task = rng.random(3)
        if kept:
            assert history.nearest(task) == int(np.linalg.norm(np.array(kept) - task, axis=1).argmin())
        history.append(task, i)
        kept.append(task)
    np.testing.assert_array_equal(history.tasks, kept)
    np.testing.assert_array_equal(history.values, np.arange(700))


def test_oracle_starts_easy_and_moves_when_the_student_does_well():
    teacher = Oracle(BOX, (0.1, -0.2))
    np.testing.assert_allclose(teacher.corner, [0, 5])  # a window of (0.5, 1) in the corner of low stumps far apart
    for _ in range(49):
        teacher.update(teacher.sample(), 300)
    np.testing.assert_allclose(teacher.corner, [0, 5])
    teacher.update(teacher.sample(), 300)
    np.testing.assert_allclose(teacher.corner, [0.1, 4.8])
    for _ in range(60):
        teacher.update(teacher.sample(), 100)
    np.testing.assert_allclose(teacher.corner, [0.1, 4.8])
    for _ in range(50 * 100):
        teacher.update(teacher.sample(), 300)
    np.testing.assert_allclose(teacher.corner, [2.5, 0])  # stays inside


def test_riac_splits_where_progress_differs_and_draws_there():
    teacher = RIAC(BOX, seed=0)
    for n in range(1500):
        task = teacher.sample()
        teacher.update(task, n / 1500 if task[0] < 1 else 0.0)
    leaves = [r for r in teacher.regions if r.axis < 0]
    assert len(leaves) > 3
    assert all(len(r.values) <= 200 for r in leaves)
    assert all(len(r.values) <= 201 for r in teacher.regions)
    volumes = [np.prod(r.high - r.low) for r in leaves]
    assert sum(volumes) == pytest.approx(18)
    assert min(min((r.high - r.low) / BOX.ranges) for r in leaves) >= 1 / 15 - 1e-9
    for r in leaves:
        assert all((t >= r.low).all() and (t <= r.high).all() for t in r.tasks)
    drawn = np.array([teacher.sample() for _ in range(2000)])
    assert (drawn[:, 0] < 1).mean() > 0.5  # a third by chance


def test_riac_progress_is_between_the_halves():
    teacher = RIAC(BOX)
    assert teacher._progress([0, 0, 1, 1]) == 1
    assert teacher._progress([5]) == 0
    assert teacher._progress([9.0] * 50 + [0.0] * 100 + [1.0] * 100) == 1  # the last 200 only


def test_riac_without_progress_is_uniform():
    teacher = RIAC(BOX, seed=1)
    for _ in range(100):
        teacher.update(teacher.sample(), 0.3)
    drawn = np.array([teacher.sample()[0] for _ in range(2000)])
    assert stats.kstest(drawn / 3, "uniform").pvalue > 0.01


def test_riac_forgets_a_quarter_where_no_split_is_allowed():
    teacher = RIAC(BOX, seed=0)
    for _ in range(201):
        teacher.update(np.array([1.0, 1.0]), 0.0)
    assert len(teacher.regions) == 1
    assert len(teacher.regions[0].values) == 201 - 50


def test_covar_gmm_prefers_what_rises():
    teacher = CovarGMM(BOX, seed=0, components=(2, 3, 4))
    for n in range(250):
        task = teacher.sample()
        teacher.update(task, {True: n / 250, False: 1 - n / 250}[task[0] < 1])
    drawn = np.array([teacher.sample() for _ in range(1000)])
    assert (drawn[:, 0] < 1.2).mean() > 0.7
    both = CovarGMM(BOX, absolute=True)
    assert (both.interest(teacher.mixture) > 0).sum() > (teacher.interest(teacher.mixture) > 0).sum()


def test_covar_rows_are_task_time_value():
    teacher = CovarGMM(BOX, fit_rate=20, components=(2,))
    go(teacher, 0, 20)
    rows = teacher.rows()
    assert rows.shape == (20, 4)
    np.testing.assert_allclose(rows[:, 2], np.arange(20) / 20)
    cov = teacher.mixture.covariances[:, 2, 3]
    np.testing.assert_allclose(teacher.interest(teacher.mixture), np.maximum(cov, 0))


def test_teachers_by_name():
    assert isinstance(curriculum("alp-gmm", BOX, fit_rate=100), ALPGMM)
    assert isinstance(curriculum("oracle", BOX, step=(1, 1)), Oracle)
    with pytest.raises(OptionError, match="alp-gmm"):
        curriculum("alp_gmm", BOX)
    with pytest.raises(OptionError, match="does not take"):
        curriculum("riac", BOX, fit_rate=100)


def test_a_mixture_that_was_cut_short_is_refused():
    with pytest.raises(CheckpointError, match="damaged"):
        Mixture.load({"weights": [1.0]})


def test_progress_beats_chance_on_irrelevant_parameters():
    def score(kind, seed):
        space = ToySpace(5, 2, irrelevant=3)
        teacher = kind(space.box, seed=seed)
        for _ in range(3000):
            task = teacher.sample()
            teacher.update(task, space.visit(task))
        return space.mastered

    ours = [score(lambda box, seed: ALPGMM(box, components=range(2, 7), seed=seed), s) for s in range(2)]
    chance = [score(lambda box, seed: Random(box, seed=seed), s) for s in range(2)]
    assert np.mean(ours) > np.mean(chance) + 8
