from __future__ import annotations

import dataclasses
import inspect

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from tutelage import losses as L
from tutelage.errors import OptionError, ShapeError
from tutelage.methods.distillation.knowledge_concentration import KnowledgeConcentration, LabelTraining, OneVersusRest
from tutelage.recipes.distillation.knowledge_concentration import OPTIONS
from tutelage.teachers import Routed

VERTICALS = torch.tensor([0, 1, 0, 2, 1, 0, 2, 0])
OWN = [VERTICALS.eq(m).nonzero().flatten() for m in range(3)]


class Counting(nn.Module):
    """A linear specialist that counts the images it sees."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.net = nn.Linear(4, classes)
        self.calls: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.calls.append(len(x))
        return self.net(x)


def pool(seed: int = 0) -> tuple[list[Counting], Routed]:
    torch.manual_seed(seed)
    specialists = [Counting(len(own)) for own in OWN]
    return specialists, Routed(specialists, OWN)


def method(**options: object) -> tuple[list[Counting], KnowledgeConcentration]:
    specialists, routed = pool()
    return specialists, KnowledgeConcentration(nn.Linear(4, 8), routed, **options)  # type: ignore[arg-type]


def test_options_of_the_recipe_are_the_keyword_arguments_of_the_method() -> None:
    signature = inspect.signature(KnowledgeConcentration).parameters.values()
    keywords = {p.name: p.default for p in signature if p.kind is p.KEYWORD_ONLY}
    assert keywords == {f.name: f.default for f in dataclasses.fields(OPTIONS)}


def test_only_the_specialist_of_the_vertical_is_called() -> None:
    specialists, concentration = method()
    concentration.losses({"input": torch.randn(5, 4), "vertical": torch.tensor([0, 2, 0, 0, 2])})
    assert [s.calls for s in specialists] == [[3], [], [2]]


def test_soft_target_is_zero_outside_the_vertical_and_the_specialist_s_probability_inside() -> None:
    specialists, concentration = method()
    x, route = torch.randn(6, 4), torch.tensor([0, 1, 2, 0, 1, 2])
    soft = concentration.soft_targets(x, route)
    for row, m in enumerate(route.tolist()):
        expected = torch.zeros(8)
        expected[OWN[m]] = specialists[m].net(x[row]).sigmoid().detach()
        torch.testing.assert_close(soft[row], expected)
        assert soft[row][VERTICALS.ne(m)].abs().sum() == 0


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), st.integers(0, 1000))
def test_at_most_k_probabilities_are_kept_and_they_are_the_highest(k: int, seed: int) -> None:
    _, routed = pool(seed)
    concentration = KnowledgeConcentration(nn.Linear(4, 8), routed, top_k=k)
    whole = KnowledgeConcentration(nn.Linear(4, 8), routed)
    x, route = torch.randn(6, 4), torch.tensor([0, 1, 2, 0, 1, 2])
    soft, full = concentration.soft_targets(x, route), whole.soft_targets(x, route)
    for row, m in enumerate(route.tolist()):
        size = len(OWN[m])
        assert int((soft[row] > 0).sum()) == min(k, size)
        torch.testing.assert_close(soft[row][OWN[m]].sort().values[-k:], full[row][OWN[m]].sort().values[-k:])


def test_loss_is_the_sum_over_classes_and_the_mean_over_images() -> None:
    _, concentration = method(self_paced="none")
    x, route = torch.randn(5, 4), torch.tensor([0, 1, 2, 0, 1])
    losses = concentration.losses({"input": x, "vertical": route})
    assert list(losses) == ["kd"]
    soft = concentration.soft_targets(x, route)
    expected = F.binary_cross_entropy_with_logits(concentration.student(x), soft, reduction="sum") / 5
    torch.testing.assert_close(losses["kd"], expected)


def test_loss_is_least_where_the_student_says_z_and_is_there_the_sum_of_entropies() -> None:
    soft = torch.rand(8, dtype=torch.double, generator=torch.Generator().manual_seed(0)) * 0.98 + 0.01
    scores = soft.logit().requires_grad_()
    loss = L.sigmoid_cross_entropy(scores[None], soft[None]).sum()
    (gradient,) = torch.autograd.grad(loss, scores)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient))
    entropy = torch.distributions.Bernoulli(soft).entropy().sum()
    torch.testing.assert_close(loss.detach(), entropy)
    assert entropy > 0.1
    for step in (0.1, -0.1):
        assert L.sigmoid_cross_entropy(scores[None] + step, soft[None]).sum() > loss


def test_one_vertical_is_ordinary_sigmoid_distillation() -> None:
    torch.manual_seed(0)
    teacher, student = nn.Linear(4, 6), nn.Linear(4, 6)
    concentration = KnowledgeConcentration(student, Routed([teacher], [range(6)]), self_paced="none", top_k=6)
    x = torch.randn(7, 4)
    loss = concentration.losses({"input": x, "vertical": torch.zeros(7, dtype=torch.int64)})["kd"]
    expected = F.binary_cross_entropy_with_logits(student(x), teacher(x).sigmoid().detach(), reduction="sum") / 7
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(concentration.losses({"input": x, "label": torch.arange(7) % 6})["kd"], expected)


def test_labels_in_several_verticals_ask_several_specialists() -> None:
    specialists, union = method()
    _, mean = method(several="mean")
    target = torch.zeros(2, 8)
    target[0, [0, 1]] = 1  # verticals 0 and 1
    target[1, 3] = 1  # vertical 2
    x = torch.randn(2, 4)
    route = union.route({"target": target})
    assert route.tolist() == [[True, True, False], [False, False, True]]
    soft, halves = union.soft_targets(x, route), mean.soft_targets(x, route)
    assert [s.calls for s in specialists] == [[1], [1], [1]]
    for m in (0, 1):
        torch.testing.assert_close(soft[0, OWN[m]], specialists[m].net(x[0]).sigmoid().detach())
    torch.testing.assert_close(halves[0], soft[0] / 2)
    torch.testing.assert_close(halves[1], soft[1])


def test_route_agrees_however_it_is_given() -> None:
    _, concentration = method()
    label = torch.arange(8)
    target = F.one_hot(label, 8)
    x = torch.randn(8, 4)
    by_label = concentration.soft_targets(x, concentration.route({"label": label}))
    torch.testing.assert_close(concentration.soft_targets(x, concentration.route({"target": target})), by_label)
    torch.testing.assert_close(concentration.soft_targets(x, concentration.route({"vertical": VERTICALS})), by_label)


def test_label_weight_adds_the_loss_with_the_labels() -> None:
    _, concentration = method(label_weight=0.5)
    target = torch.zeros(3, 8, dtype=torch.bool)
    target[:, [0, 2]] = True
    batch = {"input": torch.randn(3, 4), "target": target, "vertical": torch.zeros(3, dtype=torch.int64)}
    losses = concentration.losses(batch)
    scores = concentration.predict(batch)
    expected = 0.5 * F.binary_cross_entropy_with_logits(scores, target.float(), reduction="sum") / 3
    torch.testing.assert_close(losses["label"], expected)


def test_prediction_has_the_self_paced_scores_and_gammas_learn() -> None:
    _, concentration = method()
    batch = {"input": torch.randn(3, 4), "vertical": torch.tensor([0, 1, 2])}
    scores = concentration.predict(batch)
    gamma = concentration.student[1].gamma
    torch.testing.assert_close(scores[:, OWN[0]].norm(dim=1), gamma[0].detach().expand(3))
    torch.testing.assert_close(gamma.detach(), torch.tensor([2.0, 2**0.5, 2**0.5]), atol=0.15, rtol=0)
    sum(concentration.losses(batch).values()).backward()
    assert gamma.grad is not None
    assert (gamma.grad != 0).all()
    owned = [id(p) for p in concentration.players()["student"].parameters]
    assert id(gamma) in owned
    assert not set(owned) & {id(p) for p in concentration.specialists.parameters()}


@pytest.mark.parametrize(("level", "gammas"), [("vertical", 3), ("class", 8)])
def test_settings_of_self_pacing(level: str, gammas: int) -> None:
    _, concentration = method(self_paced=level, gamma=10.0, learn_gamma=False, norm_scope="all")
    scale = concentration.student[1]
    assert scale.gamma.tolist() == [10.0] * gammas
    assert not scale.gamma.requires_grad
    norms = concentration.predict({"input": torch.randn(2, 4)}).norm(dim=1)
    torch.testing.assert_close(norms, torch.full((2,), 10.0))
    assert method(self_paced=level, gamma_variance=0.0)[1].student[1].gamma.tolist() == pytest.approx(
        [2.0, 2**0.5, 2**0.5] if level == "vertical" else [(2.0, 2**0.5, 2**0.5)[m] for m in VERTICALS]
    )


def test_student_and_specialist_see_the_same_view() -> None:
    specialists, routed = pool()
    seen: list[Tensor] = []
    routed.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    student = nn.Linear(4, 8)
    student.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    concentration = KnowledgeConcentration(student, routed, lambda x, generator: x + 1)
    x = torch.randn(2, 4)
    concentration.losses({"input": x, "vertical": torch.tensor([0, 1])})
    assert len(seen) == 2
    assert torch.equal(seen[0], x + 1)
    assert torch.equal(seen[1], x + 1)
    assert specialists[0].calls == [1]


def test_a_specialist_learns_the_classes_of_its_vertical() -> None:
    torch.manual_seed(0)
    net = nn.Linear(4, len(OWN[1]))
    target = (torch.rand(5, 8) < 0.5).float()
    x = torch.randn(5, 4)
    loss = LabelTraining(net, OWN[1]).losses({"input": x, "target": target})["label"]
    torch.testing.assert_close(loss, F.binary_cross_entropy_with_logits(net(x), target[:, OWN[1]], reduction="sum") / 5)
    whole = nn.Linear(4, 8)
    loss = LabelTraining(whole).losses({"input": x, "target": target.bool()})["label"]
    torch.testing.assert_close(loss, F.binary_cross_entropy_with_logits(whole(x), target, reduction="sum") / 5)


def test_a_softmax_teacher_keeps_its_probabilities_under_the_sigmoid() -> None:
    logits = torch.tensor([[1.0, -2.0, 0.5], [30.0, 0.0, 0.0], [500.0, 0.0, -500.0]])
    odds = OneVersusRest(nn.Identity())(logits)
    torch.testing.assert_close(odds.sigmoid(), logits.softmax(1), atol=1e-6, rtol=1e-4)
    assert torch.isfinite(odds).all()


@pytest.mark.parametrize("options", [{"top_k": 0}, {"label_weight": -1.0}, {"several": "sum"}, {"self_paced": "image"}])
def test_refuses_options(options: dict[str, object]) -> None:
    with pytest.raises(OptionError):
        method(**options)


def test_refuses_specialists_that_do_not_part_the_classes() -> None:
    with pytest.raises(OptionError, match="class 1 is known to 2"):
        KnowledgeConcentration(nn.Linear(4, 3), Routed([nn.Linear(4, 2), nn.Linear(4, 2)], [[0, 1], [1, 2]]))
    with pytest.raises(OptionError, match="class 1 is known to 0"):
        KnowledgeConcentration(nn.Linear(4, 3), Routed([nn.Linear(4, 2)], [[0, 2]]))


def test_refuses_a_student_of_another_width() -> None:
    _, routed = pool()
    concentration = KnowledgeConcentration(nn.Linear(4, 7), routed, self_paced="none")
    with pytest.raises(ShapeError, match="expected one per class"):
        concentration.losses({"input": torch.randn(2, 4), "vertical": torch.tensor([0, 1])})
