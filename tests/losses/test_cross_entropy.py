import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from tutelage import losses, targets
from tutelage.errors import OptionError, ShapeError

repeatable = settings(max_examples=40, derandomize=True, deadline=None)


def logits_of(*shape, seed=0, scale=3.0):
    return scale * torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_closed_form_values():
    student = torch.tensor([0.6, 0.4]).log()
    assert losses.cross_entropy(student, torch.tensor(1)).item() == pytest.approx(-math.log(0.4), abs=1e-6)
    expected = -0.9 * math.log(0.6) - 0.1 * math.log(0.4)
    assert losses.soft_cross_entropy(student, torch.tensor([0.9, 0.1])).item() == pytest.approx(expected, abs=1e-6)
    # sigmoid(log 3) = 3/4
    expected = -0.2 * math.log(0.75) - 0.8 * math.log(0.25)
    assert losses.sigmoid_cross_entropy(torch.tensor([math.log(3.0)]), torch.tensor([0.2])).item() == pytest.approx(expected, abs=1e-6)


@repeatable
@given(st.integers(0, 10_000), st.sampled_from([0.5, 1.0, 4.0]))
def test_agrees_with_torch(seed, temperature):
    logits = logits_of(4, 3, 5, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(5, (4, 3), generator=generator)
    channels_first = logits.movedim(-1, 1) / temperature
    hard = losses.cross_entropy(logits, labels, temperature=temperature)
    torch.testing.assert_close(hard, functional.cross_entropy(channels_first, labels, reduction="none"))
    target = torch.rand(4, 3, 5, dtype=torch.float64, generator=generator)
    soft = losses.soft_cross_entropy(logits, target / target.sum(-1, keepdim=True), temperature=temperature)
    expected = functional.cross_entropy(channels_first, (target / target.sum(-1, keepdim=True)).movedim(-1, 1), reduction="none")
    torch.testing.assert_close(soft, expected)
    sigmoid = losses.sigmoid_cross_entropy(logits, target, temperature=temperature)
    torch.testing.assert_close(sigmoid, functional.binary_cross_entropy((logits / temperature).sigmoid(), target, reduction="none"))


def test_soft_with_one_hot_is_hard():
    logits, labels = logits_of(6, 4), torch.arange(6) % 4
    torch.testing.assert_close(
        losses.soft_cross_entropy(logits, functional.one_hot(labels, 4).double()), losses.cross_entropy(logits, labels)
    )


def test_soft_is_forward_kl_plus_the_entropy_of_the_target():
    student, teacher = logits_of(5, 4, seed=1), logits_of(5, 4, seed=2)
    soft = losses.soft_cross_entropy(student, targets.soften(teacher, 3.0), temperature=3.0)
    forward = losses.forward_kl(student, teacher, temperature=3.0)
    torch.testing.assert_close(soft, forward + losses.entropy(teacher, temperature=3.0))


def test_sigmoid_is_least_at_the_target_where_it_is_the_binary_entropy():
    target = torch.tensor([0.1, 0.5, 0.7], dtype=torch.float64)
    logits = torch.logit(target).requires_grad_()
    loss = losses.sigmoid_cross_entropy(logits, target)
    torch.testing.assert_close(loss, -target * target.log() - (1 - target) * (1 - target).log())
    loss.sum().backward()
    torch.testing.assert_close(logits.grad, torch.zeros(3, dtype=torch.float64), atol=1e-12, rtol=0.0)
    assert (losses.sigmoid_cross_entropy(logits + 0.3, target) > loss).all()


def test_padding_gives_zero():
    logits = logits_of(2, 3).requires_grad_()
    loss = losses.cross_entropy(logits, torch.tensor([1, -100]))
    assert loss[1].item() == 0.0
    loss.sum().backward()
    assert logits.grad[1].abs().sum() == 0.0
    assert logits.grad[0].abs().sum() > 0.0


def test_gradients():
    logits, target = logits_of(3, 4, scale=1.0).requires_grad_(), torch.rand(3, 4, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 3, 1])
    assert torch.autograd.gradcheck(lambda x: losses.cross_entropy(x, labels, temperature=1.7), (logits,))
    assert torch.autograd.gradcheck(lambda x, q: losses.soft_cross_entropy(x, q, temperature=1.7), (logits, target))
    assert torch.autograd.gradcheck(lambda x, q: losses.sigmoid_cross_entropy(x, q, temperature=1.7), (logits, target))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_extreme_logits(dtype):
    logits = torch.tensor([[1e4, -1e4, 0.0], [-1e4, -1e4, 1e4]], dtype=dtype, requires_grad=True)
    magnitude = logits[0, 0].item()
    hard = losses.cross_entropy(logits, torch.tensor([1, 2]))
    torch.testing.assert_close(hard, torch.tensor([2.0 * magnitude, 0.0]))
    soft = losses.soft_cross_entropy(logits, torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], dtype=dtype))
    torch.testing.assert_close(soft, hard)
    sigmoid = losses.sigmoid_cross_entropy(logits, torch.tensor([[0.0, 1.0, 0.5], [0.0, 0.0, 1.0]], dtype=dtype))
    torch.testing.assert_close(sigmoid, torch.tensor([[magnitude, magnitude, math.log(2.0)], [0.0, 0.0, 0.0]]))
    (hard.sum() + soft.sum() + sigmoid.sum()).backward()
    assert logits.grad.isfinite().all()
    assert logits.grad.abs().sum() > 0.0


def test_an_excluded_class_without_target_mass_adds_nothing():
    logits = torch.tensor([[0.0, 1.0, -math.inf]], requires_grad=True)
    loss = losses.soft_cross_entropy(logits, torch.tensor([[0.5, 0.5, 0.0]]))
    torch.testing.assert_close(loss, losses.soft_cross_entropy(torch.tensor([[0.0, 1.0]]), torch.tensor([[0.5, 0.5]])))
    loss.sum().backward()
    assert logits.grad.isfinite().all()


def test_bad_input_is_refused():
    logits = logits_of(2, 3)
    with pytest.raises(ShapeError, match="labels of shape"):
        losses.cross_entropy(logits, torch.zeros(3, dtype=torch.int64))
    for loss in (losses.soft_cross_entropy, losses.sigmoid_cross_entropy):
        with pytest.raises(ShapeError, match="target probabilities"):
            loss(logits, torch.zeros(2, 4))
        with pytest.raises(OptionError, match="temperature"):
            loss(logits, torch.zeros(2, 3), temperature=0.0)
