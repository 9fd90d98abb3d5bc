from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tutelage import schedules
from tutelage.errors import DataError, OptionError
from tutelage.methods.distillation.mtard import MTARD, AdversarialTraining
from tutelage.teachers import Stored
from tutelage.views.adversarial import PGD, pgd

CLASSES = 4
STILL = {"eps": 0.0, "attack_steps": 0, "attack_start": "none"}


def network(seed: int, scale: float = 1.0, *, batch_norm: bool = False) -> nn.Module:
    torch.manual_seed(seed)
    middle = [nn.BatchNorm1d(12)] if batch_norm else []
    net = nn.Sequential(nn.Flatten(), nn.Linear(9, 12), *middle, nn.ReLU(), nn.Linear(12, CLASSES))
    with torch.no_grad():
        net[-1].weight.mul_(scale)
    return net


def batch(n: int = 16, seed: int = 0) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return {"input": torch.rand(n, 1, 3, 3, generator=g), "label": torch.randint(CLASSES, (n,), generator=g)}


def mtard(student: nn.Module | None = None, clean: nn.Module | None = None, robust: nn.Module | None = None, view=None, **options) -> MTARD:
    method = MTARD(student or network(0), clean or network(1, 8.0), view, robust_teacher=robust or network(2, 2.0), **options)
    method.generator = torch.Generator().manual_seed(0)
    return method


def total(losses: dict[str, Tensor]) -> Tensor:
    return sum(losses.values(), torch.zeros(()))


def kl(teacher: Tensor, student: Tensor) -> Tensor:
    return F.kl_div(student.log_softmax(-1), teacher.log_softmax(-1), log_target=True, reduction="none").sum(-1)


