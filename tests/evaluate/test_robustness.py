from __future__ import annotations

import logging
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tutelage.data import Arrays
from tutelage.errors import DataError, OptionError, ShapeError
from tutelage.evaluate.robustness import ATTACKS, auto_attack, robustness, weighted_robust_accuracy


def bars(n: int = 90, classes: int = 3, seed: int = 0) -> Arrays:
    """Noisy 4x4 images whose brightest column tells the class."""
    g = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % classes
    x = 0.5 + 0.12 * torch.randn(n, 1, 4, 4, generator=g)
    x[torch.arange(n), 0, :, y] += 0.25
    return Arrays(columns={"input": x.clamp(0, 1), "label": y}, classes=tuple("abcd"[:classes]), name="bars")


def trained(arrays: Arrays, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(16, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, len(arrays.classes))
    )
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(150):
        optimizer.zero_grad()
        F.cross_entropy(model(arrays.columns["input"]), arrays.columns["label"]).backward()
        optimizer.step()
    return model


@pytest.fixture(scope="module")
def data() -> Arrays:
    return bars()


@pytest.fixture(scope="module")
def model(data) -> nn.Module:
    return trained(data)


def test_w_is_the_mean_of_clean_and_robust_accuracy():
    assert weighted_robust_accuracy(90, 50) == 70


def test_on_a_linear_model_every_attack_finds_exactly_the_samples_within_reach():
    # One pixel decides: class 1 above one half. The samples nearer to it than eps are lost, all others are safe.
    x = torch.tensor([0.1, 0.3, 0.44, 0.46, 0.56, 0.7, 0.9, 0.54])
    y = torch.tensor([0, 0, 0, 0, 1, 1, 1, 0])
    linear = nn.Linear(1, 2)
    linear.weight.data, linear.bias.data = torch.tensor([[-1.0], [1.0]]), torch.tensor([0.5, -0.5])
    arrays = Arrays(columns={"input": x[:, None], "label": y}, classes=("low", "high"))
    found = robustness(linear, arrays, eps=0.1, step_size=0.02, steps=15, cw_steps=15)
    assert found["clean"] == 100 * 7 / 8
    for name in ATTACKS:
        assert found[name] == 100 * 4 / 8
        assert found[f"w_{name}"] == 100 * 5.5 / 8


def test_without_a_budget_robust_accuracy_is_clean_accuracy(model, data):
    found = robustness(model, data, eps=0.0)
    assert {found[name] for name in (*ATTACKS, "clean")} == {found["clean"]}
    assert found["clean"] > 95


def test_robust_accuracy_falls_as_the_ball_grows(model, data):
    small, large = (robustness(model, data, eps=eps, step_size=eps / 4, steps=10, cw_steps=10) for eps in (0.05, 0.2))
    for name in ATTACKS:
        assert large[name] < small[name] - 20
    assert small["pgd_sat"] <= small["fgsm"] + 1e-9


def test_results_do_not_depend_on_the_mode_and_repeat(model, data):
    model.train()
    first = robustness(model, data, eps=0.1, step_size=0.02, steps=5, cw_steps=5)
    second = robustness(model.eval(), data, eps=0.1, step_size=0.02, steps=5, cw_steps=5)
    assert first == second


def test_only_the_attacks_asked_for_are_run(model, data):
    assert set(robustness(model, data, attacks=("fgsm",))) == {"clean", "fgsm", "w_fgsm"}
    with pytest.raises(OptionError, match="Did you mean 'pgd_sat'"):
        robustness(model, data, attacks=("pgd_st",))


@pytest.mark.parametrize("evaluation", [robustness, auto_attack])
def test_empty_sets_and_inputs_outside_the_range_are_refused(model, data, evaluation):
    with pytest.raises(DataError, match="empty"):
        evaluation(model, data.subset(torch.arange(0)))
    with pytest.raises(DataError, match=r"inputs in \[0, 1\]"):
        evaluation(model, data.replace(input=data.columns["input"] * 3 - 1))


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_auto_attack_is_at_least_as_strong_as_pgd_and_leaves_the_model_alone(classes):
    data = bars(40, classes)
    model = trained(data).train()
    F.cross_entropy(model(data.columns["input"]), data.columns["label"]).backward()
    state = {k: v.clone() for k, v in model.state_dict().items()}
    gradients = [p.grad.clone() for p in model.parameters()]
    random, trace, level = torch.get_rng_state(), sys.gettrace(), logging.getLogger("auto-attack").level

    left = auto_attack(model, data, eps=0.06)
    found = robustness(model, data, eps=0.06, step_size=0.01)
    assert left <= min(found[name] for name in ATTACKS)
    assert 0 < left < found["clean"]

    assert all(torch.equal(state[k], v) for k, v in model.state_dict().items())
    assert all(torch.equal(a, p.grad) for a, p in zip(gradients, model.parameters(), strict=True))
    assert all(p.requires_grad for p in model.parameters())
    assert all(m.training for m in model.modules())
    assert torch.equal(torch.get_rng_state(), random)
    assert (sys.gettrace(), logging.getLogger("auto-attack").level) == (trace, level)


def test_auto_attack_repeats_and_wants_images(model, data):
    few = data.subset(torch.arange(12))
    assert auto_attack(model, few, eps=0.08, seed=3) == auto_attack(model, few, eps=0.08, seed=3)
    table = Arrays(columns={"input": torch.rand(4, 16), "label": torch.zeros(4, dtype=torch.int64)}, classes=("a", "b", "c"))
    with pytest.raises(ShapeError, match="Use `robustness`"):
        auto_attack(model, table)
