"""Closed-form facts of the measures, and agreement with scikit-learn."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from tutelage import evaluate
from tutelage.errors import ShapeError


def sure(probability: float, right: int, wrong: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Two-class logits that give class 0 the same probability always, and labels of which `right` are 0."""
    logit = math.log(probability / (1 - probability)) if probability < 1 else 200.0
    logits = torch.tensor([[logit, 0.0]]).repeat(right + wrong, 1)
    return logits, torch.tensor([0] * right + [1] * wrong)


def random_answers(n: int = 400, classes: int = 7, scale: float = 2.0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return scale * torch.randn(n, classes, generator=generator), torch.randint(0, classes, (n,), generator=generator)


def test_certain_answers_right_in_seven_of_ten_cases():
    logits, labels = sure(1.0, 7, 3)
    found = evaluate.classification(logits, labels)
    assert found["accuracy"] == pytest.approx(70.0)
    assert found["ece"] == pytest.approx(0.3)
    assert found["brier"] == pytest.approx(0.3 * 2)
    assert found["nll"] == pytest.approx(0.3 * 200.0)


def test_confidence_that_comes_true_has_no_calibration_error():
    parts = [sure(0.6, 6, 4), sure(0.75, 3, 1), sure(0.9, 9, 1)]
    logits, labels = torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])
    assert evaluate.classification(logits, labels)["ece"] == pytest.approx(0.0, abs=1e-6)


def test_uniform_answers():
    logits, labels = torch.zeros(40, 4), torch.arange(40) % 4
    found = evaluate.classification(logits, labels)
    assert found["nll"] == pytest.approx(math.log(4))
    assert found["brier"] == pytest.approx(0.75)
    assert found["accuracy"] == pytest.approx(25.0)
    assert found["ece"] == pytest.approx(0.0, abs=1e-6)


def test_against_scikit_learn():
    logits, labels = random_answers()
    found = evaluate.classification(logits, labels)
    probabilities = logits.double().softmax(1).numpy()
    assert found["accuracy"] == pytest.approx(100 * reference.accuracy_score(labels, probabilities.argmax(1)))
    assert found["nll"] == pytest.approx(reference.log_loss(labels, probabilities), rel=1e-6)
    assert found["brier"] == pytest.approx(reference.brier_score_loss(labels, probabilities), rel=1e-6)


def test_the_reliability_table_sums_to_the_calibration_error():
    logits, labels = random_answers(scale=1.0)
    for bins in (5, 15):
        table = evaluate.reliability(logits, labels, bins)
        gaps = (n * abs(c - a) for n, c, a in zip(table["count"], table["confidence"], table["accuracy"], strict=True))
        assert sum(gaps) / sum(table["count"]) == pytest.approx(evaluate.classification(logits, labels, bins=bins)["ece"], rel=1e-4)
        assert sum(table["count"]) == len(labels)
        for lower, upper, n, c in zip(table["lower"], table["upper"], table["count"], table["confidence"], strict=True):
            assert n == 0 or lower <= c <= upper


def test_full_confidence_lies_in_the_last_bin():
    table = evaluate.reliability(*sure(1.0, 7, 3), 10)
    assert table["count"] == [0] * 9 + [10]
    assert table["accuracy"][-1] == pytest.approx(0.7)


def test_logits_between_0_and_1_are_logits():
    logits, labels = torch.tensor([[0.9, 0.1], [0.2, 0.8]]), torch.tensor([0, 1])
    confidence = 1 / (1 + math.exp(-0.8)), 1 / (1 + math.exp(-0.6))
    assert evaluate.classification(logits, labels)["ece"] == pytest.approx(1 - sum(confidence) / 2)


def test_huge_logits_stay_finite():
    logits, labels = random_answers(scale=1e4)
    assert all(math.isfinite(v) for v in evaluate.classification(logits, labels).values())


def test_per_class():
    logits = torch.eye(4)[torch.tensor([0, 0, 1, 2, 2])]
    found = evaluate.per_class(logits, torch.tensor([0, 1, 1, 2, 2]), classes=["a", "b", "c", "d"])
    assert [found[k]["accuracy"] for k in "abc"] == pytest.approx([100, 50, 100])
    assert [found[k]["count"] for k in "abcd"] == [1, 2, 2, 0]
    assert math.isnan(found["d"]["accuracy"])
    with pytest.raises(ShapeError, match="2 class names"):
        evaluate.per_class(logits, torch.tensor([0, 1, 1, 2, 2]), classes=["a", "b"])


@settings(deadline=None, max_examples=25)
@given(st.floats(-50, 50), st.integers(0, 2**31))
def test_agreement_ignores_shifts_and_order_of_the_two(shift, seed):
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.randn(30, 5, generator=generator, dtype=torch.float64), torch.randn(30, 5, generator=generator, dtype=torch.float64)
    found = evaluate.agreement(a, b)
    assert found == evaluate.agreement(b, a + shift)
    assert found == pytest.approx(100 * (a.argmax(1) == b.argmax(1)).sum().item() / 30)
    assert evaluate.agreement(a, a) == 100


def test_wrong_shapes_are_refused():
    with pytest.raises(ShapeError, match=r"logits \(3, 2\) and labels \(2,\)"):
        evaluate.classification(torch.zeros(3, 2), torch.zeros(2, dtype=torch.long))
    with pytest.raises(ShapeError, match="0 to 5"):
        evaluate.nll(torch.zeros(2, 2), torch.tensor([0, 5]))
    with pytest.raises(ShapeError, match="at least 1"):
        evaluate.brier(torch.zeros(0, 2), torch.zeros(0, dtype=torch.long))
    with pytest.raises(ShapeError, match="same shape"):
        evaluate.agreement(torch.zeros(3, 2), torch.zeros(3, 4))


def test_macro_f1_weighs_rare_classes_like_frequent_ones():
    labels = torch.tensor([0] * 8 + [1, 1, 2])
    answers = torch.tensor([0] * 7 + [1, 1, 0, 2])
    logits = torch.nn.functional.one_hot(answers, 4).float()
    f1 = [2 * 7 / (2 * 7 + 1 + 1), 2 * 1 / (2 * 1 + 1 + 1), 1.0]
    assert evaluate.macro_f1(logits, labels) == pytest.approx(100 * sum(f1) / 3)
    assert evaluate.macro_f1(logits, labels) == pytest.approx(100 * reference.f1_score(labels, answers, average="macro"))
