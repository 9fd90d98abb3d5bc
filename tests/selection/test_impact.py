from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.errors import OptionError
from tutelage.selection.impact import Impact, Pruning


def seen(rows, families=("a", "b")):
    impact = Impact()
    for place, (reward, hit, adopted) in enumerate(rows):
        impact = impact.seen(reward, hit=hit, adopted=adopted, family=families[place % len(families)])
    return impact


def test_what_is_never_found_is_dropped_after_ten_sessions():  # fact 7
    assert Pruning().verdict(seen([(0.5, False, False)] * 9)) == ""
    assert "found in 0 of 10 sessions" in Pruning().verdict(seen([(0.5, False, False)] * 10))


def test_what_harms_is_dropped():  # fact 7
    rows = [(0.4, True, False)] * 5 + [(0.6, False, False)] * 5
    assert "0.20 lower" in Pruning().verdict(seen(rows))
    assert seen(rows).gain == pytest.approx(-0.2)
    assert Pruning().verdict(seen([*rows[:4], *rows[5:], (0.6, False, False)])) == ""  # 4 hits are too few
    assert Pruning().verdict(seen(rows[:9])) == ""  # 9 sessions are too few
    even = [(0.595, True, False)] * 5 + [(0.6, False, False)] * 5
    assert Pruning().verdict(seen(even)) == ""


def test_what_changes_nothing_though_adopted_is_dropped():
    rows = [(0.605, True, True)] * 10 + [(0.6, False, False)] * 5
    assert "adopted in 100% of its hits" in Pruning().verdict(seen(rows))
    assert Pruning().verdict(seen([(0.62, True, True)] * 10 + [(0.6, False, False)] * 5)) == ""
    assert Pruning().verdict(seen([(0.605, True, i < 5) for i in range(10)] + [(0.6, False, False)] * 5)) == ""  # adopted in half
    assert Pruning().verdict(seen([(0.605, True, True)] * 9 + [(0.6, False, False)] * 5)) == ""  # 9 hits


def test_what_serves_one_family_is_dropped_after_twenty_sessions():
    rows = [(0.9, True, True)] * 10 + [(0.5, False, False)] * 10
    assert "1 families" in Pruning().verdict(seen(rows, ("a",)))
    assert Pruning().verdict(seen(rows[:19], ("a",))) == ""
    assert Pruning().verdict(seen(rows)) == ""
    assert Pruning(families=1).verdict(seen(rows, ("a",))) == ""


def test_no_gain_without_both_sides():
    assert seen([(0.1, True, False)] * 12).gain is None
    assert Impact().gain is None
    assert Pruning().verdict(seen([(0.1, True, False)] * 12)) == ""


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans(), st.booleans()), max_size=30))
def test_statistics_add_up(rows):
    impact = seen(rows)
    assert impact.sessions == len(rows)
    assert impact.hits == sum(hit for _, hit, _ in rows)
    assert impact.adoptions == sum(hit and adopted for _, hit, adopted in rows)
    assert impact.reward_with + impact.reward_without == pytest.approx(sum(reward for reward, _, _ in rows))
    assert Impact.from_json(json.loads(json.dumps(impact.to_json()))) == impact


def test_numbers_below_zero():
    with pytest.raises(OptionError, match="harm_hits=-1"):
        Pruning(harm_hits=-1)
