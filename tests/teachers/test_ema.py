from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tutelage import schedules
from tutelage.errors import OptionError, ShapeError
from tutelage.teachers import EMA, Ensemble, Frozen
from tutelage.train import Method


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))


def shift(model: nn.Module, by: float) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(by)


@settings(deadline=None, max_examples=20)
@given(m=st.floats(0, 1), steps=st.integers(1, 5))
def test_update_is_the_geometric_average(m: float, steps: int) -> None:
    student = nn.Linear(2, 1, bias=False)
    ema = EMA(student, momentum=m)
    expected = student.weight.detach().double()
    for _ in range(steps):
        shift(student, 1.0)
        ema.update(0.0)
        expected = m * expected + (1 - m) * student.weight.detach().double()
    assert torch.allclose(ema.model.weight.double(), expected, atol=1e-5)
    assert int(ema.updates) == steps


def test_limits_of_the_momentum() -> None:
    student = network()
    still, follower = EMA(student, momentum=1.0), EMA(student, momentum=0.0)
    start = copy.deepcopy(still.model.state_dict())
    shift(student, 0.3)
    still.update(0.5)
    follower.update(0.5)
    assert all(torch.equal(start[n], v) for n, v in still.model.state_dict().items())
    assert all(torch.equal(a, b) for a, b in zip(follower.model.parameters(), student.parameters(), strict=True))


def test_momentum_follows_its_schedule() -> None:
    student = nn.Linear(1, 1, bias=False)
    ema = EMA(student, momentum=schedules.linear(0.0, 1.0))
    before = ema.model.weight.item()
    shift(student, 1.0)
    ema.update(0.75)
    assert ema.model.weight.item() == pytest.approx(0.75 * before + 0.25 * (before + 1), abs=1e-6)


def test_warmup_is_the_plain_mean_until_the_momentum_takes_over() -> None:
    student = nn.Linear(1, 1, bias=False)
    ema = EMA(student, momentum=0.75, warmup=True)
    seen = []
    for _ in range(4):
        shift(student, 1.0)
        seen.append(student.weight.item())
        ema.update(0.0)
        assert ema.model.weight.item() == pytest.approx(sum(seen) / len(seen), abs=1e-5)
    mean = ema.model.weight.item()
    shift(student, 1.0)
    ema.update(0.0)
    assert ema.model.weight.item() == pytest.approx(0.75 * mean + 0.25 * student.weight.item(), abs=1e-5)


def test_buffers_by_rule() -> None:
    for rule in ("copy", "average", "keep"):
        student = network()
        ema = EMA(student, momentum=0.9, buffers=rule)
        student.train()
        student(torch.randn(16, 3) + 5)
        ema.update(0.0)
        norm, average = student[1], ema.model[1]
        expected = {"copy": norm.running_mean, "average": 0.1 * norm.running_mean, "keep": torch.zeros(4)}[rule]
        assert torch.allclose(average.running_mean, expected, atol=1e-6), rule
        assert int(average.num_batches_tracked) == (0 if rule == "keep" else 1), rule


def test_student_is_followed_but_not_owned() -> None:
    student = network()
    ema = EMA(student)
    assert ema.student is student
    assert {n.split(".")[0] for n in ema.state_dict()} == {"model", "updates"}
    assert not {id(p) for p in ema.parameters()} & {id(p) for p in student.parameters()}
    assert not any(p.requires_grad for p in ema.parameters())
    assert all(p.requires_grad for p in student.parameters())


def test_mode_is_eval_by_default_and_follows_on_request() -> None:
    ema, follower = EMA(network()), EMA(network(), mode="follow", buffers="keep")
    both = Ensemble([ema, follower])
    both.train()
    assert not ema.model.training
    assert follower.model.training
    assert not both.training
    both.eval()
    assert not follower.model.training


def test_deepcopy_of_the_method_follows_the_copied_student() -> None:
    class Own(Method):
        def __init__(self) -> None:
            super().__init__()
            self.teacher = EMA(network(), momentum=0.0)
            self.student = self.teacher.student

    method = Own()
    twin = copy.deepcopy(method)
    assert twin.teacher.student is twin.student
    assert twin.student is not method.student
    shift(twin.student, 1.0)
    twin.teacher.update(0.0)
    assert torch.equal(twin.teacher.model[0].weight, twin.student[0].weight)
    assert not torch.equal(twin.teacher.model[0].weight, method.teacher.model[0].weight)


