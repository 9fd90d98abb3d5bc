from __future__ import annotations

import math

import pytest
import torch

from tutelage.errors import OptionError, ShapeError
from tutelage.selection.passages import pick


def test_the_best_two_in_the_order_of_the_list():
    picked = pick(torch.tensor([[0.1, 0.9, 0.5], [3.0, 1.0, 2.0]]), 2)
    assert picked.place.tolist() == [[1, 2], [0, 2]]
    assert picked.mask.all()
    assert picked.weight(3).tolist() == [[0, 1, 1], [1, 0, 1]]


def test_padding_is_never_picked_whatever_its_score():
    scores = torch.tensor([[1.0, 5.0, -math.inf, math.inf], [0.0, math.nan, 9.0, 9.0]])
    mask = torch.tensor([[True, True, True, False], [True, False, False, False]])
    picked = pick(scores, 3, mask)
    assert picked.place[0].tolist() == [0, 1, 2]
    assert picked.mask.sum(1).tolist() == [3, 1]
    assert picked.place[1][picked.mask[1]].tolist() == [0]
    assert picked.weight(4).tolist() == [[1, 1, 1, 0], [1, 0, 0, 0]]


def test_k_of_at_least_the_number_of_items_leaves_the_list_as_it_is():
    scores, values = torch.randn(3, 5), torch.randn(3, 5, 2)
    for k in (5, 6, 100):
        picked = pick(scores, k)
        assert torch.equal(picked.gather(values), values)


def test_gather_takes_values_with_and_without_further_axes():
    scores = torch.tensor([[0.0, 2.0, 1.0]])
    picked = pick(scores, 1)
    assert picked.gather(scores).tolist() == [[2.0]]
    assert picked.gather(torch.arange(12).reshape(1, 3, 2, 2)).tolist() == [[[[4, 5], [6, 7]]]]


def test_of_equal_scores_the_earlier_is_picked():
    assert pick(torch.zeros(1, 4), 2).place.tolist() == [[0, 1]]


def test_refuses_what_does_not_fit():
    with pytest.raises(OptionError, match="k is 0"):
        pick(torch.zeros(1, 3), 0)
    with pytest.raises(ShapeError, match="no lists"):
        pick(torch.zeros(3), 1)
    with pytest.raises(ShapeError, match="no lists"):
        pick(torch.zeros(1, 3), 1, torch.ones(1, 2, dtype=torch.bool))
