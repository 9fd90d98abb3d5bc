from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tutelage.environments import TaskBox
from tutelage.errors import OptionError
from tutelage.methods.control.alp_gmm import ALPGMM
from tutelage.teachers.curricula import Mixture, Random

LINE = TaskBox((0,), (1,))
SQUARE = TaskBox((0, 0), (1, 1))


def test_progress_is_the_distance_to_the_nearest_return():
    teacher = ALPGMM(LINE)
    for p, r in ((0.1, 0.2), (0.2, 0.2), (0.3, 0.2), (0.4, 0.2), (0.5, 0.2), (0.9, 1.0)):
        teacher.update(np.array([p]), r)
    assert teacher.progress == [0.0] * 6
    teacher.update(np.array([0.88]), 0.4)
    assert teacher.progress[6] == pytest.approx(0.6)


def test_constant_returns_give_no_progress_and_uniform_components():
    teacher = ALPGMM(SQUARE, fit_rate=50, components=(4,))
    for _ in range(50):
        teacher.update(teacher.sample(), 0.7)
    assert not any(teacher.progress)
    np.testing.assert_allclose(teacher._sums, [1, 2, 3, 4])


def test_uniform_until_the_first_fit():
    teacher = ALPGMM(LINE)
    drawn = []
    for n in range(249):
        task = teacher.sample()
        drawn.append(task[0])
        teacher.update(task, float(task[0] > 0.9) * n)
        assert teacher.mixture is None
    assert stats.kstest(drawn, "uniform").pvalue > 0.01
    teacher.update(teacher.sample(), 0.0)
    assert teacher.mixture is not None


def test_it_fits_every_fit_rate_episodes_to_the_last_ones():
    teacher, seen = ALPGMM(SQUARE, fit_rate=40, components=(2, 3)), []
    original = teacher._adopt
    teacher._adopt = lambda mixture: (seen.append(teacher.episodes), original(mixture))
    for n in range(130):
        task = teacher.sample()
        teacher.update(task, n * task[0])
    assert seen == [40, 80, 120]
    assert teacher.mixture.samples == 40
    np.testing.assert_array_equal(teacher.rows()[:, 2], teacher.progress[-40:])
    np.testing.assert_array_equal(teacher.rows()[:, :2], teacher.history.tasks[-40:])


def test_a_random_task_ratio_of_one_is_random():
    teacher, chance = ALPGMM(SQUARE, fit_rate=30, components=(2,), random_task_ratio=1.0, seed=1), Random(SQUARE, seed=2)
    drawn = []
    for n in range(2000):
        task = teacher.sample()
        drawn.append(task)
        teacher.update(task, float(task[0]) * n)
    for axis in range(2):
        assert stats.ks_2samp(np.array(drawn)[:, axis], [chance.sample()[axis] for _ in range(2000)]).pvalue > 0.01


def test_components_are_drawn_by_progress_not_by_weight():
    teacher = ALPGMM(LINE, random_task_ratio=0.0)
    means = np.array([[0.2, 0.3], [0.8, 0.1]])
    teacher._adopt(Mixture(np.array([0.05, 0.95]), means, np.stack([1e-6 * np.eye(2)] * 2), 0.0, 250))
    drawn = np.array([teacher.sample()[0] for _ in range(6000)])
    assert (drawn < 0.5).mean() == pytest.approx(0.75, abs=0.02)


def test_negative_progress_is_clamped_and_draws_are_clipped():
    teacher = ALPGMM(LINE, random_task_ratio=0.0)
    means = np.array([[0.99, 0.3], [0.2, -0.1]])
    teacher._adopt(Mixture(np.array([0.5, 0.5]), means, np.stack([0.01 * np.eye(2)] * 2), 0.0, 250))
    drawn = np.array([teacher.sample() for _ in range(500)])
    assert drawn.shape == (500, 1)
    assert drawn.max() == 1
    assert drawn.min() > 0.5


def test_scaling_makes_units_irrelevant():
    wide = TaskBox((0, -50), (1, 50))
    small, large = ALPGMM(SQUARE, scale=True, fit_rate=30, components=(2,)), ALPGMM(wide, scale=True, fit_rate=30, components=(2,))
    rng = np.random.default_rng(0)
    for n in range(60):
        place = rng.random(2)
        small.update(place, n * place[0])
        large.update(wide.lows + wide.ranges * place, n * place[0])
    np.testing.assert_allclose(small.progress, large.progress)
    np.testing.assert_allclose(small.mixture.means, large.mixture.means, rtol=1e-6)
    np.testing.assert_allclose(wide.unit(large.sample()), small.sample(), atol=1e-8)


@pytest.mark.parametrize(
    "options",
    [{"components": ()}, {"fit_rate": 5}, {"random_task_ratio": 1.5}, {"criterion": "aix"}, {"restarts": 0}, {"components": (0,)}],
)
def test_bad_options_are_refused(options):
    with pytest.raises(OptionError):
        ALPGMM(SQUARE, **options)
