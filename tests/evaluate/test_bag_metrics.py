from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.errors import OptionError, ShapeError
from tutelage.evaluate.bags import at_threshold, auc, bag_metrics, best_threshold, margin, multiclass_auc

metrics = pytest.importorskip("sklearn.metrics")


def sample(seed: int, n: int = 40, ties: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(2, (n,), generator=generator)
    labels[:2] = torch.tensor([0, 1])
    scores = torch.randn(n, generator=generator) + labels
    return (scores.round() if ties else scores), labels


@given(st.integers(0, 200), st.booleans())
def test_auc_is_that_of_scikit_learn(seed, ties):
    scores, labels = sample(seed, ties=ties)
    assert auc(scores, labels) == pytest.approx(metrics.roc_auc_score(labels, scores), abs=1e-12)


def test_auc_in_closed_form():
    labels = torch.tensor([0, 0, 1, 1])
    assert auc(torch.tensor([1.0, 2.0, 3.0, 4.0]), labels) == 1.0
    assert auc(torch.tensor([4.0, 3.0, 2.0, 1.0]), labels) == 0.0
    assert auc(torch.zeros(4), labels) == 0.5
    assert auc(torch.tensor([1.0, 3.0, 2.0, 4.0]), labels) == 0.75


@given(st.integers(0, 50))
def test_several_classes_are_averaged_one_against_the_rest(seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.cat([torch.arange(3), torch.randint(3, (40,), generator=generator)])
    logits = torch.randn(43, 3, generator=generator)
    probabilities = logits.softmax(1)
    expected = metrics.roc_auc_score(labels, probabilities.double(), multi_class="ovr", labels=[0, 1, 2])
    assert multiclass_auc(probabilities, labels) == pytest.approx(expected, abs=1e-6)
    found = bag_metrics(logits, labels)
    assert found["f1"] == pytest.approx(metrics.f1_score(labels, logits.argmax(1), average="macro"))
    assert found["accuracy"] == pytest.approx(100 * metrics.accuracy_score(labels, logits.argmax(1)))


@settings(max_examples=15)
@given(st.integers(0, 200), st.booleans(), st.sampled_from(["youden", "accuracy", "f1"]))
def test_no_threshold_is_better_than_the_best(seed, ties, criterion):
    scores, labels = sample(seed, n=25, ties=ties)

    def value(threshold: float) -> float:
        called = (scores >= threshold).long()
        if criterion == "youden":
            return metrics.recall_score(labels, called) + metrics.recall_score(labels, called, pos_label=0) - 1
        if criterion == "accuracy":
            return metrics.accuracy_score(labels, called)
        return metrics.f1_score(labels, called)

    best = value(best_threshold(scores, labels, criterion=criterion))
    assert best == pytest.approx(max(value(float(s)) for s in scores), abs=1e-9)


@settings(max_examples=20)
@given(st.integers(0, 100))
def test_accuracy_and_f1_are_those_of_scikit_learn(seed):
    scores, labels = sample(seed)
    threshold = best_threshold(scores, labels)
    found = at_threshold(scores, labels, threshold)
    called = (scores >= threshold).long()
    assert found["accuracy"] == pytest.approx(100 * metrics.accuracy_score(labels, called))
    assert found["f1"] == pytest.approx(metrics.f1_score(labels, called))


def test_the_threshold_lies_between_the_two_kinds():
    assert best_threshold(torch.tensor([1.0, 2.0, 6.0, 7.0]), torch.tensor([0, 0, 1, 1])) == 4.0
    assert best_threshold(torch.tensor([1.0, 2.0]), torch.tensor([1, 0])) == 1.0  # everything is called positive


def test_two_logits_are_ranked_by_their_margin():
    scores, labels = sample(3)
    logits = torch.stack([torch.full_like(scores, 5.0), scores + 5], 1)
    torch.testing.assert_close(margin(logits), scores)
    found = bag_metrics(logits, labels, threshold=0.7)
    assert found["auc"] == pytest.approx(metrics.roc_auc_score(labels, scores))
    assert found["accuracy"] == at_threshold(scores, labels, 0.7)["accuracy"]
    assert bag_metrics(logits, labels)["accuracy"] == pytest.approx(100 * (logits.argmax(1) == labels).float().mean().item())


def test_a_large_offset_does_not_tie_the_scores():
    # Softmax would be 1 for all three.
    logits = torch.tensor([[0.0, 40.0], [0.0, 60.0], [0.0, 50.0]])
    assert bag_metrics(logits, torch.tensor([0, 1, 1]))["auc"] == 1.0


def test_wrong_input_is_named():
    with pytest.raises(ShapeError, match="All 3 bags are positive"):
        auc(torch.zeros(3), torch.ones(3))
    with pytest.raises(ShapeError, match="NaN"):
        auc(torch.tensor([0.0, torch.nan]), torch.tensor([0, 1]))
    with pytest.raises(ShapeError, match=r"\[N\] each"):
        auc(torch.zeros(3), torch.zeros(2))
    with pytest.raises(OptionError, match="'kappa'"):
        best_threshold(torch.tensor([0.0, 1.0]), torch.tensor([0, 1]), criterion="kappa")
    with pytest.raises(ShapeError, match="two classes"):
        margin(torch.zeros(2, 3))