def test_restored_state_goes_on_as_if_never_stopped() -> None:
    student = network()
    ema = EMA(student, momentum=0.9, warmup=True)
    for _ in range(3):
        shift(student, 0.1)
        ema.update(0.0)
    other = EMA(network(1), momentum=0.9, warmup=True)
    other.load_state_dict(ema.state_dict())
    other.student.load_state_dict(student.state_dict())
    for model in (ema, other):
        shift(model.student, 0.1)
        model.update(0.0)
    assert int(other.updates) == 4
    assert all(torch.equal(a, b) for a, b in zip(ema.parameters(), other.parameters(), strict=True))


def test_tied_weights_move_once() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(2, 2, bias=False)
            self.b = nn.Linear(2, 2, bias=False)
            self.b.weight = self.a.weight

    student = Tied()
    ema = EMA(student, momentum=0.5)
    start = ema.model.a.weight.clone()
    shift(student, 1.0)
    ema.update(0.0)
    assert ema.model.a.weight is ema.model.b.weight
    assert torch.allclose(ema.model.a.weight, start + 0.5, atol=1e-6)


def test_average_kept_in_higher_precision() -> None:
    student = nn.Linear(1, 1, bias=False).bfloat16()
    nn.init.ones_(student.weight)
    ema = EMA(student, momentum=0.999)
    ema.model.float()
    nn.init.constant_(student.weight, 2.0)
    ema.update(0.0)
    assert ema.model.weight.item() == pytest.approx(1.001, abs=1e-6)


def test_compiled_student_is_followed_inside() -> None:
    student = network()
    compiled = torch.compile(student, backend="eager")
    ema = EMA(compiled, momentum=0.0)
    assert ema.student is student
    shift(compiled, 1.0)
    ema.update(0.0)
    assert torch.equal(ema.model[0].weight, student[0].weight)


def test_replaced_parameters_and_buffers_are_found_again() -> None:
    student = network()
    ema = EMA(student, momentum=0.0)
    student.to(torch.float64)
    student[0].weight = nn.Parameter(torch.full((4, 3), 7.0))
    student[1].running_mean = torch.full((4,), 3.0)
    ema.update(0.0)
    assert torch.equal(ema.model[0].weight, torch.full((4, 3), 7.0))
    assert torch.equal(ema.model[1].running_mean, torch.full((4,), 3.0))


def test_wrong_options_and_changed_students_are_named() -> None:
    student = network()
    with pytest.raises(OptionError, match=r"between 0 and 1, got 1\.5"):
        EMA(student, momentum=1.5)
    with pytest.raises(OptionError, match="got nan"):
        EMA(student, momentum=lambda p: float("nan")).update(0.0)
    with pytest.raises(OptionError, match="Did you mean 'average'"):
        EMA(student, buffers="averaged")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="follow"):
        EMA(student, mode="train")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="Run one batch"):
        EMA(nn.LazyLinear(2))
    old = nn.Linear(2, 2)
    with pytest.warns(FutureWarning):
        nn.utils.weight_norm(old)
    old(torch.ones(1, 2))
    with pytest.raises(OptionError, match="parametrizations"):
        EMA(old)
    ema = EMA(student)
    student[3].weight = nn.Parameter(torch.zeros(5, 4))
    with pytest.raises(ShapeError, match=r"'3\.weight' is \[5, 4\] in the student but \[2, 4\]"):
        ema.update(0.0)


def test_frozen_teacher_beside_an_average_is_left_alone() -> None:
    student = network()
    frozen = Frozen(network(1))
    before = copy.deepcopy(frozen.state_dict())
    ensemble = Ensemble([frozen, EMA(student, momentum=0.0)])
    assert not ensemble.constant
    shift(student, 1.0)
    for module in ensemble.modules():
        if hasattr(module, "update"):
            module.update(0.0)
    assert all(torch.equal(v, frozen.state_dict()[n]) for n, v in before.items())
    assert int(ensemble.teachers[1].updates) == 1


def test_a_restart_is_a_copy_of_the_student_and_forgets_how_often_it_moved():
    student = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    teacher = EMA(student, 0.9, buffers="average", warmup=True)
    for _ in range(3):
        with torch.no_grad():
            student[0].weight.add_(1.0)
        student(torch.randn(8, 3))
        teacher.update(0.0)
    teacher.restart()
    own = teacher.model.state_dict()
    assert all(torch.equal(value, own[name]) for name, value in student.state_dict().items())
    assert int(teacher.updates) == 0
    with torch.no_grad():
        student[0].weight.add_(1.0)
    teacher.update(0.0)  # the warm-up begins anew: its first step takes the student as it is
    torch.testing.assert_close(teacher.model[0].weight, student[0].weight)
