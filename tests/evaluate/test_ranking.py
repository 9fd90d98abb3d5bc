from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.errors import ShapeError
from tutelage.evaluate.ranking import average_precision, grouped_average_precision


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 6), st.integers(0, 10_000), st.booleans())
def test_agrees_with_scikit_learn_with_and_without_ties(samples: int, classes: int, seed: int, ties: bool) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(samples, classes, generator=generator)
    if ties:
        scores = (scores * 4).round()
    targets = (torch.rand(samples, classes, generator=generator) < 0.4).float()
    ours = average_precision(scores, targets)
    for c in range(classes):
        if targets[:, c].sum() == 0:
            assert math.isnan(ours[c])
        else:
            assert float(ours[c]) == pytest.approx(metrics.average_precision_score(targets[:, c].numpy(), scores[:, c].numpy()), abs=1e-9)


def test_by_hand() -> None:
    scores = torch.tensor([[0.9], [0.8], [0.7], [0.6]])
    targets = torch.tensor([[1.0], [0.0], [1.0], [0.0]])
    assert float(average_precision(scores, targets)) == pytest.approx((1 + 2 / 3) / 2)


def test_only_counted_samples_are_ranked() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(30, 4, generator=generator)
    targets = (torch.rand(30, 4, generator=generator) < 0.5).float()
    counted = torch.rand(30, 4, generator=generator) < 0.6
    ours = average_precision(scores, targets, counted=counted)
    for c in range(4):
        rows = counted[:, c]
        torch.testing.assert_close(ours[c], average_precision(scores[rows, c : c + 1], targets[rows, c : c + 1])[0])


def test_a_strictly_increasing_map_of_the_scores_changes_nothing() -> None:
    generator = torch.Generator().manual_seed(1)
    scores = torch.randn(50, 3, generator=generator, dtype=torch.double)
    targets = torch.rand(50, 3, generator=generator) < 0.3
    torch.testing.assert_close(average_precision(scores.sigmoid(), targets), average_precision(scores, targets))


def test_groups_count_the_same_whatever_their_size() -> None:
    # Group 0 has three perfect classes, group 1 one class at 0.5: the mean over classes would be 0.875.
    scores = torch.tensor([[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    targets = torch.tensor([[1, 1, 1, 0], [0, 0, 0, 1]])
    result = grouped_average_precision(scores, targets, torch.tensor([0, 0, 0, 1]))
    assert result.per_group.tolist() == [1.0, 0.5]
    assert result.mean == 0.75


def test_a_class_without_positives_is_left_out_of_its_group() -> None:
    scores = torch.tensor([[1.0, 0.3, 0.2], [0.0, 0.4, 0.1]])
    targets = torch.tensor([[1, 0, 0], [0, 0, 0]])
    result = grouped_average_precision(scores, targets, torch.tensor([0, 0, 1]))
    assert math.isnan(result.per_class[1])
    assert result.per_group[0] == 1.0
    assert math.isnan(result.per_group[1])
    assert result.mean == 1.0


def test_members_restrict_each_class_to_the_samples_of_its_group() -> None:
    scores = torch.tensor([[0.5, 0.0], [0.4, 0.0], [0.9, 0.7]])
    targets = torch.tensor([[1, 0], [0, 0], [0, 1]])
    members = torch.tensor([[True, False], [True, False], [False, True]])
    groups = torch.tensor([0, 1])
    assert grouped_average_precision(scores, targets, groups).per_class.tolist() == [0.5, 1.0]
    assert grouped_average_precision(scores, targets, groups, members=members).per_class.tolist() == [1.0, 1.0]


def test_refuses_what_does_not_fit() -> None:
    scores = torch.zeros(3, 2)
    with pytest.raises(ShapeError, match="targets"):
        average_precision(scores, torch.zeros(3, 3))
    with pytest.raises(ShapeError, match="groups"):
        grouped_average_precision(scores, scores, torch.tensor([0]))
    with pytest.raises(ShapeError, match="NaN"):
        average_precision(torch.full((3, 2), math.nan), torch.ones(3, 2))
    with pytest.raises(ShapeError, match="one score per sample"):
        average_precision(torch.zeros(3), torch.zeros(3))
