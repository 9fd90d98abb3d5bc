from __future__ import annotations

import pytest

from tutelage.targets.learning_history import learning_history


def test_streaks_count_from_the_newest_backwards():  # fact 10
    found = learning_history([0.1, 0.9, 0.2, 0.8, 0.95])
    assert (found.high_streak, found.low_streak) == (2, 0)
    found = learning_history([0.9, 0.9, 0.4, 0.0])
    assert (found.high_streak, found.low_streak) == (0, 2)
    found = learning_history([0.9, 0.5])
    assert (found.high_streak, found.low_streak) == (0, 0)
    assert learning_history([0.8] * 4).high_streak == 4


def test_only_the_last_ten_count():
    found = learning_history([0.0] * 5 + [1.0] * 10, [f"note {i}" for i in range(15)])
    assert found.mean == 1.0
    assert found.high_streak == 10
    assert found.notes == tuple(f"note {i}" for i in range(5, 15))
    assert learning_history([0.0, 1.0], last=1).rewards == (1.0,)
    assert learning_history([0.0, 1.0], last=0).rewards == ()


def test_sessions_without_a_judge_neither_count_nor_break():
    found = learning_history([0.2, 0.9, None, 0.9, None])
    assert found.mean == pytest.approx(2.0 / 3)
    assert found.high_streak == 2
    assert "not judged" in found.text
    assert learning_history([None]).mean is None


def test_notes_are_cut():
    assert len(learning_history([0.5], ["x" * 2000]).notes[0]) == 1024


def test_the_text():
    assert learning_history([]).text == ""
    text = learning_history([0.25, 0.75], ["first", ""]).text
    assert "0.25, 0.75" in text
    assert "mean: 0.500" in text
    assert text.count("note:") == 1
