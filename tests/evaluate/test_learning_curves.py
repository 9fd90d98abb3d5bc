from __future__ import annotations

import numpy as np
import pytest

from tutelage.errors import OptionError
from tutelage.evaluate.learning_curves import area, paired_bootstrap, ranks


def test_the_area_is_the_mean_height_and_looks_at_the_positions():
    assert area([70.0]) == 70
    assert area([50, 50, 50], [10, 40, 200]) == pytest.approx(50)
    assert area([0, 100]) == pytest.approx(50)
    assert area([0, 100, 100], [0, 10, 100]) == pytest.approx(95)


def test_ranks_count_from_the_highest_and_share_ties():
    found = ranks({"a": [3.0, 1.0, 2.0], "b": [1.0, 1.0, 3.0], "c": [2.0, 5.0, 3.0]})
    assert found == {"a": [1, 2.5, 3], "b": [3, 2.5, 1.5], "c": [2, 1, 1.5]}


def test_the_bootstrap_is_sure_of_what_every_seed_shows_and_even_on_nothing():
    assert paired_bootstrap([2, 3, 4], [1, 2, 3]) == 1
    assert paired_bootstrap([1, 2, 3], [2, 3, 4]) == 0
    assert paired_bootstrap([1, 2], [1, 2]) == 0.5
    assert paired_bootstrap([2, 3, 4], [1, 2, 3], margin=1.0) == 0.5


def test_few_seeds_are_enumerated():
    # Gaps 3 and -1: means of the four resamples are 3, 1, 1 and -1.
    assert paired_bootstrap([3.0, 0.0], [0.0, 1.0]) == pytest.approx(0.75)


def test_many_seeds_are_drawn_and_agree_with_the_normal_approximation():
    gaps = np.random.default_rng(0).normal(0.2, 1.0, 40)
    share = paired_bootstrap(gaps, np.zeros(40))
    z = gaps.mean() / (gaps.std() / np.sqrt(40))
    from statistics import NormalDist

    assert share == pytest.approx(NormalDist().cdf(z), abs=0.03)
    assert share == paired_bootstrap(gaps, np.zeros(40))


def test_what_does_not_fit_is_refused():
    for wrong in (
        lambda: area([]),
        lambda: area([1, 2], [2, 1]),
        lambda: area([1, 2], [1]),
        lambda: ranks({}),
        lambda: ranks({"a": [1], "b": []}),
    ):
        with pytest.raises(OptionError):
            wrong()
    with pytest.raises(OptionError, match="per seed"):
        paired_bootstrap([1, 2], [1])
