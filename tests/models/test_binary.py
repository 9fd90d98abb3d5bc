from __future__ import annotations

import itertools
import math

import pytest
import torch

from tutelage.errors import OptionError, ShapeError
from tutelage.models.binary import FieldLinear, FieldMLP, FieldPerceptron, SignLinear, SignMLP, field_mean, field_variance, stability


def test_mean_and_variance_are_those_of_the_two_states():
    field, b = torch.linspace(-3, 3, 13, dtype=torch.float64), 0.7
    up, down = torch.exp(b * field), torch.exp(-b * field)
    mean = (up - down) / (up + down)
    torch.testing.assert_close(field_mean(field, b), mean)
    torch.testing.assert_close(field_variance(field, b), (up + down) / (up + down) - mean.square())


def test_an_undecided_weight_has_mean_0_and_variance_1_and_a_saturated_variance_keeps_its_precision():
    assert field_mean(torch.zeros(1)).item() == 0
    assert field_variance(torch.zeros(1)).item() == 1
    # In float32 1 - tanh(12)^2 is 0; the exact value is 4 e^-24 to first order.
    assert field_variance(torch.tensor(12.0)).item() == pytest.approx(4 * math.exp(-24), rel=1e-4)
    assert field_variance(torch.tensor(-12.0)).item() == pytest.approx(4 * math.exp(-24), rel=1e-4)


def test_stability_agrees_with_every_binary_weight_enumerated():
    field, x = torch.tensor([0.3, -1.2, 0.8, 0.1], dtype=torch.float64), torch.tensor([[1.0, -1, 1, 0.5]], dtype=torch.float64)
    weights = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=4)), dtype=torch.float64)
    chance = torch.softmax(weights @ field, 0)
    z = weights @ x[0]
    mean = (chance * z).sum()
    spread = (chance * z.square()).sum() - mean.square()
    torch.testing.assert_close(stability(field, x)[0], mean / spread.sqrt())
    torch.testing.assert_close(stability(torch.stack([field, -field]), x)[:, 0], torch.stack([mean, -mean]) / spread.sqrt())


def test_pre_activations_have_the_moments_of_sampled_binary_weights():
    torch.manual_seed(1)
    layer = FieldLinear(50, 3)
    layer.sharpness.fill_(0.6)
    inputs = torch.rand(2, 50)
    weights = torch.where(torch.rand(6000, 3, 50) < (1 + layer.mean) / 2, 1.0, -1.0)
    sampled = torch.einsum("koi,ni->kno", weights, inputs) / math.sqrt(50)
    drawn = torch.stack([layer(inputs) for _ in range(6000)])
    mean, variance = layer.moments(inputs)
    for z in (sampled, drawn):
        torch.testing.assert_close(z.mean(0), mean, atol=0.03, rtol=0)
        torch.testing.assert_close(z.var(0), variance, atol=0.03, rtol=0.08)


def test_draws_are_fresh_for_every_unit_and_sample_in_evaluation_too():
    layer = FieldLinear(20, 5).eval()
    same = torch.ones(4, 20)
    assert len(torch.unique((layer(same) - layer.moments(same)[0]).detach())) == 20


def test_certain_weights_make_a_deterministic_network_equal_to_the_settled_one():
    torch.manual_seed(0)
    network = FieldMLP(num_classes=3, input_shape=(2, 4), widths=(6, 5))
    for layer in network.layers:
        layer.field.data.sign_().mul_(1e6)
    x = torch.rand(7, 2, 4)
    assert torch.equal(network(x), network(x))
    torch.testing.assert_close(network(x), network.settled()(x))
    first, second, third = (layer.field.sign() for layer in network.layers)
    hidden = torch.relu(torch.relu(x.flatten(1) @ first.T / math.sqrt(8)) @ second.T / math.sqrt(6))
    torch.testing.assert_close(network.settled()(x), hidden @ third.T / math.sqrt(5))


def test_gradients_are_finite_where_there_is_nothing_to_draw():
    layer = FieldLinear(4, 2)
    layer(torch.zeros(3, 4)).sum().backward()
    assert torch.isfinite(layer.field.grad).all()


def test_the_gradient_of_the_perceptron_is_the_formula():
    torch.manual_seed(0)
    model, b = FieldPerceptron(30).double(), 0.8
    model.sharpness.fill_(b)
    x, y = torch.randint(0, 2, (9, 30)).double() * 2 - 1, torch.tensor([1.0, -1, 1, 1, -1, -1, 1, -1, 1], dtype=torch.float64)
    torch.nn.functional.nll_loss(model(x), (y > 0).long(), reduction="sum").backward()
    m, s = field_mean(model.field.detach(), b), field_variance(model.field.detach(), b)
    total = s.sum()
    u = y * (x @ m) / total.sqrt()
    rho = torch.exp(-u.square() / 2) / math.sqrt(2 * math.pi) / torch.special.ndtr(u)
    slope = b * s * (x / total.sqrt() + m * (x @ m)[:, None] / total**1.5)
    torch.testing.assert_close(model.field.grad, -(rho * y) @ slope)


def test_a_pattern_on_the_border_costs_log_2_and_probabilities_sum_to_one():
    model = FieldPerceptron(4)
    model.field.data.copy_(torch.tensor([1.0, 1, -1, -1]))
    found = model(torch.ones(1, 4))
    assert found.exp().sum().item() == pytest.approx(1)
    assert -found[0, 1].item() == pytest.approx(math.log(2))


def test_saturated_fields_get_no_gradient():
    model = FieldPerceptron(6)
    model.field.data.sign_().mul_(40)
    torch.nn.functional.nll_loss(model(torch.ones(1, 6)), torch.tensor([1])).backward()
    assert model.field.grad.abs().max() < 1e-12


def test_signs_pass_gradients_straight_through_up_to_the_clip():
    layer = SignLinear(3, 1, clip=1.0)
    layer.hidden.data.copy_(torch.tensor([[0.5, -2.0, 0.0]]))
    assert layer.weight.tolist() == [[1.0, -1.0, 1.0]]
    layer(torch.tensor([[1.0, 2.0, 3.0]])).sum().backward()
    torch.testing.assert_close(layer.hidden.grad, torch.tensor([[1.0, 0.0, 3.0]]) / math.sqrt(3))
    free = SignLinear(3, 1)
    free.hidden.data.copy_(layer.hidden.data)
    free(torch.tensor([[1.0, 2.0, 3.0]])).sum().backward()
    torch.testing.assert_close(free.hidden.grad, torch.tensor([[1.0, 2.0, 3.0]]) / math.sqrt(3))
    with torch.no_grad():
        assert torch.equal(free.weight, torch.tensor([[1.0, -1.0, 1.0]]))


def test_what_does_not_fit_is_named():
    with pytest.raises(OptionError, match="positive sizes"):
        FieldLinear(0, 3)
    with pytest.raises(ShapeError, match=r"takes inputs \[N, 8\], got \[2, 9\]"):
        SignMLP(num_classes=2, input_shape=(8,), widths=(3,))(torch.zeros(2, 9))
