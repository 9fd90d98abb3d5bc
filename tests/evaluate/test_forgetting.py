from __future__ import annotations

import math

import pytest

from tutelage.errors import OptionError
from tutelage.evaluate.forgetting import TaskMatrix, in_turn


def test_metrics_of_a_matrix_by_hand():
    matrix = TaskMatrix(3, alone=(90, 90, 85))
    for row in ([80, 10, 12], [85, 90, 11], [60, 70, 88]):
        matrix.record(row)
    assert matrix.average == pytest.approx((60 + 70 + 88) / 3)
    assert matrix.forgetting == pytest.approx(((85 - 60) + (90 - 70)) / 2)  # from the best, which task 1 had after task 2
    assert matrix.backward_transfer == pytest.approx(((60 - 80) + (70 - 90)) / 2)
    assert matrix.forward_transfer == pytest.approx(((90 - 90) + (88 - 85)) / 2)


def test_what_was_not_measured_is_nan_and_an_unfinished_matrix_counts_what_was_learned():
    matrix = TaskMatrix(3)
    matrix.record([80, 10, 12])
    assert matrix.average == 80
    assert all(math.isnan(value) for value in (matrix.forgetting, matrix.backward_transfer, matrix.forward_transfer))
    matrix.record([70, 90, 12])
    assert matrix.average == 80
    assert matrix.forgetting == 10


def test_tasks_are_learned_in_turn_and_all_are_measured_after_each():
    learned: list[str] = []
    matrix = in_turn(
        ["x", "y"], lambda number, task: learned.append(f"{number}{task}"), lambda task: float(any(task in t for t in learned))
    )
    assert learned == ["0x", "1y"]
    assert matrix.matrix == [[1, 0], [1, 1]]
    assert matrix.forgetting == 0


def test_rows_that_do_not_fit_are_refused():
    matrix = TaskMatrix(2)
    with pytest.raises(OptionError, match="Nothing was recorded"):
        _ = matrix.average
    with pytest.raises(OptionError, match="3 scores after 0 of 2 tasks"):
        matrix.record([1, 2, 3])
    with pytest.raises(OptionError, match="no task"):
        in_turn([], lambda *_: None, lambda _: 0.0)
