from __future__ import annotations

import dataclasses
import inspect

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from tutelage import evaluate
from tutelage import losses as L
from tutelage.errors import OptionError
from tutelage.methods.distillation.bd_kd import BDKD
from tutelage.recipes.distillation.bd_kd import OPTIONS

SURE, UNSURE = (0.9, 0.1), (0.6, 0.4)


class Table(nn.Module):
    """Answers with its own parameter, whatever the input."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits.clone())

    def forward(self, x: Tensor) -> Tensor:
        return self.logits[: len(x)] + 0 * x.sum()


def logits(*rows: tuple[float, ...]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64).log()


def random_logits(seed: int, n: int = 6, classes: int = 5) -> Tensor:
    return torch.randn(n, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2


def game(student: Tensor, teacher: Tensor, **options) -> tuple[BDKD, dict[str, Tensor]]:
    method = BDKD(Table(student), Table(teacher), **options)
    label = torch.arange(len(student)) % student.shape[1]
    return method, method.losses({"input": torch.zeros(len(student), 1, dtype=torch.float64), "label": label})


def test_fact_1_a_sure_teacher_doubles_the_reverse_divergence():
    t, s = logits(SURE), logits(UNSURE)
    assert L.forward_kl(s, t).item() == pytest.approx(0.226289, abs=1e-6)
    assert L.reverse_kl(s, t).item() == pytest.approx(0.311239, abs=1e-6)
    assert L.entropy(t).item() == pytest.approx(0.325083, abs=1e-6)
    assert L.entropy(s).item() == pytest.approx(0.673012, abs=1e-6)
    method, losses = game(s, t)
    assert losses["student_kd"].item() == pytest.approx(0.848767, abs=1e-6)
    assert method.take_logged()["teacher_more_uncertain"].item() == 0


def test_fact_2_exchanging_the_networks_leaves_the_term_and_flips_the_gap():
    method, losses = game(logits(SURE), logits(UNSURE))
    assert losses["student_kd"].item() == pytest.approx(0.848767, abs=1e-6)
    assert method.take_logged()["teacher_more_uncertain"].item() == 1


@pytest.mark.parametrize("delta", [1.0, 2.0, 7.0])
@pytest.mark.parametrize("weighting", ["threshold", "smooth", "forward", "reverse"])
def test_fact_3_equal_predictions_cost_and_teach_nothing(delta, weighting):
    same = random_logits(0)
    method, losses = game(same, same, delta=delta, weighting=weighting, temperature=3.0)
    losses["student_kd"].backward()
    assert losses["student_kd"].item() == pytest.approx(0, abs=1e-12)
    assert method.student.logits.grad.abs().max() < 1e-12


@given(st.integers(0, 1000), st.sampled_from(["threshold", "smooth"]))
def test_fact_4_delta_one_is_the_jeffreys_divergence(seed, weighting):
    s, t = random_logits(seed), random_logits(seed + 1)
    _, losses = game(s, t, delta=1.0, weighting=weighting)
    p, q = s.log_softmax(-1), t.log_softmax(-1)
    jeffreys = ((q.exp() - p.exp()) * (q - p)).sum(-1).mean()
    torch.testing.assert_close(losses["student_kd"], jeffreys)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_fact_5_forward_weighting_is_deep_mutual_learning(temperature):
    s, t = random_logits(3), random_logits(4)
    _, losses = game(s, t, weighting="forward", temperature=temperature, beta=0.5)
    p, q = (s / temperature).log_softmax(-1), (t / temperature).log_softmax(-1)
    kl = nn.KLDivLoss(reduction="batchmean", log_target=True)
    torch.testing.assert_close(losses["student_kd"], 0.5 * temperature**2 * kl(p, q))
    torch.testing.assert_close(losses["teacher_kd"], 0.5 * temperature**2 * kl(q, p))
    label = torch.arange(6) % 5
    torch.testing.assert_close(losses["student_ce"], nn.functional.cross_entropy(s, label))
    torch.testing.assert_close(losses["teacher_ce"], nn.functional.cross_entropy(t, label))


@given(st.integers(0, 1000), st.permutations(range(5)), st.sampled_from(["threshold", "smooth"]))
def test_fact_6_the_names_of_classes_do_not_matter(seed, order, weighting):
    s, t = random_logits(seed), random_logits(seed + 1)
    losses = [game(a, b, weighting=weighting)[1]["student_kd"] for a, b in ((s, t), (s[:, order], t[:, order]))]
    torch.testing.assert_close(losses[0], losses[1])


def test_fact_7_no_gradient_crosses_between_the_networks():
    method, losses = game(random_logits(5), random_logits(6))
    for own, other in ((method.student, method.teachers[0]), (method.teachers[0], method.student)):
        name = "student" if own is method.student else "teacher"
        loss = losses[f"{name}_ce"] + losses[f"{name}_kd"]
        mine, theirs = torch.autograd.grad(loss, [own.logits, other.logits], allow_unused=True)
        assert mine.abs().max() > 0.01
        assert theirs is None


def test_fact_8_calibration_error_of_sure_and_of_calibrated_predictions():
    label = torch.tensor([0] * 7 + [1] * 3)
    sure = torch.tensor([[50.0, -50.0]]).expand(10, 2)
    assert evaluate.classification(sure, label)["ece"] == pytest.approx(0.3, abs=1e-6)
    calibrated = torch.tensor([[0.7, 0.3]]).log().expand(10, 2)
    assert evaluate.classification(calibrated, label)["ece"] == pytest.approx(0.0, abs=1e-6)


def test_fact_9_gradients_agree_with_the_formulas_and_with_finite_differences():
    s, t = random_logits(7).requires_grad_(), random_logits(8)
    p, q = s.detach().softmax(-1), t.softmax(-1)
    (forward,) = torch.autograd.grad(L.forward_kl(s, t).sum(), s)
    torch.testing.assert_close(forward, p - q)
    (reverse,) = torch.autograd.grad(L.reverse_kl(s, t).sum(), s)
    ratio = (p / q).log()
    torch.testing.assert_close(reverse, p * (ratio - (p * ratio).sum(-1, keepdim=True)))
    for weighting in ("threshold", "forward", "reverse"):
        method = BDKD(Table(s), Table(t), weighting=weighting, temperature=2.0)
        assert torch.autograd.gradcheck(lambda x, m=method: m.student_term(x, t), s)


def test_the_smooth_rule_is_the_sheet_formula():
    s, t = random_logits(9), random_logits(10)
    _, losses = game(s, t, weighting="smooth", delta=3.0, sharpness=2.0)
    gap = L.entropy(t) - L.entropy(s)
    expected = (1 + 2 * torch.sigmoid(2 * gap)) * L.forward_kl(s, t) + (1 + 2 * torch.sigmoid(-2 * gap)) * L.reverse_kl(s, t)
    torch.testing.assert_close(losses["student_kd"], expected.mean())


def test_tempered_entropies_can_choose_the_other_side():
    # At temperature 1 the first row is the surer one; softened, its long tail makes it the less sure one.
    teacher, student = torch.tensor([[9.0, 3.0, 3.0, 3.0]]), torch.tensor([[4.0, 4.0, -20.0, -20.0]])
    shares = []
    for entropies in ("plain", "tempered"):
        method, _ = game(student.double(), teacher.double(), temperature=8.0, entropies=entropies)
        shares.append(method.take_logged()["teacher_more_uncertain"].item())
    assert shares == [0.0, 1.0]


def test_players_split_losses_and_parameters_without_overlap():
    method, losses = game(random_logits(11), random_logits(12))
    players = method.players()
    assert set(players) == {"student", "teacher"}
    assert sorted(name for player in players.values() for name in player.losses) == sorted(losses)
    assert players["student"].parameters == [method.student.logits]
    assert players["teacher"].parameters == [method.teachers[0].logits]
    assert len({player.turn for player in players.values()}) == 1


def test_offline_holds_the_teacher_still_and_is_classical_distillation():
    s, t = random_logits(13), random_logits(14)
    method, losses = game(s, t, weighting="forward", online=False, temperature=2.0)
    assert set(losses) == {"student_ce", "student_kd"}
    assert set(method.players()) == {"student"}
    torch.testing.assert_close(losses["student_kd"], 4 * L.forward_kl(s, t, temperature=2.0).mean())
    assert not method.teachers[0](torch.zeros(6, 1)).requires_grad


def test_three_networks_average_over_the_others():
    a, b, c = (random_logits(seed) for seed in (15, 16, 17))
    method = BDKD(Table(a), [Table(b), Table(c)])
    losses = method.losses({"input": torch.zeros(6, 1, dtype=torch.float64), "label": torch.arange(6) % 5})
    assert set(method.players()) == {"student", "teacher", "teacher_2"}
    one, two = game(a, b)[1]["student_kd"], game(a, c)[1]["student_kd"]
    torch.testing.assert_close(losses["student_kd"], (one + two) / 2)
    torch.testing.assert_close(losses["teacher_2_kd"], (L.forward_kl(c, a).mean() + L.forward_kl(c, b).mean()) / 2)


def test_all_networks_see_one_draw_of_the_view():
    class Keeps(Table):
        def forward(self, x: Tensor) -> Tensor:
            self.seen = x
            return super().forward(x)

    student, teacher = Keeps(random_logits(18)), Keeps(random_logits(19))
    method = BDKD(student, teacher, lambda x, generator: x + torch.rand(x.shape, generator=generator))
    method.generator = torch.Generator().manual_seed(0)
    method.losses({"input": torch.zeros(6, 1), "label": torch.zeros(6, dtype=torch.long)})
    assert student.seen.abs().max() > 0
    assert student.seen is teacher.seen


@pytest.mark.parametrize(
    "wrong", [{"delta": 0.0}, {"beta": -1.0}, {"temperature": 0.0}, {"sharpness": 0.0}, {"weighting": "both"}, {"entropies": "hot"}]
)
def test_wrong_options_are_named(wrong):
    with pytest.raises(OptionError, match=next(iter(wrong))):
        BDKD(Table(random_logits(0)), Table(random_logits(1)), **wrong)


def test_no_teacher_is_refused():
    with pytest.raises(OptionError, match="empty"):
        BDKD(Table(random_logits(0)), [])


def test_options_are_the_keyword_arguments():
    keywords = {p.name: p.default for p in inspect.signature(BDKD).parameters.values() if p.kind is p.KEYWORD_ONLY}
    assert {f.name: f.default for f in dataclasses.fields(OPTIONS)} == keywords
