from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tutelage.errors import OptionError, ShapeError, TrainingError
from tutelage.models.zero_shot import ZeroShot, constraint_multipliers, few_shot, prototypes


def test_logits_are_scaled_cosines_whatever_the_lengths():
    weights, x = torch.randn(3, 4), torch.randn(5, 4)
    logits = ZeroShot(nn.Identity(), 7 * weights)(2 * x)
    torch.testing.assert_close(logits, 100 * F.cosine_similarity(x[:, None], weights[None], dim=2))
    assert logits.abs().max() <= 100 + 1e-4
    torch.testing.assert_close(ZeroShot(nn.Identity(), weights, scale=5.0)(x), logits / 20)


def test_prototypes_are_means_of_normalised_embeddings():
    embeddings = torch.tensor([[3.0, 0.0], [0.0, 2.0], [0.0, -5.0]])
    found = prototypes(embeddings, torch.tensor([0, 0, 1]))
    torch.testing.assert_close(found, torch.tensor([[0.5, 0.5], [0.0, -1.0]]))
    torch.testing.assert_close(prototypes([embeddings[:2], embeddings[2:]]), found)
    with pytest.raises(ShapeError, match=r"class \[1\]"):
        prototypes(embeddings, torch.tensor([0, 0, 2]))


@pytest.fixture
def few():
    torch.manual_seed(0)
    centres = torch.randn(4, 8)
    labels = torch.arange(4).repeat(5)
    features = centres[labels] + 0.6 * torch.randn(20, 8)
    return ZeroShot(nn.Identity(), centres + 0.9 * torch.randn(4, 8), scale=20.0), features, labels


def test_multipliers_are_mean_probabilities_of_the_right_class(few):
    model, features, labels = few
    logits = model(features)
    found = constraint_multipliers(logits, labels)
    assert found[2].item() == pytest.approx(logits.softmax(1)[labels == 2, 2].mean().item())
    assert bool(((found >= 0) & (found <= 1)).all())
    assert constraint_multipliers(logits[:5], torch.tensor([0, 0, 1, 1, 3]))[2] == 1


def test_an_infinite_constraint_is_zero_shot_and_a_larger_one_moves_less(few):
    model, features, labels = few
    assert torch.equal(few_shot(model, features, labels, constraint=math.inf).prototypes, model.prototypes)
    moved = [
        float((few_shot(model, features, labels, constraint=c, passes=100).prototypes - model.prototypes).norm()) for c in (0.0, 0.5, 5.0)
    ]
    assert moved[0] > moved[1] > moved[2] > 0


def test_fitting_lowers_the_loss_and_leaves_the_given_model_alone(few):
    model, features, labels = few
    before = model.prototypes.clone()
    fitted = few_shot(model, features, labels)
    assert F.cross_entropy(fitted(features), labels) < F.cross_entropy(model(features), labels) - 0.05
    assert torch.equal(model.prototypes, before)
    assert fitted.encoder is model.encoder
    assert torch.equal(fitted.prototypes, few_shot(model, features, labels).prototypes)


def test_one_step_is_that_of_the_formula(few):
    model, features, labels = few
    fitted = few_shot(model, features, labels, passes=1, warmup=0.0, momentum=0.0, learning_rate=0.02)
    weights = model.prototypes.clone().requires_grad_()
    held = constraint_multipliers(model(features), labels)
    loss = F.cross_entropy(20 * F.normalize(features, dim=1) @ F.normalize(weights, dim=1).T, labels)
    loss = loss + (held * (weights - model.prototypes).square().sum(1)).mean()
    (gradient,) = torch.autograd.grad(loss, weights)
    torch.testing.assert_close(fitted.prototypes, (weights - 0.02 * gradient).detach())


def test_a_class_that_zero_shot_knows_is_held_tighter():
    # Two classes equally wrong in their features' direction; the multiplier of the known one is near 1, of the other near 0.
    held = constraint_multipliers(torch.tensor([[5.0, 0.0], [5.0, 0.0]]), torch.tensor([0, 1]))
    assert held[0] > 0.99
    assert held[1] < 0.01


def test_what_does_not_fit_is_named(few):
    model, features, labels = few
    with pytest.raises(OptionError, match="passes=0"):
        few_shot(model, features, labels, passes=0)
    with pytest.raises(ShapeError, match="from 0 to 3"):
        few_shot(model, features, labels + 1)
    with pytest.raises(ShapeError, match="do not fit"):
        model(torch.randn(2, 5))
    with pytest.raises(TrainingError, match="diverged"):
        few_shot(model, features, labels, constraint=1e6, learning_rate=1.0)
    with pytest.raises(OptionError, match="scale"):
        ZeroShot(nn.Identity(), torch.zeros(2, 2), scale=0.0)
    with pytest.raises(ShapeError, match=r"\[C, D\]"):
        ZeroShot(nn.Identity(), torch.zeros(2))
