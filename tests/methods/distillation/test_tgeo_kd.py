"""TGeo-KD against the facts of its formulas: gradients, geometry, the bilevel step, and what each player may touch."""

from __future__ import annotations

import copy
import dataclasses
import inspect

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from tutelage import losses as L
from tutelage import schedules
from tutelage.errors import OptionError, ShapeError
from tutelage.methods.distillation.tgeo_kd import TGeoKD
from tutelage.recipes.distillation.tgeo_kd import OPTIONS
from tutelage.targets.class_means import class_means
from tutelage.teachers import Frozen
from tutelage.train import Engine, TrainOptions
from tutelage.train.bilevel import surrogate
from tutelage.train.trainer import launch

CLASSES, FEATURES, N, M = 4, 6, 12, 9


def data(seed: int = 0):
    generator = torch.Generator().manual_seed(seed)

    def some(n):
        return {
            "input": torch.randn(n, FEATURES, generator=generator),
            "label": torch.randint(0, CLASSES, (n,), generator=generator),
        }

    return some(N) | {"held_out": some(M)}


def build(seed: int = 0, student: nn.Module | None = None, teacher: nn.Module | None = None, **options) -> TGeoKD:
    torch.manual_seed(seed)
    student, teacher = student or nn.Linear(FEATURES, CLASSES), teacher or nn.Linear(FEATURES, CLASSES)
    means = torch.softmax(torch.randn(CLASSES, CLASSES), dim=1)
    return TGeoKD(student, Frozen(teacher), means, **options)


def half(method: TGeoKD) -> TGeoKD:
    """Zero the last layer of the ratio network."""
    for parameter in method.ratio_network.layers[-1].parameters():
        nn.init.zeros_(parameter)
    return method


def engine_for(method: TGeoKD, **train) -> Engine:
    options = TrainOptions(accelerator="cpu", schedule="constant", learning_rate=0.1, **train)
    from tutelage.train.optim import optimizer_factory, scheduler_factory

    return Engine(method, launch(options), optimizer=optimizer_factory(options), scheduler=scheduler_factory(options, 10, 10))


def gradient(module: nn.Module, loss: torch.Tensor) -> torch.Tensor:
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(module.parameters()))])


def test_fact_1_a_zero_last_layer_is_a_fixed_ratio_of_one_half():
    method, batch = half(build()), data()
    student, teacher = method.student(batch["input"]), method.teacher(batch["input"])
    assert torch.equal(method.ratios(student, teacher, batch["label"]), torch.full((N,), 0.5))
    fixed = build(ratio=0.5)
    for name, loss in method.losses(batch).items():
        torch.testing.assert_close(loss, fixed.losses(batch)[name])


@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_fact_2_the_ends_are_plain_cross_entropy_and_pure_distillation(ratio):
    method, batch = build(ratio=ratio), data()
    logits, teacher = method.student(batch["input"]), method.teacher(batch["input"])
    soft = F.kl_div(F.log_softmax(logits / 4, 1), F.softmax(teacher / 4, 1), reduction="batchmean") * 16
    pure = soft if ratio else F.cross_entropy(logits, batch["label"])
    got = gradient(method.student, sum(method.losses(batch).values()))
    torch.testing.assert_close(got, gradient(method.student, pure), atol=1e-6, rtol=0)


def per_sample(method, batch):
    """The ratios as leaves, and each sample's loss."""
    student, teacher = method.student(batch["input"]), method.teacher(batch["input"])
    ratios = method.ratios(student, teacher, batch["label"]).detach().requires_grad_()
    soft, hard = method.terms(student, teacher, batch["label"])
    return ratios, ratios * soft + (1 - ratios) * hard, soft, hard


def test_fact_3_a_student_equal_to_its_teacher_can_only_gain_from_the_teacher():
    model = nn.Linear(FEATURES, CLASSES)
    method, batch = build(student=copy.deepcopy(model), teacher=model), data()
    ratios, loss, soft, hard = per_sample(method, batch)
    torch.testing.assert_close(soft, torch.zeros(N), atol=1e-5, rtol=0)
    (slope,) = torch.autograd.grad(loss.sum(), ratios)
    torch.testing.assert_close(slope, -hard, atol=1e-5, rtol=0)


