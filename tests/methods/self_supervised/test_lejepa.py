from __future__ import annotations

import dataclasses
import inspect

import pytest
import torch
from torch import nn

from tutelage import losses as L
from tutelage import models, views
from tutelage.errors import OptionError
from tutelage.methods.self_supervised.lejepa import LeJEPA, corrected_loss
from tutelage.recipes.self_supervised.lejepa import OPTIONS
from tutelage.views import MultiCrop, Seen


class Given:
    """Shows views that were made beforehand."""

    def __init__(self, wide, narrow=None):
        self.seen = Seen(wide, narrow)

    def __call__(self, images, generator):
        return self.seen


def sample(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def identity(wide, narrow=None, **options):
    """LeJEPA whose embeddings are the views themselves, [V, N, K, 1, 1]."""
    made = {"slices": 16} | options
    return LeJEPA(nn.Flatten(), nn.Identity(), Given(wide[..., None, None], None if narrow is None else narrow[..., None, None]), **made)


def network(seed=0):
    torch.manual_seed(seed)
    return models.backbone("tutelage:cnn?widths=4,8&grid=1", (1, 8, 8))[0], models.Projector(8, 6, hidden=(16,))


IMAGES = {"input": torch.rand(12, 1, 8, 8, generator=torch.Generator().manual_seed(3)), "label": torch.arange(12) % 3}
CROPS = MultiCrop(views.random_resized_crop(scale=(0.3, 1.0)), views.random_resized_crop(4, scale=(0.05, 0.3)), narrow_count=3)


def test_prediction_is_the_distance_to_the_mean_of_the_global_views():
    wide, narrow = sample(2, 5, 4), sample(3, 5, 4, seed=1)
    losses = identity(wide, narrow, weight=0.2).losses({"input": None})
    every = torch.cat([wide, narrow])
    expected = sum((wide.mean(0) - z).square().sum() for z in every) / (5 * 5 * 4)
    torch.testing.assert_close(losses["prediction"], 0.8 * expected)


def test_with_global_views_alone_prediction_is_the_variance_within_samples():
    wide = sample(4, 6, 3)
    losses = identity(wide, weight=0.0).losses({"input": None})
    torch.testing.assert_close(losses["prediction"], wide.var(0, correction=0).mean())


def test_prediction_is_zero_only_when_all_views_coincide():
    same = sample(1, 5, 4).expand(3, 5, 4)
    assert identity(same).losses({"input": None})["prediction"].item() < 1e-30
    other = same.clone()
    other[2, 4, 3] += 1e-3
    assert identity(other).losses({"input": None})["prediction"].item() > 0


def test_sigreg_is_applied_to_each_view_and_averaged():
    wide, narrow = sample(2, 9, 4), 2 * sample(1, 9, 4, seed=1)
    method = identity(wide, narrow, weight=0.5)
    directions = L.random_directions(16, 4, seed=0).double()
    each = [L.sigreg(z, directions) for z in (*wide, *narrow)]
    torch.testing.assert_close(method.losses({"input": None})["sigreg"], 0.5 * torch.stack(each).mean())


def test_a_weight_of_one_ignores_which_views_belong_together():
    wide = sample(2, 9, 4)
    shuffled = torch.stack([wide[0], wide[1, torch.randperm(9)]])
    values = [sum(identity(z, weight=1.0).losses({"input": None}).values()) for z in (wide, shuffled)]
    torch.testing.assert_close(*values)
    assert identity(wide, weight=1.0).losses({"input": None})["prediction"].item() == 0


def test_a_weight_of_zero_has_the_constant_encoder_as_its_minimum():
    constant = torch.ones(3, 7, 4, dtype=torch.float64)
    assert sum(identity(constant, weight=0.0).losses({"input": None}).values()).item() == 0
    assert sum(identity(constant, weight=0.05).losses({"input": None}).values()).item() > 0.05


def test_directions_are_new_at_every_step_and_the_same_for_the_same_step():
    method = identity(sample(2, 9, 4))
    values = []
    for step in (0, 1, 0):
        method.steps_done = step
        values.append(method.losses({"input": None})["sigreg"].item())
    assert values[0] == values[2] != values[1]


def test_gradients_flow_through_the_centre_and_every_view():
    wide, narrow = sample(2, 5, 4).requires_grad_(), sample(2, 5, 4, seed=1).requires_grad_()
    losses = identity(wide, narrow, weight=0.0).losses({"input": None})
    losses["prediction"].backward()
    z, mu = torch.cat([wide, narrow]).detach(), wide.detach().mean(0)
    whole = 2 * (z - mu) / (4 * 5 * 4)
    through_centre = -(whole.sum(0)) / 2  # each global view is half of the centre
    torch.testing.assert_close(wide.grad, whole[:2] + through_centre)
    torch.testing.assert_close(narrow.grad, whole[2:])


def test_a_detached_centre_leaves_its_part_of_the_gradient_out():
    narrow = sample(2, 5, 4, seed=1)
    gradients = {}
    for target in ("live", "detached"):
        wide = sample(2, 5, 4).requires_grad_()
        identity(wide, narrow, weight=0.0, target=target).losses({"input": None})["prediction"].backward()
        gradients[target] = wide.grad
    assert (gradients["live"] - gradients["detached"]).abs().max() > 0.01
    # Where all views are global the distances to their mean cancel, and stopping the gradient changes nothing.
    for target in ("live", "detached"):
        wide = sample(3, 5, 4).requires_grad_()
        identity(wide, weight=0.0, target=target).losses({"input": None})["prediction"].backward()
        gradients[target] = wide.grad
    torch.testing.assert_close(gradients["live"], gradients["detached"])


def test_the_whole_loss_agrees_with_finite_differences():
    narrow = sample(1, 4, 3, seed=1)

    def total(wide):
        return sum(identity(wide, narrow, weight=0.3).losses({"input": None}).values())

    assert torch.autograd.gradcheck(total, sample(2, 4, 3).requires_grad_())


def test_views_of_two_sizes_pass_the_encoder_in_two_calls():
    student, projector = network()
    sizes = []
    student.register_forward_hook(lambda module, inputs, output: sizes.append(tuple(inputs[0].shape)))
    method = LeJEPA(student, projector, CROPS, slices=8)
    losses = method.losses(IMAGES)
    assert sizes == [(24, 1, 8, 8), (36, 1, 4, 4)]
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in [*student.parameters(), *projector.parameters()])


