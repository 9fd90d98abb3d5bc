from __future__ import annotations

import math

import pytest
import torch

from tutelage.errors import OptionError, ShapeError
from tutelage.losses.ranking import lambda_loss, ranknet


@pytest.mark.parametrize(
    ("scores", "gains", "expected"),
    [
        ([1.0, 0.0], [2, 1], 0.0918760),
        ([0.0, 1.0], [2, 1], 0.3851652),
        ([2.0, 1.0, 0.0], [2, 1, 0], 0.1576238),
        ([0.0, 1.0, 2.0], [2, 1, 0], 0.9096950),
        ([2.0, 1.0, 0.0, -1.0], [3, 2, 1, 0], 0.1509011),
    ],
)
def test_lambda_loss_by_hand(scores, gains, expected):
    assert float(lambda_loss(torch.tensor(scores), torch.tensor(gains))) == pytest.approx(expected, abs=1e-6)


def test_lambda_loss_agrees_with_a_loop_over_pairs():
    torch.manual_seed(3)
    scores, gains = torch.randn(6, dtype=torch.double), torch.tensor([0, 3, 0, 1, 2, 0])
    ideal = sum((2.0**y - 1) / math.log2(2 + place) for place, y in enumerate(sorted(gains.tolist(), reverse=True)))
    rank = {item: place for place, item in enumerate(scores.argsort(descending=True).tolist(), 1)}
    total = 0.0
    for i in range(6):
        for j in range(6):
            if gains[i] > gains[j]:
                d = abs(rank[i] - rank[j])
                lift = abs(1 / math.log2(1 + d) - 1 / math.log2(2 + d))
                weight = lift * abs(2.0 ** int(gains[i]) - 2.0 ** int(gains[j])) / ideal
                total -= math.log2(max(torch.sigmoid(scores[i] - scores[j]).item() ** weight, 1e-6))
    assert float(lambda_loss(scores, gains)) == pytest.approx(total, abs=1e-9)


def test_equal_gains_cost_nothing_and_have_a_graph():
    scores = torch.randn(2, 5, requires_grad=True)
    loss = lambda_loss(scores, torch.zeros(2, 5))
    assert loss.tolist() == [0.0, 0.0]
    loss.sum().backward()
    assert scores.grad.abs().sum() == 0


def test_a_constant_shift_and_padding_change_nothing():
    scores, gains = torch.randn(3, 6, dtype=torch.double), torch.tensor([[3, 0, 1, 2, 0, 0]]).repeat(3, 1)
    expected = lambda_loss(scores, gains)
    torch.testing.assert_close(lambda_loss(scores + 7, gains), expected)
    mask = torch.tensor([[True] * 6 + [False] * 2]).repeat(3, 1)
    for rubbish in (1e9, -1e9, math.nan, math.inf):
        padded = torch.cat([scores, torch.full((3, 2), rubbish, dtype=torch.double)], 1).requires_grad_()
        loss = lambda_loss(padded, torch.cat([gains, torch.full((3, 2), 9)], 1), mask)
        torch.testing.assert_close(loss.detach(), expected)
        loss.sum().backward()
        assert padded.grad.isfinite().all()
        assert padded.grad[:, 6:].abs().sum() == 0


def test_gradient_by_finite_differences():
    scores = torch.randn(2, 5, dtype=torch.double, requires_grad=True)
    gains = torch.tensor([[0, 2, 1, 0, 3], [1, 0, 0, 0, 2]])
    assert torch.autograd.gradcheck(lambda s: lambda_loss(s, gains), scores)


def test_a_step_down_the_gradient_moves_the_best_item_up():
    scores = torch.tensor([0.0, 0.5, 1.0], requires_grad=True)
    lambda_loss(scores, torch.tensor([2, 0, 0])).backward()
    assert scores.grad[0] < 0
    assert (scores.grad[1:] > 0).all()


def test_a_hopeless_pair_costs_no_more_than_the_floor():
    scores, gains = torch.tensor([-1e4, 1e4]), torch.tensor([5, 0])
    assert float(lambda_loss(scores, gains)) == pytest.approx(-math.log2(1e-6), rel=1e-5)


def test_half_precision_is_computed_in_float32():
    assert lambda_loss(torch.randn(4).half(), torch.arange(4)).dtype == torch.float32
    assert ranknet(torch.randn(4).bfloat16(), torch.randn(4).bfloat16()).dtype == torch.float32


def test_ranknet_by_hand_and_by_its_gradient():
    assert float(ranknet(torch.tensor(2.0), torch.tensor(2.0))) == pytest.approx(0.693147, abs=1e-6)
    assert float(ranknet(torch.tensor(1.0), torch.tensor(0.0))) == pytest.approx(math.log(1 + math.exp(-1)))
    positive = torch.tensor([0.3, -100.0], requires_grad=True)
    loss = ranknet(positive, torch.tensor([0.0, 100.0]))
    assert loss.shape == (2,)
    assert loss.isfinite().all()
    loss.sum().backward()
    torch.testing.assert_close(positive.grad, -torch.sigmoid(torch.tensor([-0.3, 200.0])))


def test_refuses_what_does_not_fit():
    with pytest.raises(ShapeError, match="better and of the worse"):
        ranknet(torch.zeros(3), torch.zeros(2))
    with pytest.raises(ShapeError, match="gains"):
        lambda_loss(torch.zeros(3), torch.zeros(2))
    with pytest.raises(ShapeError, match="mask"):
        lambda_loss(torch.zeros(3), torch.zeros(3), torch.ones(2, dtype=torch.bool))
    with pytest.raises(OptionError, match="eps"):
        lambda_loss(torch.zeros(3), torch.zeros(3), eps=0.0)
