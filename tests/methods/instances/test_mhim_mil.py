from __future__ import annotations

import copy
import dataclasses
import inspect
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tutelage import data, schedules
from tutelage import losses as L
from tutelage.data import Bags
from tutelage.errors import OptionError, ShapeError
from tutelage.methods.instances.mhim_mil import MHIMMIL, PlainMIL, bag_loss
from tutelage.models.attention_mil import DSMIL, AttentionMIL
from tutelage.models.trans_mil import TransMIL
from tutelage.recipes.instances.mhim_mil import OPTIONS
from tutelage.targets import soften
from tutelage.train import Trainer, TrainOptions

PLAIN = {"high_ratio": 0.0, "random_ratio": 0.0, "alpha": 0.0}


def net(seed: int = 0, kind=AttentionMIL, **options):
    torch.manual_seed(seed)
    return kind(num_classes=2, input_shape=(5,), width=16, **({"attention": 8} if kind is not TransMIL else {"heads": 4}) | options)


def bags(count: int = 6, size: int = 20) -> data.Arrays:
    generator = torch.Generator().manual_seed(0)
    values = [torch.randn(size + i, 5, generator=generator) for i in range(count)]
    return data.Arrays({"input": Bags(values), "label": torch.arange(count) % 2}, ("no", "yes"), "toy")


def fit(method, epochs: int = 3, batch_size: int = 1):
    options = TrainOptions(epochs=epochs, optimizer="Adam", learning_rate=1e-2, schedule="constant", accelerator="cpu")
    return Trainer(method, data.Batches(bags(), batch_size, seed=3), options, seed=3).fit()


def seen(method) -> list[torch.Tensor]:
    """Record the bags that the student's front sees."""
    found: list[torch.Tensor] = []
    method.student.front.register_forward_pre_hook(lambda _, args: found.append(args[0]))
    return found


def test_the_student_sees_a_shorter_bag_without_the_most_salient_instances_and_the_teacher_the_whole():
    method = MHIMMIL(net(1), net(2), high_ratio=0.1, high_randomness=1.0, random_ratio=0.3, decay=False).eval()
    bag = bags().column("input")[4]
    shown, taught = seen(method), []
    method.teacher.model.front.register_forward_pre_hook(lambda _, args: taught.append(args[0]))
    method.generator = torch.Generator().manual_seed(0)
    method.losses({"input": [bag], "label": torch.tensor([1])})
    assert len(bag) == 24
    assert torch.equal(taught[0], bag)
    assert 24 - 3 - 8 <= len(shown[0]) <= 24 - 8
    kept = {tuple(row.tolist()) for row in shown[0]}
    scores = method.teacher.model.answer(bag).scores[0]
    hidden = {tuple(bag[i].tolist()) for i in scores.topk(3).indices}
    assert not kept & hidden
    assert kept < {tuple(row.tolist()) for row in bag}


