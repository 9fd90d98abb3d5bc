from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from tutelage.errors import OptionError
from tutelage.models import count_parameters, fingerprint, resnet, small_cnn, tap
from tutelage.teachers import Frozen


def test_fingerprint_tells_weights_names_shapes_and_types_apart() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    base = fingerprint(model)
    assert len(base) == 64
    assert fingerprint(copy.deepcopy(model)) == base
    seen = {base}
    changed = copy.deepcopy(model)
    with torch.no_grad():
        changed[0].weight[0, 0] += 1e-3
    seen.add(fingerprint(changed))
    seen.add(fingerprint(copy.deepcopy(model).double()))
    seen.add(fingerprint(copy.deepcopy(model).bfloat16()))
    seen.add(fingerprint(nn.Sequential(nn.Identity(), *copy.deepcopy(model))))
    counted = copy.deepcopy(model)
    counted[1].num_batches_tracked += 1
    seen.add(fingerprint(counted))
    reshaped = nn.Linear(3, 2)
    reshaped.weight.data = model[0].weight.data.reshape(2, 3)
    seen.add(fingerprint(reshaped))
    assert len(seen) == 7


def test_count_leaves_out_frozen_on_request_and_tied_once() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2, bias=False))
    model[0].requires_grad_(False)
    assert count_parameters(model) == 15
    assert count_parameters(model, trainable_only=True) == 6
    model.append(model[1])
    assert count_parameters(model) == 15


def test_tap_gives_the_layers_own_output_with_its_graph() -> None:
    model = small_cnn(num_classes=3)
    images = torch.rand(2, 1, 8, 8)
    with tap(model, "stages.0", "pool") as features:
        logits = model(images)
    assert features["stages.0"].shape == (2, 8, 8, 8)
    assert torch.equal(model.head(features["pool"]), logits)
    features["stages.0"].sum().backward()
    assert model.stages[0][0].weight.grad is not None


def test_tap_does_not_copy() -> None:
    class Keep(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.made = x * 2
            return self.made

    model = nn.Sequential(Keep(), nn.ReLU())
    with tap(model, "0") as features:
        model(torch.ones(2))
    assert features["0"] is model[0].made


def test_hooks_are_gone_afterwards_also_after_an_exception() -> None:
    model = resnet(num_classes=2, depth=1, in_channels=1)
    with pytest.raises(RuntimeError), tap(model, "stages.1"):
        model(torch.rand(1, 2, 8, 8))
    with tap(model, "stages.1", "head") as features:
        pass
    model(torch.rand(2, 1, 8, 8))
    assert features == {}
    assert not any(m._forward_hooks for m in model.modules())


def test_tap_inside_a_teacher_carries_no_graph() -> None:
    teacher = Frozen(small_cnn(num_classes=3))
    with tap(teacher, "model.stages.1") as features:
        teacher(torch.rand(1, 1, 8, 8))
    assert not features["model.stages.1"].requires_grad


def test_unknown_layer_offers_the_nearest() -> None:
    model = small_cnn(num_classes=3)
    with pytest.raises(OptionError, match=r"ConvNet has no layer 'stage\.1'\. Did you mean .*'stages\.1'"), tap(model, "stage.1"):
        pass
    with pytest.raises(OptionError), tap(model, ""):
        pass
    assert not any(m._forward_hooks for m in model.modules())
