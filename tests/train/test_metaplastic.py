from __future__ import annotations

import pytest
import torch

from tutelage.errors import OptionError
from tutelage.train.metaplastic import MetaplasticAdam

START = torch.tensor([0.5, -0.5, 2.0, -2.0, 0.0])
GRADIENT = torch.tensor([1.0, 1.0, 1.0, -1.0, 1.0])


def moved(optimizer: type[torch.optim.Optimizer], steps: int = 1, **options) -> torch.Tensor:
    parameter = torch.nn.Parameter(START.clone())
    made = optimizer([parameter], lr=0.1, **options)
    for _ in range(steps):
        parameter.grad = GRADIENT.clone()
        made.step()
    return parameter.detach()


def test_only_updates_towards_zero_are_damped_by_the_weight():
    adam, ours = moved(torch.optim.AdamW, weight_decay=0.0) - START, moved(MetaplasticAdam, metaplasticity=1.3) - START
    factor = 1 - torch.tanh(1.3 * START).square()
    towards = torch.tensor([True, False, True, True, False])
    torch.testing.assert_close(ours, torch.where(towards, adam * factor, adam))
    assert ours[2].abs() < 0.05 * ours[0].abs()


def test_without_metaplasticity_it_is_adam():
    torch.testing.assert_close(
        moved(MetaplasticAdam, 5, metaplasticity=0.0, weight_decay=0.1), moved(torch.optim.AdamW, 5, weight_decay=0.1)
    )


def test_negative_metaplasticity_is_refused():
    with pytest.raises(OptionError, match="metaplasticity is -1"):
        moved(MetaplasticAdam, metaplasticity=-1)