def test_without_masks_and_consistency_it_is_the_plain_aggregator_to_the_bit():
    plain, masked = PlainMIL(net(1)), MHIMMIL(net(1), **PLAIN)
    fit(plain)
    fit(masked)
    for a, b in zip(plain.student.parameters(), masked.student.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_share_of_hidden_salient_instances_falls_as_a_cosine():
    method = MHIMMIL(net(), high_ratio=0.08)
    for progress, value in ((0.0, 0.08), (0.5, 0.04), (1.0, 0.0), (0.25, 0.04 * (1 + math.cos(math.pi / 4)))):
        assert schedules.value(method.high_ratio, progress) == pytest.approx(value)
    history = fit(MHIMMIL(net(), high_ratio=0.08), epochs=4)
    series = history.series("high_ratio")
    assert series == sorted(series, reverse=True)
    assert series[0] > 0.07 > 0.01 > series[-1]
    assert MHIMMIL(net(), high_ratio=0.08, decay=False).high_ratio == 0.08


def test_the_teacher_is_the_moving_average_that_closed_form_gives():
    student, baseline = net(1), net(2)
    method = MHIMMIL(student, baseline, momentum=0.9, initialise="teacher")
    for _ in range(7):
        method.update_teachers()
    for start, held, followed in zip(baseline.parameters(), method.teacher.model.parameters(), student.parameters(), strict=True):
        torch.testing.assert_close(held, 0.9**7 * start + (1 - 0.9**7) * followed)
    left = 0.9999**10000
    assert left == pytest.approx(0.3679, abs=1e-4)


def test_the_momentum_can_go_to_one():
    method = MHIMMIL(net(), momentum=0.99, momentum_schedule="cosine")
    assert [method.teacher.momentum(p) for p in (0.0, 0.5, 1.0)] == pytest.approx([0.99, 0.995, 1.0])


def equal(a, b) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


@pytest.mark.parametrize(
    ("initialise", "teacher_is_baseline", "front_is_baseline"),
    [("both", True, True), ("teacher", True, False), ("front", False, True), ("none", False, False)],
)
def test_what_begins_with_the_baselines_weights(initialise, teacher_is_baseline, front_is_baseline):
    student, baseline = net(1), net(2)
    before = copy.deepcopy(student)
    method = MHIMMIL(student, baseline, initialise=initialise)
    assert equal(method.teacher.model, baseline) == teacher_is_baseline
    assert equal(student.front, baseline.front) == front_is_baseline
    assert equal(student.head, before.head)
    if not teacher_is_baseline:
        assert equal(method.teacher.model, student)


def test_teachers_of_every_kind():
    baseline = net(2)
    untouched = copy.deepcopy(baseline)
    frozen = MHIMMIL(net(1), baseline, teacher="frozen", initialise="front")
    fit(frozen)
    assert equal(frozen.teacher.model, untouched)
    assert all(p.requires_grad for p in baseline.parameters())
    momentum = MHIMMIL(net(1), baseline, momentum=0.9)
    fit(momentum)
    assert not equal(momentum.teacher.model, untouched)
    itself = MHIMMIL(net(1), baseline, teacher="student").eval()
    assert itself.teacher is None
    bag = torch.randn(9, 5)
    torch.testing.assert_close(itself.taught(bag).scores, itself.student.answer(bag).scores)
    assert not itself.taught(bag).scores.requires_grad
    with pytest.raises(OptionError, match="trained baseline"):
        MHIMMIL(net(1), teacher="frozen")


def test_the_teacher_has_its_dropout_on_in_training_and_never_a_gradient():
    method = MHIMMIL(net(1), net(2)).train()
    bag = torch.randn(9, 5)
    assert not torch.equal(method.taught(bag).scores, method.taught(bag).scores)
    method.eval()
    assert torch.equal(method.taught(bag).scores, method.taught(bag).scores)
    method.train()
    losses = method.losses({"input": [bag], "label": torch.tensor([0])})
    sum(losses.values()).backward()
    assert all(p.grad is None for p in method.teacher.parameters())
    assert all(p.grad is not None for p in method.student.parameters())


@given(st.integers(0, 200), st.sampled_from([0.1, 0.5, 1.0]))
def test_consistency_is_least_where_the_student_answers_the_softened_teacher(seed, tau):
    generator = torch.Generator().manual_seed(seed)
    taught, student = torch.randn(2, 1, 16, generator=generator, dtype=torch.float64)
    target = soften(taught, tau)
    entropy = -(target * target.log()).sum(-1)
    assert (L.soft_cross_entropy(student, target) >= entropy - 1e-9).all()
    torch.testing.assert_close(L.soft_cross_entropy(taught / tau + 3, target), entropy)
    gap = (L.soft_cross_entropy(taught, target) - entropy).item()
    assert gap == pytest.approx(0, abs=1e-9) if tau == 1.0 else gap > 1e-3


def test_the_losses_are_those_of_the_sheet():
    method = MHIMMIL(net(1), net(2), high_ratio=0.0, random_ratio=0.0, alpha=0.5, tau=0.2).eval()
    pair, label = [torch.randn(9, 5), torch.randn(4, 5)], torch.tensor([0, 1])
    losses = method.losses({"input": pair, "label": label})
    torch.testing.assert_close(losses["classification"], torch.nn.functional.cross_entropy(method.student(pair), label))
    expected = torch.zeros(())
    for bag in pair:
        student, taught = method.student.answer(bag).embedding[0], method.teacher.model.answer(bag).embedding[0]
        expected = expected - 0.5 * ((taught / 0.2).softmax(0) * student.log_softmax(0)).sum() / 2
    torch.testing.assert_close(losses["consistency"], expected)
    assert set(MHIMMIL(net(), alpha=0.0).losses({"input": pair, "label": label})) == {"classification"}


def test_dsmil_learns_by_halves_from_both_streams():
    answer = net(kind=DSMIL).eval().answer(torch.randn(9, 5))
    expected = [torch.nn.functional.cross_entropy(x.unsqueeze(0), torch.tensor([1])) for x in (answer.logits, answer.instance_logits)]
    torch.testing.assert_close(bag_loss(answer, torch.tensor(1)), (expected[0] + expected[1]) / 2)


@pytest.mark.parametrize("kind", [AttentionMIL, DSMIL, TransMIL])
def test_every_aggregator_learns_with_masks_of_all_kinds(kind):
    method = MHIMMIL(net(1, kind), net(2, kind), high_ratio=0.1, low_ratio=0.2, random_ratio=0.3, momentum=0.9)
    history = fit(method, epochs=25, batch_size=2)
    series = history.series("classification")
    assert series[-1] < 0.7 * series[0]
    assert 0.3 <= history.series("masked")[0] <= 0.65
    assert method.predict({"input": list(bags().column("input"))}).shape == (6, 2)


def test_bags_of_one_instance_stay_whole():
    method = MHIMMIL(net(1), net(2))
    shown = seen(method)
    method.losses({"input": [torch.randn(1, 5)], "label": torch.tensor([0])})
    assert len(shown[0]) == 1


def test_the_prediction_does_not_depend_on_the_order_of_instances():
    method, bag = MHIMMIL(net(1)).eval(), torch.randn(12, 5)
    order = torch.randperm(12)
    torch.testing.assert_close(method.predict({"input": [bag]}), method.predict({"input": [bag[order]]}))


def test_a_training_is_a_function_of_its_seed():
    one, two = (MHIMMIL(net(1), net(2), momentum=0.9) for _ in range(2))
    fit(one)
    fit(two)
    assert equal(one, two)


@pytest.mark.parametrize(
    "wrong",
    [
        {"high_ratio": 1.0},
        {"low_ratio": -0.1},
        {"random_ratio": 1.5},
        {"high_randomness": 0.0},
        {"alpha": -1.0},
        {"tau": 0.0},
        {"fusion": "max"},
        {"teacher": "peer"},
        {"initialise": "head"},
        {"momentum_schedule": "linear"},
        {"momentum": 1.5},
    ],
)
def test_wrong_options_are_named(wrong):
    with pytest.raises(OptionError, match="momentum" if "momentum" in wrong else next(iter(wrong))):
        MHIMMIL(net(), **wrong)


def test_models_that_do_not_fit_are_refused():
    with pytest.raises(OptionError, match=r"The student is a Linear; expected a model of bags"):
        MHIMMIL(torch.nn.Linear(5, 2))
    with pytest.raises(ShapeError, match="same architecture"):
        MHIMMIL(net(1), net(2, attention=4))


def test_options_are_the_keyword_arguments():
    keywords = {p.name: p.default for p in inspect.signature(MHIMMIL).parameters.values() if p.kind is p.KEYWORD_ONLY}
    assert {f.name: f.default for f in dataclasses.fields(OPTIONS)} == keywords
