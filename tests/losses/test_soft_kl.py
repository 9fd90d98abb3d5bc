from __future__ import annotations

import pytest
import torch

from tutelage import losses as L
from tutelage.errors import ShapeError


def logits(seed: int, *shape: int):
    return 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_it_is_the_forward_kl_of_a_teachers_probabilities(temperature):
    student, teacher = logits(0, 4, 5), logits(1, 4, 5)
    expected = L.forward_kl(student, teacher, temperature=temperature)
    torch.testing.assert_close(L.soft_kl(student, (teacher / temperature).softmax(-1), temperature=temperature), expected)


def test_it_is_zero_at_the_target_and_has_the_gradient_of_the_cross_entropy():
    target = logits(2, 3, 6).softmax(-1)
    assert L.soft_kl(target.log() + 7, target).abs().max() < 1e-12
    student = logits(3, 3, 6).requires_grad_()
    (found,) = torch.autograd.grad(L.soft_kl(student, target).sum(), student)
    torch.testing.assert_close(found, student.softmax(-1) - target)


def test_classes_without_probability_add_nothing():
    target = torch.tensor([[0.5, 0.5, 0.0]])
    assert L.soft_kl(torch.tensor([[0.0, 0.0, -1e9]]), target).item() == pytest.approx(0, abs=1e-6)
    assert L.soft_kl(torch.zeros(1, 3), target).item() == pytest.approx(torch.tensor(1.5).log().item())
    with pytest.raises(ShapeError):
        L.soft_kl(torch.zeros(1, 2), target)