class Recorder(nn.Module):
    """A network that remembers what it was shown."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x.detach().clone())
        out: Tensor = self.inner(x)
        return out


def test_three_batches_agree_with_the_algorithm_box_written_out_by_hand():
    options = {"eps": 0.1, "step_size": 0.03, "attack_steps": 3}
    method = mtard(temperature_rate=0.1, weight_rate=0.3, beta=1.5, **options)
    tau, w, first = {"nat": 1.0, "adv": 1.0}, {"nat": 0.5, "adv": 0.5}, {}
    for number in range(3):
        data = batch(seed=number)
        method.generator.manual_seed(number)
        got = method.losses(data)

        x, y = data["input"], data["label"]
        student = method.student
        attacked = (x + 0.001 * torch.randn(x.shape, generator=torch.Generator().manual_seed(number))).clamp(0, 1)
        for _ in range(3):
            attacked.requires_grad_(True)
            (gradient,) = torch.autograd.grad(F.cross_entropy(student(attacked), y), attacked)
            attacked = torch.min(torch.max(attacked.detach() + 0.03 * gradient.sign(), x - 0.1), x + 0.1).clamp(0, 1)
        p = {"nat": (method.clean_teacher(x) / tau["nat"]).softmax(-1), "adv": (method.robust_teacher(attacked) / tau["adv"]).softmax(-1)}
        q = {"nat": student(x).log_softmax(-1), "adv": student(attacked).log_softmax(-1)}
        loss = {k: (p[k] * ((p[k] + 1e-5).log() - q[k])).mean() for k in p}
        entropy = {k: -(p[k] * p[k].log()).sum(-1).mean().item() for k in p}
        tau["adv"] = min(10.0, max(1.0, tau["adv"] - 0.1 * math.copysign(1, entropy["adv"] / entropy["nat"] - 1)))
        tau["nat"] = min(10.0, max(1.0, tau["nat"] - 0.1 * math.copysign(1, entropy["nat"] / entropy["adv"] - 1)))
        first = first or {k: v.item() for k, v in loss.items()}
        relative = {k: (loss[k].item() / first[k]) ** 1.5 for k in loss}
        w = {k: w[k] - 0.3 * (w[k] - relative[k] / sum(relative.values())) for k in w}

        torch.testing.assert_close(got["clean"], w["nat"] * loss["nat"])
        torch.testing.assert_close(got["adversarial"], w["adv"] * loss["adv"])
        assert method.entropy_balance.temperatures.tolist() == pytest.approx([tau["nat"], tau["adv"]])
        assert method.loss_balance.weights.tolist() == pytest.approx([w["nat"], w["adv"]], abs=1e-6)

        # The student moves, so that the next batch finds other losses.
        total(got).backward()
        with torch.no_grad():
            for parameter in student.parameters():
                parameter -= 2.0 * parameter.grad
                parameter.grad = None
    assert tau["nat"] == pytest.approx(1.3)
    assert abs(w["nat"] - 0.5) > 1e-3


def test_a_student_equal_to_both_teachers_has_no_loss_but_the_offset():
    net = network(1, 3.0)
    exact = mtard(copy.deepcopy(net), copy.deepcopy(net), copy.deepcopy(net), eps=0.1, log_offset=0.0)
    assert abs(total(exact.losses(batch())).item()) < 1e-6
    coded = mtard(copy.deepcopy(net), copy.deepcopy(net), copy.deepcopy(net), eps=0.1)
    assert 0 < total(coded.losses(batch())).item() <= 1.01e-5


def test_without_either_rate_it_is_distillation_from_two_teachers_of_equal_weight():
    method = mtard(temperature_rate=0.0, weight_rate=0.0, log_offset=0.0, **STILL)
    for seed in range(3):
        data = batch(seed=seed)
        x = data["input"]
        student = method.student(x)
        expected = (kl(method.clean_teacher(x), student).mean() + kl(method.robust_teacher(x), student).mean()) / 2 / CLASSES
        torch.testing.assert_close(total(method.losses(data)), expected)
    assert method.entropy_balance.temperatures.tolist() == [1.0, 1.0]


def test_one_teacher_in_both_parts_and_no_attack_is_ordinary_distillation():
    teacher = network(1, 3.0)
    method = mtard(clean=copy.deepcopy(teacher), robust=copy.deepcopy(teacher), divide_by_classes=False, log_offset=0.0, **STILL)
    data = batch()
    torch.testing.assert_close(total(method.losses(data)), kl(teacher(data["input"]), method.student(data["input"])).mean())


@pytest.mark.parametrize("divide", [True, False])
def test_the_loss_of_one_sample_is_its_divergence_over_the_number_of_classes(divide):
    teacher, student = torch.tensor([[2.0, 0.5, -1.0, 0.0]]), torch.tensor([[0.1, 0.2, 0.3, -0.4]])
    loss = mtard(divide_by_classes=divide, log_offset=0.0).divergence(student, teacher)
    assert loss.item() == pytest.approx(kl(teacher, student).item() / (CLASSES if divide else 1), rel=1e-5)


def test_the_divergence_is_finite_for_certain_teachers_and_its_gradient_is_right():
    method = mtard()
    certain = torch.tensor([[1e4, 0.0, -1e4, 0.0]])
    for offset in (0.0, 1e-5):
        method.log_offset = offset
        student = torch.zeros(1, CLASSES, requires_grad=True)
        loss = method.divergence(student, certain)
        assert loss.item() == pytest.approx(math.log(CLASSES) / CLASSES, abs=1e-4)
        (gradient,) = torch.autograd.grad(loss, student)
        torch.testing.assert_close(gradient, (student.softmax(-1) - certain.softmax(-1)).detach() / CLASSES)
    teacher = torch.randn(3, CLASSES, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda s: method.divergence(s, teacher), torch.randn(3, CLASSES, dtype=torch.float64, requires_grad=True)
    )


def test_each_teacher_sees_its_own_view_and_the_student_both():
    student, clean, robust = (Recorder(network(k, 3.0)) for k in range(3))
    method = mtard(student, clean, robust, eps=0.1, attack_steps=2)
    data = batch()
    method.losses(data)
    assert len(clean.seen) == len(robust.seen) == 1
    assert torch.equal(clean.seen[0], data["input"])
    attacked = robust.seen[0]
    assert 0.001 < (attacked - data["input"]).abs().max() <= 0.1 + 1e-6
    assert len(student.seen) == 4
    assert torch.equal(student.seen[2], attacked)
    assert torch.equal(student.seen[3], data["input"])


def test_the_attack_is_on_the_student_in_eval_mode_and_the_lesson_in_train_mode():
    net = network(0, batch_norm=True)
    method = mtard(net, eps=0.1, step_size=0.05, attack_steps=2).train()
    data = batch()
    expected = pgd(net, data["input"], data["label"], eps=0.1, step_size=0.05, steps=2, generator=torch.Generator().manual_seed(0))
    robust = Recorder(network(2))
    method.robust_teacher.model = robust
    method.losses(data)
    assert torch.equal(robust.seen[0], expected)
    # One batch-norm update for each of the two lessons, none for the attack.
    assert net[2].num_batches_tracked.item() == 2
    assert net.training


def test_only_the_student_learns():
    method = mtard(eps=0.1)
    teachers = {k: v.clone() for k, v in method.state_dict().items() if "teacher" in k}
    total(method.losses(batch())).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in method.student.parameters())
    assert {id(p) for player in method.players().values() for p in player.parameters} == {id(p) for p in method.student.parameters()}
    for name, value in method.state_dict().items():
        if name in teachers:
            assert torch.equal(value, teachers[name])
    assert not any(p.requires_grad for part in (method.clean_teacher, method.robust_teacher) for p in part.parameters())


def test_the_weights_are_constants_to_the_student():
    method = mtard(weight_rate=1.0, log_offset=0.0, **STILL)
    method.losses(batch(seed=5))
    data = batch()
    gradients = torch.autograd.grad(total(method.losses(data)), list(method.student.parameters()))
    w_nat, w_adv = method.loss_balance.weights
    x = data["input"]
    student = method.student(x)
    tau_nat = 1.001  # one batch of the entropy balance before this one
    by_hand = (
        w_nat * kl(method.clean_teacher(x) / tau_nat, student).mean() + w_adv * kl(method.robust_teacher(x), student).mean()
    ) / CLASSES
    assert abs(w_nat - 0.5) > 1e-4
    for got, expected in zip(gradients, torch.autograd.grad(by_hand, list(method.student.parameters())), strict=True):
        torch.testing.assert_close(got, expected)


def test_in_eval_mode_the_balances_stand_still():
    method = mtard(temperature_rate=0.1, weight_rate=0.5, **STILL)
    method.eval()
    method.losses(batch())
    assert method.entropy_balance.temperatures.tolist() == [1.0, 1.0]
    assert method.loss_balance.first.isnan().all()
    assert method.take_logged() == {}


def test_rates_may_follow_a_schedule():
    method = mtard(temperature_rate=schedules.linear(0.4, 0.0), weight_rate=schedules.constant(0.0), **STILL)
    for progress, expected in [(0.0, 1.4), (0.5, 1.6), (1.0, 1.6)]:
        method.progress = progress
        method.losses(batch())
        assert method.entropy_balance.temperatures[0].item() == pytest.approx(expected)


def test_the_first_release_keeps_temperatures_at_one_and_weighs_by_complement():
    method = mtard(variant="eccv", temperature_rate=0.5, temperature_start=2.0, weight_rate=0.4, **STILL)
    for seed in range(4):
        method.losses(batch(seed=seed))
    assert method.entropy_balance.temperatures.tolist() == [1.0, 1.0]
    w_nat, w_adv = method.loss_balance.weights.tolist()
    assert w_adv == pytest.approx(1 - w_nat)
    assert abs(w_nat - 0.5) > 1e-3


def test_the_robust_teacher_alone_answers_for_both_views():
    clean, robust = Recorder(network(1)), Recorder(network(2))
    method = mtard(None, clean, robust, teachers="robust", eps=0.1)
    data = batch()
    method.losses(data)
    assert clean.seen == []
    assert any(torch.equal(x, data["input"]) for x in robust.seen)
    assert len(robust.seen) == 2


class Remembered:
    """Answers by row, as a label store gives them."""

    views, view_seed = 0, 0

    def __init__(self, answers: Tensor) -> None:
        self.answers = answers

    def read(self, part: str, index: Tensor, view: int = 0) -> Tensor:
        return self.answers[index]


def test_stored_answers_of_the_clean_teacher_replace_it():
    data = batch()
    plain = mtard(eps=0.1)
    rows = torch.arange(len(data["input"])).flip(0)
    answers = plain.clean_teacher(data["input"])
    cached = mtard(None, Stored(Remembered(answers.flip(0))), eps=0.1)
    data = data | {"index": rows}
    for a, b in zip(plain(data).values(), cached(data).values(), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(DataError, match="not the samples of its batch"):
        mtard(None, Stored(Remembered(answers)), eps=0.1, view=lambda x, g: x.flip(-1))(data)


def test_the_view_comes_before_the_attack_and_is_drawn_once():
    seen: list[Tensor] = []

    def view(x: Tensor, generator: torch.Generator | None) -> Tensor:
        seen.append(x)
        return x.flip(-1)

    clean, robust = Recorder(network(1)), Recorder(network(2))
    data = batch()
    mtard(None, clean, robust, view, eps=0.1).losses(data)
    assert len(seen) == 1
    assert torch.equal(clean.seen[0], data["input"].flip(-1))
    assert (robust.seen[0] - data["input"].flip(-1)).abs().max() <= 0.1 + 1e-6


def test_what_is_watched_is_logged():
    method = mtard(**STILL)
    method.losses(batch())
    logged = method.take_logged()
    assert set(logged) == {f"{a}_{b}" for a in ("temperature", "weight", "entropy") for b in ("clean", "adversarial")}
    assert logged["entropy_clean"] < logged["entropy_adversarial"]
    assert logged["temperature_clean"].item() == pytest.approx(1.001)


@pytest.mark.parametrize(
    "options",
    [
        {"temperature_rate": -0.1},
        {"weight_rate": 1.5},
        {"variant": "tpami"},
        {"teachers": "clean"},
        {"log_offset": -1e-5},
        {"eps": -1.0},
        {"attack_start": "random"},
        {"temperature_low": 3.0},
        {"beta": -1.0},
    ],
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(OptionError, match="expected"):
        mtard(**options)


# ---- PGD adversarial training, the baseline ----


def test_adversarial_training_is_cross_entropy_on_attacked_inputs():
    net, data = network(0), batch()
    method = AdversarialTraining(net, adversary=PGD(eps=0.1, step_size=0.05, steps=3))
    method.generator = torch.Generator().manual_seed(4)
    attacked = pgd(net, data["input"], data["label"], eps=0.1, step_size=0.05, steps=3, generator=torch.Generator().manual_seed(4))
    losses = method.losses(data)
    torch.testing.assert_close(losses["ce"], F.cross_entropy(net(attacked), data["label"]))
    assert losses["ce"] > F.cross_entropy(net(data["input"]), data["label"])


def test_the_attack_may_grow_to_its_full_strength():
    net, data = network(0), batch()
    method = AdversarialTraining(net, adversary=PGD(eps=0.2, step_size=0.1, steps=2, start="none"), growth=0.5)
    for progress, factor in [(0.0, 0.0), (0.25, 0.5), (0.5, 1.0), (0.9, 1.0)]:
        method.progress = progress
        attacked = pgd(net, data["input"], data["label"], eps=0.2 * factor, step_size=0.1 * factor, steps=2, start="none")
        torch.testing.assert_close(method.losses(data)["ce"], F.cross_entropy(net(attacked), data["label"]))
    with pytest.raises(OptionError, match="share"):
        AdversarialTraining(net, growth=1.0)
