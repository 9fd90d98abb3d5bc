import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage import losses
from tutelage.errors import ShapeError

repeatable = settings(max_examples=40, derandomize=True, deadline=None)


def test_plain_mean():
    assert losses.mean(torch.tensor([1.0, 2.0, 6.0])).item() == 3.0


def test_weighted_mean():
    loss = torch.tensor([1.0, 2.0, 6.0])
    assert losses.mean(loss, torch.tensor([1.0, 0.0, 3.0])).item() == pytest.approx(19.0 / 4.0)
    assert losses.mean(loss, torch.tensor([True, False, True])).item() == pytest.approx(3.5)


@repeatable
@given(st.lists(st.tuples(st.floats(-100, 100), st.floats(0.01, 10)), min_size=1, max_size=8), st.floats(0.1, 10))
def test_only_ratios_of_weights_count(pairs, factor):
    loss, weight = torch.tensor(pairs, dtype=torch.float64).T
    expected = (loss * weight).sum() / weight.sum()
    torch.testing.assert_close(losses.mean(loss, weight), expected)
    torch.testing.assert_close(losses.mean(loss, factor * weight), expected)
    torch.testing.assert_close(losses.mean(loss, torch.ones_like(loss)), losses.mean(loss))


def test_weight_of_leading_axes():
    loss = torch.arange(6.0).reshape(2, 3)
    assert losses.mean(loss, torch.tensor([1.0, 0.0])).item() == 1.0
    assert losses.mean(loss, torch.tensor([1.0, 3.0])).item() == pytest.approx((1.0 + 3.0 * 4.0) / 4.0)
    assert losses.mean(loss, torch.tensor(2.0)).item() == 2.5


def test_nothing_selected_is_zero_with_a_graph():
    parameter = torch.tensor([1.0, 2.0], requires_grad=True)
    result = losses.mean(parameter**2, torch.zeros(2))
    assert result.item() == 0.0
    result.backward()
    assert torch.equal(parameter.grad, torch.zeros(2))


def test_no_elements_is_zero_with_a_graph():
    for weight in (None, torch.zeros(0)):
        parameter = torch.zeros(0, 3, requires_grad=True)
        result = losses.mean(parameter.sum(-1), weight)
        result.backward()
        assert result.item() == 0.0
        assert parameter.grad.shape == (0, 3)


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
def test_elements_without_weight_take_no_part_whatever_they_hold(bad):
    loss = torch.tensor([1.0, bad, 3.0], requires_grad=True)
    weight = torch.tensor([1.0, 0.0, 1.0], requires_grad=True)
    result = losses.mean(loss, weight)
    assert result.item() == 2.0
    result.backward()
    assert torch.equal(loss.grad, torch.tensor([0.5, 0.0, 0.5]))
    # (l - mean) / sum(w), with the loss without weight taken as 0
    torch.testing.assert_close(weight.grad, torch.tensor([-0.5, -1.0, 0.5]))
    assert losses.mean(loss, torch.zeros(3)).item() == 0.0


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_elements_with_weight_show(bad):
    loss = torch.tensor([1.0, bad])
    assert not losses.mean(loss, torch.ones(2)).isfinite()
    assert not losses.mean(loss).isfinite()


def test_gradient_reaches_loss_and_weight():
    loss = torch.rand(4, 3, dtype=torch.float64, requires_grad=True)
    weight = (torch.rand(4, dtype=torch.float64) + 0.1).requires_grad_()
    assert torch.autograd.gradcheck(losses.mean, (loss, weight))


def test_half_types_are_averaged_in_float32():
    loss = torch.full((5000,), 3.0, dtype=torch.bfloat16)
    for weight in (None, torch.ones(5000, dtype=torch.bfloat16)):
        result = losses.mean(loss, weight)
        assert result.dtype == torch.float32
        assert result.item() == 3.0


@pytest.mark.parametrize("shape", [(3,), (2, 1), (2, 3, 1)])
def test_weights_that_do_not_fit_are_refused(shape):
    with pytest.raises(ShapeError, match="leading axes"):
        losses.mean(torch.zeros(2, 3), torch.ones(shape))