def test_fact_4_the_slope_in_the_ratio_is_the_difference_of_the_terms():
    method, batch = build(seed=1), data(1)
    ratios, loss, _, _ = per_sample(method, batch)
    (slope,) = torch.autograd.grad(loss.sum(), ratios)
    logits, teacher = method.student(batch["input"]), method.teacher(batch["input"])
    kl = F.kl_div(F.log_softmax(logits / 4, 1), F.softmax(teacher / 4, 1), reduction="none").sum(1)
    torch.testing.assert_close(slope, 16 * kl - F.cross_entropy(logits, batch["label"], reduction="none"), atol=1e-5, rtol=1e-5)


def test_fact_5_a_perfect_teacher_makes_the_identity_and_no_edge_to_the_label():
    labels = torch.arange(20) % CLASSES
    one_hot = F.one_hot(labels, CLASSES).float()
    means = class_means(one_hot, labels, CLASSES)
    assert torch.equal(means, torch.eye(CLASSES))
    assert torch.equal((means[labels] - one_hot).square(), torch.zeros(20, CLASSES))


class WithRatios(nn.Module):
    """Stands in for the ratio network: a ratio per sample, a parameter of its own."""

    def __init__(self, ratios):
        super().__init__()
        self.raw = nn.Parameter(ratios)

    def forward(self, state):
        return self.raw


def linear_problem(seed: int):
    method, batch = build(seed).double(), data(seed)
    batch["input"], batch["held_out"]["input"] = batch["input"].double(), batch["held_out"]["input"].double()
    method.ratio_network = WithRatios(torch.rand(N, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))
    return method, batch


def held_out_after(method, batch, ratios, eta):
    """Held-out loss after the virtual step, written from scratch for a linear student."""
    weight, bias = method.student.weight.detach().clone().requires_grad_(), method.student.bias.detach().clone().requires_grad_()
    logits, teacher, label = F.linear(batch["input"], weight, bias), method.teacher(batch["input"]), batch["label"]
    kl = F.kl_div(F.log_softmax(logits / 4, 1), F.softmax(teacher / 4, 1), reduction="none").sum(1)
    inner = (ratios * 16 * kl + (1 - ratios) * F.cross_entropy(logits, label, reduction="none")).mean()
    d_weight, d_bias = torch.autograd.grad(inner, (weight, bias))
    ahead = F.linear(batch["held_out"]["input"], weight - eta * d_weight, bias - eta * d_bias)
    return float(F.cross_entropy(ahead, batch["held_out"]["label"]).detach())


def test_fact_6_the_hypergradient_equals_finite_differences_on_a_linear_student():
    method, batch = linear_problem(2)
    (got,), value = method.ratio_gradients(batch, method.teacher(batch["input"]), 0.2)
    ratios = method.ratio_network.raw.detach()
    assert float(value) == pytest.approx(held_out_after(method, batch, ratios, 0.2), abs=1e-12)
    for i in range(N):
        shift = torch.zeros(N, dtype=torch.float64)
        shift[i] = 1e-5
        slope = (held_out_after(method, batch, ratios + shift, 0.2) - held_out_after(method, batch, ratios - shift, 0.2)) / 2e-5
        assert float(got[i]) == pytest.approx(slope, abs=1e-8)


def test_fact_6_the_hypergradient_is_the_stated_inner_product():
    method, batch = linear_problem(3)
    eta, student, params = 0.2, method.student, list(method.student.parameters())
    teacher, label = method.teacher(batch["input"]), batch["label"]
    (got,), _ = method.ratio_gradients(batch, teacher, eta)

    soft, hard = method.terms(student(batch["input"]), teacher, label)
    ratios = method.ratio_network.raw.detach()
    inner = torch.autograd.grad((ratios * soft + (1 - ratios) * hard).mean(), params, retain_graph=True)
    ahead = {n: (p - eta * g).detach().requires_grad_() for (n, p), g in zip(student.named_parameters(), inner, strict=True)}
    held = batch["held_out"]
    outer = L.mean(L.cross_entropy(functional_call(student, ahead, (held["input"],)), held["label"]))
    v = torch.autograd.grad(outer, list(ahead.values()))
    for i in range(N):
        g = torch.autograd.grad((soft - hard)[i], params, retain_graph=True)
        product = sum((a * b).sum() for a, b in zip(v, g, strict=True))
        assert float(got[i]) == pytest.approx(float(-eta / N * product), abs=1e-10)


