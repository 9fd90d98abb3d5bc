"""Quantiles and intervals against scipy and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tutelage.report import interval, t_quantile
from tutelage.report.intervals import spread, t_probability


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 9, 10, 30, 101])
def test_quantiles_agree_with_scipy(freedom):
    for level in (0.5, 0.9, 0.95, 0.99):
        assert t_quantile(freedom, level) == pytest.approx(stats.t.ppf((1 + level) / 2, freedom), rel=1e-9)


def test_closed_forms():
    assert t_quantile(1, 0.5) == pytest.approx(1.0)  # Cauchy: quartiles at -1 and 1
    assert t_probability(1.0, 2) == pytest.approx(1 / math.sqrt(3))
    assert t_probability(0.0, 7) == 0


@settings(max_examples=40)
@given(st.lists(st.floats(-100, 100), min_size=2, max_size=12))
def test_the_interval_agrees_with_scipy(values):
    low, high = interval(values)
    error = stats.sem(values)
    half = t_quantile(len(values) - 1) * error
    assert (low + high) / 2 == pytest.approx(np.mean(values), abs=1e-9)
    assert (high - low) / 2 == pytest.approx(half, rel=1e-6, abs=1e-9)


def test_one_value_has_no_interval_and_no_spread():
    assert interval([3.0]) is None
    assert spread([3.0]) == 0
    assert spread([0.1] * 3) == 0
    assert spread([1.0, 3.0]) == pytest.approx(math.sqrt(2))


def test_senseless_quantiles_are_refused():
    with pytest.raises(ValueError, match="freedom=0"):
        t_quantile(0)
    with pytest.raises(ValueError, match=r"level=1\.0"):
        t_quantile(3, 1.0)
