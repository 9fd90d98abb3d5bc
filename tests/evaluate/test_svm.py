from __future__ import annotations

import math

import pytest
import torch

from tutelage import evaluate
from tutelage.errors import DataError, OptionError, ShapeError
from tutelage.evaluate.ranking import average_precision, interpolated_precision

pytest.importorskip("sklearn")


def by_hand(scores, targets, points):
    """VOC's own loop: for each recall the best precision from there on."""
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    hits, curve = 0, []
    for place, i in enumerate(order, 1):
        hits += int(targets[i])
        curve.append((hits, hits / place))
    positives = hits
    if points is None:
        return sum(max(p for h, p in curve if h >= wanted) for wanted in range(1, positives + 1)) / positives
    wanted = [j * positives for j in range(points)]
    return sum(max(p for h, p in curve if h * (points - 1) >= w) for w in wanted) / points


@pytest.mark.parametrize("points", [11, 5, None])
def test_interpolated_precision_is_the_challenges_loop(points):
    generator = torch.Generator().manual_seed(0)
    scores, targets = torch.rand(40, 5, generator=generator), torch.rand(40, 5, generator=generator) < 0.25
    counted = torch.rand(40, 5, generator=generator) < 0.8
    plain, some = (
        interpolated_precision(scores, targets, points=points),
        interpolated_precision(scores, targets, counted=counted, points=points),
    )
    for c in range(5):
        assert float(plain[c]) == pytest.approx(by_hand(scores[:, c].tolist(), targets[:, c].tolist(), points))
        rows = counted[:, c]
        assert float(some[c]) == pytest.approx(by_hand(scores[rows, c].tolist(), targets[rows, c].tolist(), points))
    assert (interpolated_precision(scores, targets, points=None) >= average_precision(scores, targets) - 1e-12).all()


def test_eleven_points_in_closed_form():
    # Ranked: right, wrong, right. Recalls up to 1/2 have precision 1 (six of eleven points), above 2/3 (five).
    scores, targets = torch.tensor([[3.0], [2.0], [1.0]]), torch.tensor([[1], [0], [1]])
    assert float(interpolated_precision(scores, targets)) == pytest.approx((6 + 5 * 2 / 3) / 11)
    assert float(interpolated_precision(scores, targets, points=None)) == pytest.approx((1 + 2 / 3) / 2)
    tied = torch.zeros(4, 1)
    assert float(interpolated_precision(tied, torch.tensor([[1], [0], [0], [0]]))) == pytest.approx(0.25)
    assert math.isnan(interpolated_precision(scores, torch.zeros(3, 1)))
    with pytest.raises(OptionError, match="points=1"):
        interpolated_precision(scores, targets, points=1)


@pytest.fixture(scope="module")
def shown():
    """Digits with two labels each: what the number is, and whether it is even."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    x, y = torch.tensor(x).float(), torch.tensor(y)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:600]
    x, y = x[order], y[order]
    targets = torch.cat([torch.nn.functional.one_hot(y, 10)[:, :3], (y % 2 == 0).long()[:, None]], 1)
    return x[:300], targets[:300], x[300:], targets[300:]


def test_each_class_is_the_machine_of_scikit_learn_with_the_cost_of_the_best_folds(shown):
    from sklearn.model_selection import cross_val_score
    from sklearn.svm import LinearSVC

    x, y, test, truth = shown
    found = evaluate.svm_precision(*shown, costs=(0.01, 1.0), points=None)
    unit, other = (torch.nn.functional.normalize(part.double(), dim=1).numpy() for part in (x, test))
    for c in range(4):
        machines = [LinearSVC(C=cost, class_weight={1: 2, 0: 1}, dual=True, max_iter=2000, random_state=0) for cost in (0.01, 1.0)]
        worth = [cross_val_score(m, unit, y[:, c].numpy(), cv=3, scoring="average_precision").mean() for m in machines]
        best = max(range(2), key=worth.__getitem__)
        scores = torch.from_numpy(machines[best].fit(unit, y[:, c].numpy()).decision_function(other))
        assert found.costs[c] == (0.01, 1.0)[best]
        expected = 100 * interpolated_precision(scores[:, None], truth[:, c : c + 1], points=None)
        torch.testing.assert_close(found.per_class[c], expected[0])
    assert found.mean == pytest.approx(float(found.per_class.mean()))
    assert found.per_class[:3].min() > 90
    assert evaluate.svm_precision(x, y, test, truth, costs=(1.0,)).mean > 90


def test_the_test_part_takes_no_part_in_the_choice(shown):
    x, y, test, truth = shown
    costs = (0.01, 0.1, 1.0)
    chosen = evaluate.svm_precision(*shown, costs=costs).costs
    assert evaluate.svm_precision(x, y, -test, 1 - truth, costs=costs).costs == chosen


def test_difficult_samples_count_neither_way(shown):
    x, y, test, truth = shown
    counted = torch.ones_like(y, dtype=torch.bool)
    counted[:100, 0] = False
    spoilt = y.clone()
    spoilt[:100, 0] = 1 - y[:100, 0]
    spared = evaluate.svm_precision(x, spoilt, test, truth, train_counted=counted, costs=(1.0,))
    same = evaluate.svm_precision(x, y, test, truth, train_counted=counted, costs=(1.0,))
    assert torch.equal(spared.per_class, same.per_class)
    assert evaluate.svm_precision(x, spoilt, test, truth, costs=(1.0,)).per_class[0] < spared.per_class[0]
    wrong = truth.clone()
    wrong[:50, 1] = 1 - truth[:50, 1]
    out = torch.ones_like(truth, dtype=torch.bool)
    out[:50, 1] = False
    judged = evaluate.svm_precision(x, y, test, wrong, test_counted=out, costs=(1.0,))
    only = evaluate.svm_precision(x, y, test[50:], truth[50:], costs=(1.0,))
    torch.testing.assert_close(judged.per_class[1], only.per_class[1])


def test_a_class_that_the_test_part_lacks_is_left_out_of_the_mean(shown):
    x, y, test, truth = shown
    found = evaluate.svm_precision(x, y, test, torch.cat([0 * truth[:, :1], truth[:, 1:]], 1), costs=(1.0,))
    assert found.per_class[0].isnan()
    assert found.mean == pytest.approx(float(found.per_class[1:].mean()))


def test_what_cannot_be_fitted_is_refused(shown):
    x, y, test, truth = shown
    few = y.clone()
    few[:, 2] = 0
    few[:2, 2] = 1
    with pytest.raises(DataError, match="Class 2 has 2 positive and 298 negative"):
        evaluate.svm_precision(x, few, test, truth)
    with pytest.raises(ShapeError, match="test part"):
        evaluate.svm_precision(x, y, test, truth[:, :2])
    with pytest.raises(DataError, match="NaN"):
        evaluate.svm_precision(x * torch.nan, y, test, truth)
    with pytest.raises(OptionError, match="folds"):
        evaluate.svm_precision(*shown, folds=1)
    with pytest.raises(OptionError, match="costs"):
        evaluate.svm_precision(*shown, costs=())