def test_fact_6_through_the_real_network_equals_one_graph_through_everything():
    method, batch = build(4, student=nn.Sequential(nn.Linear(FEATURES, 8), nn.ReLU(), nn.Linear(8, CLASSES))), data(4)
    teacher, label, eta = method.teacher(batch["input"]), batch["label"], 0.2
    got, _ = method.ratio_gradients(batch, teacher, eta)
    theta = dict(method.student.named_parameters())
    student = method.student(batch["input"])
    ratios = method.ratios(student, teacher, label)
    soft, hard = method.terms(student, teacher, label)
    slopes = torch.autograd.grad((ratios * soft + (1 - ratios) * hard).mean(), list(theta.values()), create_graph=True)
    ahead = {n: p - eta * g for (n, p), g in zip(theta.items(), slopes, strict=True)}
    held = batch["held_out"]
    outer = F.cross_entropy(functional_call(method.student, ahead, (held["input"],)), held["label"])
    want = torch.autograd.grad(outer, list(method.ratio_network.parameters()))
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, atol=1e-7, rtol=1e-4)


def test_fact_7_no_gradient_of_the_students_losses_reaches_the_ratio_network():
    method, batch = build(), data()
    sum(method.losses(batch).values()).backward()
    assert all(p.grad is None for p in method.ratio_network.parameters())
    assert all(p.grad is not None for p in method.student.parameters())


@pytest.mark.parametrize("first_order", [False, True])
def test_fact_7_the_outer_step_leaves_the_student_alone(first_order):
    torch.manual_seed(0)
    student = nn.Sequential(nn.Linear(FEATURES, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, CLASSES))
    method, batch = build(student=student, first_order=first_order), data()
    before = copy.deepcopy(student.state_dict())
    gradients, _ = method.ratio_gradients(batch, method.teacher(batch["input"]), 0.1)
    surrogate(list(method.ratio_network.parameters()), gradients).backward()
    assert all(torch.equal(before[n], v) for n, v in student.state_dict().items())
    assert all(p.grad is None for p in student.parameters())
    assert any(p.grad.abs().sum() > 0 for p in method.ratio_network.parameters())


def test_fact_8_the_state_has_nine_numbers_per_class():
    assert build().triangles.size(10) == 90
    assert build().ratio_network.layers[0].in_features == 9 * CLASSES


@pytest.mark.parametrize("edges", ["sq", "dist"])
def test_fact_9_renaming_the_classes_leaves_the_ratios(edges):
    method, batch = build(5, edges=edges), data(5)
    student, teacher, label = method.student(batch["input"]).detach(), method.teacher(batch["input"]), batch["label"]
    order = torch.tensor([2, 0, 3, 1])
    renamed = copy.deepcopy(method)
    renamed.class_means.copy_(method.class_means[order][:, order])
    blocks, rest = (9, 0) if edges == "sq" else (4, 5)
    columns = torch.cat([CLASSES * b + order for b in range(blocks)] + [torch.arange(rest) + CLASSES * blocks])
    with torch.no_grad():
        renamed.ratio_network.layers[0].weight.copy_(method.ratio_network.layers[0].weight[:, columns])
    new_label = torch.argsort(order)[label]
    torch.testing.assert_close(renamed.ratios(student[:, order], teacher[:, order], new_label), method.ratios(student, teacher, label))


def test_fact_10_the_teacher_is_trusted_where_it_helps_the_held_out_loss():
    """Two inputs that share no weight; on the first the teacher knows what held-out labels say, on the second it is wrong."""
    x = torch.eye(2)
    teacher = nn.Linear(2, 2, bias=False)
    student = nn.Linear(2, 2, bias=False)
    nn.init.zeros_(student.weight)
    with torch.no_grad():
        teacher.weight.copy_(torch.tensor([[6.0, 6.0], [-6.0, -6.0]]))
    method = TGeoKD(student, Frozen(teacher), torch.full((2, 2), 0.5))
    method.ratio_network = WithRatios(torch.full((2,), 0.5))
    batch = {"input": x, "label": torch.tensor([1, 1]), "held_out": {"input": x, "label": torch.tensor([0, 1])}}
    (slope,), _ = method.ratio_gradients(batch, method.teacher(x), 0.1)
    assert slope[0] < 0 < slope[1]


