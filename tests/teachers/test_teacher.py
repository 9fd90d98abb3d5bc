from __future__ import annotations

import copy
from collections import OrderedDict, namedtuple

import pytest
import torch
from torch import Tensor, nn

from tutelage.errors import SpecError
from tutelage.teachers import Frozen, Teacher, plain
from tutelage.train import Method


class Rebel(Teacher):
    """Does everything a teacher's answer must not let through."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, inputs: Tensor) -> dict[str, object]:
        pair = namedtuple("pair", "a b")
        with torch.enable_grad():
            graph = inputs * self.weight
        return {"graph": graph, "same": inputs, "weight": [self.weight], "pair": pair(graph, 1), "ordered": OrderedDict(x=graph)}


def test_outputs_never_carry_a_graph() -> None:
    inputs = torch.randn(2, 3, requires_grad=True)
    out = Rebel()(inputs)
    tensors = [out["graph"], out["same"], out["weight"][0], out["pair"].a, out["ordered"]["x"]]
    assert not any(t.requires_grad for t in tensors)
    assert type(out["pair"]).__name__ == "pair"
    assert isinstance(out["ordered"], OrderedDict)
    assert out["same"].data_ptr() == inputs.data_ptr()


def test_gradients_are_on_again_after_the_call_and_after_an_exception() -> None:
    teacher = Frozen(nn.Linear(3, 2))
    teacher(torch.randn(1, 3))
    assert torch.is_grad_enabled()
    with pytest.raises(RuntimeError):
        teacher(torch.randn(1, 4))
    assert torch.is_grad_enabled()


def test_inference_tensors_become_usable_in_autograd() -> None:
    class Inferring(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            with torch.inference_mode():
                return inputs * 2

    out = Frozen(Inferring())(torch.ones(3))
    weight = torch.ones(3, requires_grad=True)
    (weight * out).sum().backward()
    assert torch.equal(weight.grad, torch.full((3,), 2.0))
    with torch.inference_mode():
        assert plain(torch.ones(1)).is_inference()


def test_frozen_stays_in_eval_mode_without_gradients_inside_a_method() -> None:
    class Distil(Method):
        def __init__(self) -> None:
            super().__init__()
            self.student = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5))
            self.teacher = Frozen(nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout(0.5)))

    method = Distil()
    assert not any(m.training for m in method.teacher.modules())
    method.train()
    assert method.student.training
    assert not any(m.training for m in method.teacher.modules())
    assert not any(p.requires_grad for p in method.teacher.parameters())
    assert len(method.players()["student"].parameters) == 2
    mean = method.teacher.model[1].running_mean.clone()
    first = method.teacher(torch.randn(8, 3))
    assert torch.equal(mean, method.teacher.model[1].running_mean)
    method.update_teachers()
    assert method.teacher.constant
    assert first.shape == (8, 3)


def test_frozen_passes_arguments_on_and_copies() -> None:
    class TwoInputs(nn.Module):
        def forward(self, a: Tensor, *, b: Tensor) -> tuple[Tensor, Tensor]:
            return a + b, a

    teacher = Frozen(TwoInputs())
    total, _ = teacher(torch.ones(2), b=torch.ones(2))
    assert torch.equal(total, torch.full((2,), 2.0))
    linear = Frozen(nn.Linear(3, 2))
    twin = copy.deepcopy(linear)
    inputs = torch.randn(4, 3)
    assert torch.equal(twin(inputs), linear(inputs))
    twin.load_state_dict(Frozen(nn.Linear(3, 2)).state_dict())
    assert not torch.equal(twin(inputs), linear(inputs))


def test_frozen_refuses_what_is_no_module() -> None:
    with pytest.raises(SpecError, match=r"torch\.nn\.Module, got str.*models\.build"):
        Frozen("timm:resnet18")  # type: ignore[arg-type]


@pytest.mark.slow
def test_frozen_under_compile() -> None:
    torch.manual_seed(0)
    teacher = Frozen(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)))
    student = nn.Linear(3, 2)

    def loss(inputs: Tensor) -> Tensor:
        return (student(inputs) - teacher(inputs)).square().mean()

    inputs = torch.randn(5, 3, requires_grad=True)
    compiled = torch.compile(loss, fullgraph=True)(inputs)
    assert torch.allclose(compiled, loss(inputs), atol=1e-6)
    compiled.backward()
    expected = torch.autograd.grad(loss(inputs), student.weight)[0]
    assert torch.allclose(student.weight.grad, expected, atol=1e-6)
    whole = torch.compile(teacher, backend="aot_eager")
    assert torch.allclose(whole(inputs), teacher(inputs), atol=1e-6)
    assert not whole(inputs).requires_grad
