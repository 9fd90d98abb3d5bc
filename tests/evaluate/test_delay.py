from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.errors import OptionError
from tutelage.evaluate.delay import GridLog, delay, first_below, geometric_steps


@given(st.integers(1, 10**6), st.integers(1, 50))
def test_a_geometric_grid_begins_at_zero_increases_and_ends_at_the_last_step(total, per_decade):
    steps = geometric_steps(total, per_decade)
    assert steps[0] == 0
    assert steps[-1] == total
    assert steps == sorted(set(steps))
    assert all(b <= max(a * 10 ** (1 / per_decade) + 2, a + 1) for a, b in pairwise(steps))


def test_a_geometric_grid_has_the_powers_of_ten():
    assert geometric_steps(1000, 1) == [0, 1, 10, 100, 1000]
    assert geometric_steps(1) == [0, 1]
    with pytest.raises(OptionError, match="at least 1"):
        geometric_steps(0)


def test_a_log_takes_rows_in_order():
    log = GridLog(100, per_decade=1)
    assert [step for step in range(101) if log.due(step)] == [0, 1, 10, 100]
    log.add(0, loss=2.0)
    log.add(1, loss=1.0)
    assert log.steps == [0, 1]
    assert log.values == {"loss": [2.0, 1.0]}
    with pytest.raises(OptionError, match="cannot follow"):
        log.add(1, loss=0.5)
    with pytest.raises(OptionError, match="names stay"):
        log.add(10, other=0.5)


def test_a_delay_is_between_the_first_crossings():
    steps = [0, 1, 10, 100, 1000]
    late = delay(steps, [1, 0.5, 0.05, 0.01, 0.0], [1, 1.5, 1.2, 0.4, 0.1], train_below=0.1, test_below=0.3)
    assert (late.train, late.test, late.peak, late.final, late.ratio) == (10, 1000, 1.5, 0.1, 100.0)
    assert first_below(steps, [1] * 5, 1.0) is None
    never = delay(steps, [0] * 5, [1] * 5, train_below=0.1, test_below=0.3)
    assert (never.train, never.test, never.ratio, never.peak) == (0, None, None, 1.0)
    with pytest.raises(OptionError, match="5, 5 and 4"):
        delay(steps, [1] * 5, [1] * 4, train_below=0.1, test_below=0.3)
