from __future__ import annotations

import pytest
import torch

from tutelage.errors import OptionError, ShapeError
from tutelage.targets.gains import rank_gains


def test_the_best_three_of_four_get_three_two_and_one():
    assert rank_gains(torch.tensor([0.2, 0.9, -1.0, 0.5]), 3).tolist() == [1, 3, 0, 2]


def test_padding_gets_nothing_and_a_score_of_zero_is_an_item():
    scores = torch.tensor([[0.0, 9.0, -2.0], [-1.0, -3.0, 0.0]])
    mask = torch.tensor([[True, False, True], [True, True, True]])
    assert rank_gains(scores, 2, mask).tolist() == [[2, 0, 1], [1, 0, 2]]


def test_fewer_items_than_k_are_all_graded_and_equal_scores_go_by_place():
    assert rank_gains(torch.tensor([1.0, 1.0]), 4).tolist() == [4, 3]
    assert rank_gains(torch.zeros(3, 0), 2).shape == (3, 0)


def test_only_the_order_of_the_scores_matters_and_there_is_no_graph():
    scores = torch.randn(5, 8, requires_grad=True)
    gains = rank_gains(scores, 3)
    assert not gains.requires_grad
    assert torch.equal(gains, rank_gains(scores.exp() * 10, 3))
    assert (gains.sum(-1) == 6).all()


def test_refuses_what_does_not_fit():
    with pytest.raises(OptionError, match="k is 0"):
        rank_gains(torch.zeros(3), 0)
    with pytest.raises(ShapeError, match="mask"):
        rank_gains(torch.zeros(3), 1, torch.ones(2, dtype=torch.bool))
