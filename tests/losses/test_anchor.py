from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tutelage.errors import ShapeError
from tutelage.losses.anchor import binary_kl, diagonal_fisher, quadratic
from tutelage.models.binary import field_mean, field_variance


def fields(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(2, 12, generator=generator, dtype=torch.float64))


@given(st.integers(0, 1000), st.floats(0.1, 2))
def test_the_divergence_is_the_sum_over_two_states(seed, b):
    t, old = fields(seed)
    m, other = field_mean(t, b), field_mean(old, b)
    expected = (1 + m) / 2 * torch.log((1 + m) / (1 + other)) + (1 - m) / 2 * torch.log((1 - m) / (1 - other))
    torch.testing.assert_close(binary_kl(t, old, sharpness=b), expected, atol=1e-9, rtol=1e-6)


def test_it_is_zero_at_the_reference_positive_elsewhere_and_not_symmetric():
    t, old = fields(0)
    assert binary_kl(t, t).abs().max() == 0
    assert (binary_kl(t, old) > 0).all()
    assert (binary_kl(t, old) - binary_kl(old, t)).abs().max() > 0.01
    assert binary_kl(torch.zeros(3), torch.zeros(3)).tolist() == [0, 0, 0]


@pytest.mark.parametrize("b", [0.5, 1.0, 3.0])
def test_its_gradient_is_the_formula_and_agrees_with_finite_differences(b):
    t, old = fields(1)
    t.requires_grad_()
    gradient = torch.autograd.grad(binary_kl(t, old, sharpness=b).sum(), t)[0]
    torch.testing.assert_close(gradient, b**2 * field_variance(t.detach(), b) * (t.detach() - old))
    assert torch.autograd.gradcheck(lambda x: binary_kl(x, old, sharpness=b), (t,))


def test_saturated_weights_stay_finite_and_feel_nothing():
    t = torch.tensor([60.0, -60.0], requires_grad=True)
    loss = binary_kl(t, torch.tensor([-60.0, -50.0]))
    loss.sum().backward()
    assert loss[0].item() == pytest.approx(240 / 2 * 2 / 2)  # a sure weight that was sure of the other sign: 2 b |t'|
    assert t.grad.abs().max() < 1e-20


def test_elastic_weight_consolidation_is_its_second_order():
    old, direction = fields(2)
    fisher = 0.8**2 * field_variance(old, 0.8)
    gaps = []
    for step in (1e-1, 1e-2):
        t = old + step * direction
        gaps.append((binary_kl(t, old, sharpness=0.8) - quadratic(t, old, fisher)).abs().max().item() / step**2)
    assert gaps[1] < 0.15 * gaps[0]
    assert gaps[1] < 1e-2


def test_the_fisher_information_of_a_field_is_its_variance():
    # The observation is the weight itself, drawn from its own distribution.
    field = torch.tensor([0.4], dtype=torch.float64, requires_grad=True)
    draws = torch.where(torch.rand(1000, generator=torch.Generator().manual_seed(0)) < (1 + field_mean(field.detach())) / 2, 1.0, -1.0)
    log_likelihood = torch.nn.functional.logsigmoid(2 * draws * field)
    (found,) = diagonal_fisher(log_likelihood, [field])
    assert found.item() == pytest.approx(field_variance(field.detach()).item(), rel=0.1)
    other = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    assert diagonal_fisher(log_likelihood[:2], [field, other])[1].tolist() == [0, 0, 0]


def test_shapes_that_would_broadcast_are_refused():
    with pytest.raises(ShapeError, match=r"\[3\] is held to one of shape \[1\]"):
        binary_kl(torch.zeros(3), torch.zeros(1))
    with pytest.raises(ShapeError):
        quadratic(torch.zeros(3), torch.zeros(3), torch.zeros(1))
