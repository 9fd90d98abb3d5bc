from __future__ import annotations

import copy
import dataclasses
import inspect

import pytest
import torch
from torch import Tensor, nn

from tutelage.errors import OptionError
from tutelage.methods.distillation.hinton import Hinton
from tutelage.recipes.distillation.hinton import OPTIONS
from tutelage.teachers import Frozen


def networks(seed: int = 0, width: int = 5) -> tuple[nn.Module, nn.Module, dict[str, Tensor]]:
    torch.manual_seed(seed)
    student, teacher = nn.Linear(7, width).double(), nn.Linear(7, width).double()
    return student, teacher, {"input": torch.randn(9, 7).double(), "label": torch.randint(0, width, (9,))}


def test_loss_is_the_weighted_sum_of_torch_s_own_divergence_and_cross_entropy():
    student, teacher, batch = networks()
    losses = Hinton(student, Frozen(teacher), temperature=3.0, alpha=0.7).losses(batch)
    s, t = student(batch["input"]), teacher(batch["input"])
    kl = nn.functional.kl_div((s / 3).log_softmax(-1), (t / 3).log_softmax(-1), reduction="batchmean", log_target=True)
    torch.testing.assert_close(losses["kd"], 0.7 * 9 * kl)
    torch.testing.assert_close(losses["ce"], 0.3 * nn.functional.cross_entropy(s, batch["label"]))


def test_gradient_of_the_soft_term_is_temperature_times_the_difference_of_softened_probabilities():
    # Equation 2 of the paper, times T^2: T (q - p).
    student, teacher, batch = networks()
    logits = student(batch["input"]).detach().requires_grad_()
    method = Hinton(nn.Identity(), Frozen(_Fixed(teacher(batch["input"]).detach())), temperature=5.0, alpha=1.0)
    method.losses({"input": logits})["kd"].backward()
    q, p = (logits.detach() / 5).softmax(-1), (teacher(batch["input"]).detach() / 5).softmax(-1)
    torch.testing.assert_close(logits.grad, 5 * (q - p) / len(logits))


def test_high_temperature_matches_zero_meaned_logits():
    # Equation 4 of the paper: with T^2 in front, the gradient tends to (z - v) / C for centred logits.
    student, teacher, batch = networks()
    logits = student(batch["input"]).detach().requires_grad_()
    target = teacher(batch["input"]).detach()
    method = Hinton(nn.Identity(), Frozen(_Fixed(target)), temperature=1e4, alpha=1.0)
    method.losses({"input": logits})["kd"].backward()
    z, v = logits.detach(), target
    centred = (z - z.mean(-1, keepdim=True) - v + v.mean(-1, keepdim=True)) / z.shape[1]
    torch.testing.assert_close(logits.grad * len(logits), centred, rtol=1e-3, atol=1e-5)


def test_equal_networks_leave_nothing_to_learn_from_the_teacher():
    student, _, batch = networks()
    loss = Hinton(student, Frozen(copy.deepcopy(student)), alpha=1.0).losses(batch)["kd"]
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert student.weight.grad.abs().max() < 1e-12


def test_alpha_zero_is_supervised_training_and_alpha_one_needs_no_labels():
    student, teacher, batch = networks()
    losses = Hinton(student, Frozen(teacher), alpha=0.0).losses(batch)
    assert losses["kd"].item() == 0
    torch.testing.assert_close(losses["ce"], nn.functional.cross_entropy(student(batch["input"]), batch["label"]))
    assert set(Hinton(student, Frozen(teacher), alpha=1.0).losses({"input": batch["input"]})) == {"kd"}


def test_finite_differences_of_the_whole_loss():
    student, teacher, batch = networks()
    method = Hinton(student, Frozen(teacher), temperature=2.0, alpha=0.6)
    torch.autograd.gradcheck(lambda w: sum(torch.func.functional_call(method, {"student.weight": w}, (batch,)).values()), student.weight)


def test_the_teacher_gets_no_gradient_and_no_optimizer():
    student, teacher, batch = networks()
    method = Hinton(student, Frozen(teacher))
    sum(method.losses(batch).values()).backward()
    assert student.weight.grad.abs().max() > 0
    assert all(p.grad is None for p in method.teacher.parameters())
    owned = {id(p) for player in method.players().values() for p in player.parameters}
    assert owned == {id(p) for p in student.parameters()}


def test_both_networks_see_one_draw_of_the_view():
    student, _, batch = networks()
    method = Hinton(student, Frozen(copy.deepcopy(student)), lambda x, g: x + torch.rand(x.shape, generator=g, dtype=x.dtype), alpha=1.0)
    method.generator = torch.Generator().manual_seed(0)
    assert method.losses(batch)["kd"].item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("wrong", [{"temperature": 0.0}, {"temperature": -1.0}, {"alpha": 1.5}, {"alpha": -0.1}])
def test_wrong_options_are_named(wrong):
    student, teacher, _ = networks()
    with pytest.raises(OptionError, match=next(iter(wrong))):
        Hinton(student, Frozen(teacher), **wrong)


def test_options_are_the_keyword_arguments():
    keywords = {p.name: p.default for p in inspect.signature(Hinton).parameters.values() if p.kind is p.KEYWORD_ONLY}
    assert {f.name: f.default for f in dataclasses.fields(OPTIONS)} == keywords


class _Fixed(nn.Module):
    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.register_buffer("logits", logits)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits
