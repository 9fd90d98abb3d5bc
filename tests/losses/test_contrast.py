import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from tutelage import losses
from tutelage.errors import OptionError, ShapeError

repeatable = settings(max_examples=30, derandomize=True, deadline=None)


def features(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_by_hand():
    # Own similarity 1, other similarity 0: log(1 + exp(-1 / temperature)).
    loss = losses.contrastive(torch.eye(2), 5.0 * torch.eye(2), temperature=0.5)
    torch.testing.assert_close(loss, torch.full((2,), math.log1p(math.exp(-2.0))))
    # All teachers alike: nothing to tell apart.
    loss = losses.contrastive(torch.eye(3), torch.ones(3, 3))
    torch.testing.assert_close(loss, torch.full((3,), math.log(3.0)))


@repeatable
@given(st.integers(0, 10_000), st.sampled_from([0.07, 0.5, 1.0]))
def test_agrees_with_torch_and_ignores_length_and_rotation(seed, temperature):
    student, teacher = features(5, 4, seed=seed), features(5, 4, seed=seed + 1)
    similarity = functional.normalize(student, dim=1) @ functional.normalize(teacher, dim=1).T
    expected = functional.cross_entropy(similarity / temperature, torch.arange(5), reduction="none")
    torch.testing.assert_close(losses.contrastive(student, teacher, temperature=temperature), expected)
    rotation = torch.linalg.qr(features(4, 4, seed=seed + 2))[0]
    torch.testing.assert_close(losses.contrastive(3.0 * student @ rotation, teacher @ rotation, temperature=temperature), expected)


def test_samples_of_the_same_class_are_no_negatives():
    student, teacher = features(4, 3), features(4, 3, seed=1)
    labels = torch.tensor([0, 0, 1, 2])
    loss = losses.contrastive(student, teacher, labels=labels)
    without = losses.contrastive(student[[0, 2, 3]], teacher[[0, 2, 3]])
    torch.testing.assert_close(loss[0], without[0])
    torch.testing.assert_close(loss[2], losses.contrastive(student, teacher)[2])
    torch.testing.assert_close(losses.contrastive(student, teacher, labels=torch.arange(4)), losses.contrastive(student, teacher))
    assert losses.contrastive(student, teacher, labels=torch.zeros(4)).abs().max().item() == 0.0


def test_gradients():
    student, teacher = features(4, 3).requires_grad_(), features(4, 3, seed=1).requires_grad_()
    labels = torch.tensor([0, 0, 1, 1])
    assert torch.autograd.gradcheck(lambda s, t: losses.contrastive(s, t, temperature=0.5, labels=labels), (student, teacher))


def test_large_dead_and_half_features_have_finite_gradients():
    student = (1e4 * features(4, 3)).bfloat16()
    student[0] = 0.0
    student.requires_grad_()
    loss = losses.contrastive(student, (1e4 * features(4, 3, seed=1)).bfloat16())
    assert loss.dtype == torch.float32
    assert loss.isfinite().all()
    loss.sum().backward()
    assert student.grad.isfinite().all()


def test_module_compares_features_of_different_widths_and_learns():
    torch.manual_seed(0)
    teacher = torch.randn(32, 2, 5)
    student = teacher.flatten(1) @ torch.randn(10, 6)
    module = losses.Contrastive(6, 10, width=8)
    first = module(student, teacher)
    assert first.shape == (32,)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        loss = losses.mean(module(student, teacher))
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.3 * first.mean().item()
    labels = torch.arange(32) // 2
    assert (module(student, teacher, labels) <= module(student, teacher) + 1e-6).all()


def test_bad_input_is_refused():
    with pytest.raises(OptionError, match="temperature"):
        losses.contrastive(torch.eye(2), torch.eye(2), temperature=0.0)
    with pytest.raises(ShapeError, match="features"):
        losses.contrastive(torch.zeros(2, 3), torch.zeros(2, 4))
    with pytest.raises(ShapeError, match="same number of samples"):
        losses.Contrastive(3, 3)(torch.zeros(2, 3), torch.zeros(3, 3))