def test_the_averaged_teacher_gives_the_centre_and_follows():
    student, projector = network()
    method = LeJEPA(student, projector, CROPS, slices=8, target="teacher", weight=0.0)
    method.train()
    assert {id(p) for p in method.players()["student"].parameters} == {id(p) for p in [*student.parameters(), *projector.parameters()]}
    seen = CROPS(IMAGES["input"], torch.Generator().manual_seed(0))
    centre = method.centre(seen, torch.zeros(5, 12, 6))
    with torch.no_grad():
        expected = projector(student(seen.wide.flatten(0, 1))).view(2, 12, 6).mean(0)
    torch.testing.assert_close(centre, expected)  # a copy at the start
    assert not centre.requires_grad
    with torch.no_grad():
        student.stages[0][0].weight.add_(1.0)
    method.update_teachers()
    torch.testing.assert_close(method.teacher.model[0].stages[0][0].weight, student.stages[0][0].weight)  # the plain mean of one
    assert LeJEPA(*network(), CROPS).teacher is None


def test_a_predictor_stands_between_embeddings_and_centre():
    wide = sample(2, 5, 4)
    predictor = nn.Linear(4, 4).double()
    method = LeJEPA(nn.Flatten(), nn.Identity(), Given(wide[..., None, None]), predictor, weight=0.0, slices=4)
    expected = (wide.mean(0) - predictor(wide)).square().mean()
    torch.testing.assert_close(method.losses({"input": None})["prediction"], expected)


def test_the_probe_learns_from_detached_features_and_needs_labels():
    student, projector = network()
    probe = nn.Linear(8, 3)
    method = LeJEPA(student, projector, CROPS, None, probe, slices=8)
    loss = method.losses(IMAGES)["probe"]
    loss.backward()
    assert probe.weight.grad.abs().max() > 0
    assert all(p.grad is None for p in student.parameters())
    assert 0 <= method.take_logged()["probe_accuracy"].item() <= 100
    assert "probe" not in method.losses({"input": IMAGES["input"]})


def test_the_corrected_loss_is_logged_and_needs_a_weight():
    method = identity(sample(2, 9, 4), weight=0.05)
    total = sum(method.losses({"input": None}).values())
    torch.testing.assert_close(method.take_logged()["corrected"], total / 0.05**0.4)
    assert "corrected" not in (identity(sample(2, 9, 4), weight=0.0).losses({"input": None}), {})[1]
    with pytest.raises(OptionError, match="cannot be corrected"):
        corrected_loss(torch.tensor(1.0), 0.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"weight": 1.5},
        {"weight": -0.1},
        {"slices": 0},
        {"target": "frozen"},
        {"knots": 1},
        {"reach": 0.0},
        {"line": "both"},
        {"momentum": 2.0, "target": "teacher"},
    ],
)
def test_wrong_options_are_named(wrong):
    with pytest.raises(OptionError, match=next(iter(wrong))):
        LeJEPA(*network(), CROPS, **wrong)


def test_an_unknown_test_is_offered_the_nearest():
    with pytest.raises(OptionError, match="epps-pulley"):
        LeJEPA(*network(), CROPS, test="eps-pulley")


def test_options_are_the_keyword_arguments():
    keywords = {p.name: p.default for p in inspect.signature(LeJEPA).parameters.values() if p.kind is p.KEYWORD_ONLY}
    fields = {f.name: f.default for f in dataclasses.fields(OPTIONS)}
    assert keywords.items() <= fields.items()