def test_a_step_moves_ratio_network_and_student_with_their_own_optimizers():
    method, batch = build(), data()
    engine = engine_for(method, momentum=0.0)
    twin = copy.deepcopy(method)
    got = method.step(batch, engine)

    gradients, _ = twin.ratio_gradients(batch, twin.teacher(batch["input"]), 0.1)
    adam = torch.optim.Adam(twin.ratio_network.parameters(), lr=1e-3)
    for parameter, slope in zip(twin.ratio_network.parameters(), gradients, strict=True):
        parameter.grad = slope
    adam.step()
    losses = twin.losses(batch)
    slopes = torch.autograd.grad(sum(losses.values()), list(twin.student.parameters()))
    for parameter, slope in zip(twin.student.parameters(), slopes, strict=True):
        parameter.data -= 0.1 * slope
    for a, b in zip(method.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    for name, loss in losses.items():
        torch.testing.assert_close(got[name], loss)
    assert all(p.grad is None for p in method.parameters())


def test_the_ratio_network_moves_every_so_many_steps():
    method, batch = build(outer_every=3), data()
    engine = engine_for(method)
    moved = []
    for step in range(6):
        before = copy.deepcopy(method.ratio_network.state_dict())
        method.steps_done = step
        method.step(batch, engine)
        moved.append(any(not torch.equal(before[n], v) for n, v in method.ratio_network.state_dict().items()))
    assert moved == [True, False, False, True, False, False]


def test_a_fixed_ratio_has_no_network_and_needs_no_held_out_data():
    method, batch = build(ratio=0.9), data()
    del batch["held_out"]
    assert list(method.players()) == ["student"]
    method.step(batch, engine_for(method))
    assert float(method.take_logged()["ratio"]) == pytest.approx(0.9)


def test_an_annealed_ratio_follows_progress():
    method, batch = build(ratio=schedules.linear(0.9, 0.1)), data()
    engine = engine_for(method)
    seen = []
    for method.progress in (0.0, 0.5, 1.0):
        method.step(batch, engine)
        seen.append(float(method.take_logged()["ratio"]))
    assert seen == pytest.approx([0.9, 0.5, 0.1])


def test_ratios_of_marked_outliers_are_watched():
    method, batch = build(), data()
    batch["is_outlier"] = torch.arange(N) < 3
    method.ratio_network = WithRatios(torch.arange(N) / N)
    method.step(batch, engine_for(method))
    logged = method.take_logged()
    assert float(logged["ratio"]) == pytest.approx(float((torch.arange(N) / N).mean()), abs=2e-3)
    assert float(logged["ratio_outliers"]) == pytest.approx(1 / N, abs=2e-3)
    assert float(logged["ratio_others"]) == pytest.approx(float((torch.arange(3, N) / N).mean()), abs=2e-3)
    assert float(logged["held_out"]) > 0
    batch["is_outlier"] = torch.zeros(N, dtype=torch.bool)
    method.step(batch, engine_for(method))
    assert "ratio_outliers" not in method.take_logged()


def test_one_view_serves_the_virtual_and_the_real_step():
    seen = []

    def view(images, generator):
        seen.append(images)
        return images + 1

    batch = data()
    method = build(view=view)
    plain = build()
    plain.step(batch | {"input": batch["input"] + 1}, engine_for(plain))
    method.step(batch, engine_for(method))
    assert len(seen) == 1
    for a, b in zip(method.parameters(), plain.parameters(), strict=True):
        assert torch.equal(a, b)


def test_only_the_student_answers():
    method, batch = build(), data()
    assert torch.equal(method.predict(batch), method.student(batch["input"]))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"ratio": 1.5}, "ratio is 1.5"),
        ({"outer_every": 0}, "outer_every is 0"),
        ({"edges": "cosine"}, "edges is 'cosine'"),
        ({"intra": False, "inter": False}, "no triangle"),
    ],
)
def test_impossible_options_are_refused(options, match):
    with pytest.raises(OptionError, match=match):
        build(**options)


def test_a_class_mean_table_of_another_shape_is_refused():
    with pytest.raises(ShapeError, match=r"\[4, 3\]; expected \[C, C\]"):
        TGeoKD(nn.Linear(2, 4), Frozen(nn.Linear(2, 4)), torch.zeros(4, 3))


def test_the_recipes_options_are_the_methods():
    signature = inspect.signature(TGeoKD).parameters
    keywords = {name: p.default for name, p in signature.items() if p.kind is p.KEYWORD_ONLY}
    assert {field.name: field.default for field in dataclasses.fields(OPTIONS)} == keywords
