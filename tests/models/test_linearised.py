from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.func import functional_call, jacrev

from tutelage.errors import ShapeError
from tutelage.models.linearised import Linearised


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Dropout(0.5), nn.Linear(5, 2)).double()


def test_it_is_the_taylor_expansion_of_first_order():
    net, x = network().eval(), torch.randn(4, 3, dtype=torch.float64)
    line = Linearised(net)
    torch.testing.assert_close(line(x), net(x))
    weights = dict(net.named_parameters())
    steps = [torch.randn_like(p) for p in weights.values()]
    with torch.no_grad():
        for own, step in zip(line.displacement, steps, strict=True):
            own.copy_(step)
    jacobian = jacrev(lambda w: functional_call(net, w, (x,)))(weights)
    change = sum((jacobian[name].flatten(2) @ step.flatten()) for name, step in zip(weights, steps, strict=True))
    torch.testing.assert_close(line(x), net(x) + change)
    centred = copy.deepcopy(line)
    centred.centred = True
    torch.testing.assert_close(centred(x), change)


def test_gradients_flow_to_the_displacement_alone_and_training_stays_in_evaluation_mode():
    net, x = network(), torch.randn(4, 3, dtype=torch.float64)
    line = Linearised(net).train()
    assert torch.equal(line(x), line(x))  # no dropout
    (line(x) ** 2).sum().backward()
    net.eval()
    wanted = torch.autograd.grad((net(x) ** 2).sum(), list(net.parameters()))
    for own, grad in zip(line.displacement, wanted, strict=True):
        torch.testing.assert_close(own.grad, grad)
    assert {name.split(".")[0] for name, p in line.named_parameters() if p.requires_grad} == {"displacement"}


def test_frozen_parts_stay_and_nothing_to_train_is_refused():
    net, x = network().eval(), torch.randn(4, 3, dtype=torch.float64)
    net[0].requires_grad_(False)
    line = Linearised(net)
    assert [tuple(p.shape) for p in line.displacement] == [(2, 5), (2,)]
    torch.testing.assert_close(line(x), net(x))
    with pytest.raises(ShapeError, match="nothing to linearise"):
        Linearised(net.requires_grad_(False))
