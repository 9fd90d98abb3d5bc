from __future__ import annotations

import pytest
import torch

from tutelage.errors import OptionError, ShapeError
from tutelage.losses import mean
from tutelage.selection.reward_guided import reward_guided


def test_the_masks_of_the_sheet():
    rewards = torch.tensor([[1.0, 0, 0, 1], [0, 0, 0, 0], [1, 1, 1, 1]])
    assert reward_guided(rewards).tolist() == [[0, 1, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0]]
    assert reward_guided(rewards, level="group").tolist() == [[0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]]
    assert reward_guided(rewards, level="none").tolist() == [[1] * 4] * 3


def test_a_batch_without_failures_gives_a_loss_of_zero():
    loss = torch.full((2, 3), torch.nan, requires_grad=True)
    total = mean(loss, reward_guided(torch.ones(2, 3)))
    total.backward()
    assert total == 0
    assert torch.equal(loss.grad, torch.zeros(2, 3))


def test_penalties_are_failures():
    assert reward_guided(torch.tensor([-1.0, 0.5])).tolist() == [1, 0]


def test_wrong_input_is_named():
    with pytest.raises(OptionError, match="token"):
        reward_guided(torch.ones(2), level="token")
    with pytest.raises(ShapeError, match="single number"):
        reward_guided(torch.tensor(1.0))
