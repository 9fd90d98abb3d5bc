import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from tutelage import losses
from tutelage.errors import OptionError, ShapeError

repeatable = settings(max_examples=30, derandomize=True, deadline=None)


def features(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_mse_by_hand_and_over_chosen_axes():
    student, teacher = torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[1.0, 0.0], [3.0, 1.0]])
    torch.testing.assert_close(losses.mse(student, teacher), torch.tensor([2.0, 5.0]))
    a, b = features(2, 3, 4, 5), features(2, 3, 4, 5, seed=1)
    assert losses.mse(a, b, dim=1).shape == (2, 4, 5)
    torch.testing.assert_close(losses.mse(a, b, dim=(1, 2, 3)).mean(), functional.mse_loss(a, b))


def test_cosine_by_hand():
    student = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [3.0, 4.0]])
    teacher = torch.tensor([[5.0, 0.0], [0.0, 2.0], [-1.0, 0.0], [1.0, 0.0]])
    torch.testing.assert_close(losses.cosine(student, teacher), torch.tensor([0.0, 1.0, 2.0, 0.4]))


@repeatable
@given(st.integers(0, 10_000), st.floats(0.01, 100.0))
def test_cosine_agrees_with_torch_and_ignores_length(seed, factor):
    student, teacher = features(3, 4, 2, seed=seed), features(3, 4, 2, seed=seed + 1)
    expected = 1.0 - functional.cosine_similarity(student, teacher, dim=1)
    torch.testing.assert_close(losses.cosine(student, teacher, dim=1), expected)
    torch.testing.assert_close(losses.cosine(factor * student, teacher, dim=1), expected)


def test_a_feature_of_no_length_has_a_finite_gradient():
    student = torch.zeros(2, 3, requires_grad=True)
    loss = losses.cosine(student, torch.ones(2, 3))
    torch.testing.assert_close(loss, torch.ones(2))
    loss.sum().backward()
    assert student.grad.abs().max() < 10.0


def test_projected_linear_equals_a_one_by_one_convolution():
    torch.manual_seed(0)
    module = losses.Projected(3, 6, axis=1)
    student, teacher = torch.randn(2, 3, 4, 5), torch.randn(2, 6, 4, 5)
    linear = module.projection[0]
    mapped = functional.conv2d(student, linear.weight[:, :, None, None], linear.bias)
    torch.testing.assert_close(module(student, teacher), (mapped - teacher).square().mean(1))


def test_projected_learns_to_undo_a_change_of_basis():
    torch.manual_seed(0)
    student = torch.randn(64, 4)
    teacher = student @ torch.randn(4, 7)
    module = losses.Projected(4, 7)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.05)
    first = module(student, teacher).mean().item()
    for _ in range(200):
        optimizer.zero_grad()
        loss = losses.mean(module(student, teacher))
        loss.backward()
        optimizer.step()
    assert loss.item() < 1e-3 * first


def test_projected_takes_hidden_layers_and_another_loss():
    module = losses.Projected(4, 7, hidden=(5, 6), loss=losses.cosine)
    assert [layer.out_features for layer in module.projection if isinstance(layer, nn.Linear)] == [5, 6, 7]
    student, teacher = torch.randn(8, 3, 4), torch.randn(8, 3, 7)
    torch.testing.assert_close(module(student, teacher), losses.cosine(module.projection(student), teacher))
    with pytest.raises(ShapeError, match="made for 4"):
        module(torch.randn(8, 3, 5), teacher)


def test_attention_transfer_by_hand():
    # Attention maps (9, 16) / 25-hypotenuse and (1, 0): sums of squares over channels, then length 1.
    student = torch.tensor([[[3.0, 0.0], [0.0, 4.0]]])
    teacher = torch.tensor([[[2.0, 0.0]]])
    length = math.hypot(9.0, 16.0)
    expected = math.hypot(9.0 / length - 1.0, 16.0 / length)
    assert losses.attention_transfer(student, teacher).item() == pytest.approx(expected, abs=1e-6)
    assert losses.attention_transfer(student, teacher, squared=True).item() == pytest.approx(expected**2, abs=1e-6)
    expected = math.hypot(3.0 / 5.0 - 1.0, 4.0 / 5.0)
    assert losses.attention_transfer(student, teacher, power=1.0).item() == pytest.approx(expected, abs=1e-6)


@repeatable
@given(st.integers(0, 10_000), st.sampled_from([1.0, 2.0, 4.0]))
def test_attention_transfer_sees_neither_sign_nor_scale_nor_order_of_channels(seed, power):
    student, teacher = features(3, 4, 2, 2, seed=seed), features(3, 6, 2, 2, seed=seed + 1)
    expected = losses.attention_transfer(student, teacher, power=power)
    assert expected.shape == (3,)
    order = torch.randperm(4, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(losses.attention_transfer(-3.0 * student[:, order], teacher, power=power), expected)
    zero = losses.attention_transfer(student, 2.0 * student, power=power)
    torch.testing.assert_close(zero, torch.zeros(3, dtype=torch.float64), atol=1e-12, rtol=0.0)
    tokens = losses.attention_transfer(student.flatten(2).mT, teacher.flatten(2).mT, power=power, channel_axis=2)
    torch.testing.assert_close(tokens, expected)


def test_attention_transfer_between_equals_has_a_finite_gradient():
    maps = features(2, 3, 4, 4).requires_grad_()
    losses.attention_transfer(maps, maps.detach()).sum().backward()
    assert torch.equal(maps.grad, torch.zeros_like(maps))


def test_gradients():
    student, teacher = features(3, 4, 2).requires_grad_(), features(3, 4, 2, seed=1).requires_grad_()
    for loss in (losses.mse, losses.cosine, losses.attention_transfer):
        assert torch.autograd.gradcheck(loss, (student, teacher))


@pytest.mark.parametrize("loss", [losses.mse, losses.cosine, losses.attention_transfer])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_large_features_in_half_types(loss, dtype):
    student = (1e4 * features(3, 4, 5)).to(dtype).requires_grad_()
    teacher = (1e4 * features(3, 4, 5, seed=1)).to(dtype)
    result = loss(student, teacher)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result.double(), loss(student.detach().double(), teacher.double()), rtol=1e-5, atol=1e-5)
    result.sum().backward()
    assert student.grad.isfinite().all()
    assert student.grad.abs().sum() > 0.0


def test_bad_input_is_refused():
    for loss in (losses.mse, losses.cosine):
        with pytest.raises(ShapeError, match="features"):
            loss(torch.zeros(2, 3), torch.zeros(2, 4))
    with pytest.raises(ShapeError, match="pool or interpolate"):
        losses.attention_transfer(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 8, 8))
    with pytest.raises(ShapeError, match="same number of samples"):
        losses.attention_transfer(torch.zeros(2, 3, 4, 4), torch.zeros(1, 3, 4, 4))
    with pytest.raises(OptionError, match="power"):
        losses.attention_transfer(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4), power=0.5)
