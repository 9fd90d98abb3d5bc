from __future__ import annotations

import pytest
import torch
from torch import nn

from tutelage import evaluate
from tutelage.errors import DataError, OptionError, ShapeError


@pytest.fixture(scope="module")
def digits():
    sets = pytest.importorskip("sklearn.datasets")
    x, y = sets.load_digits(return_X_y=True)
    x, y = torch.tensor(x).float(), torch.tensor(y)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    return x[order[:800]], y[order[:800]], x[order[800:]], y[order[800:]]


def test_the_probe_is_the_logistic_regression_of_scikit_learn(digits):
    linear = pytest.importorskip("sklearn.linear_model")
    x, y, test, truth = digits
    ours = evaluate.linear_probe(*digits, weight_decay=1e-2)
    mean, std = x.mean(0), x.std(0).clamp_min(1e-6)
    theirs = linear.LogisticRegression(C=1 / (1e-2 * len(x)), max_iter=2000).fit(((x - mean) / std).numpy(), y)
    accuracy = 100 * theirs.score(((test - mean) / std).numpy(), truth)
    assert ours == pytest.approx(accuracy, abs=0.31)  # three of 997
    assert evaluate.linear_probe(*digits) > 90


def test_one_neighbour_is_scikit_learns_and_all_with_equal_weight_is_the_largest_class(digits):
    neighbours = pytest.importorskip("sklearn.neighbors")
    x, y, test, truth = digits
    theirs = 100 * neighbours.KNeighborsClassifier(1, metric="cosine").fit(x, y).score(test, truth)
    assert evaluate.nearest_neighbours(*digits, k=1, batch_size=300) == pytest.approx(theirs, abs=0.11)
    everyone = evaluate.nearest_neighbours(x, y, test, truth, k=10_000, temperature=1e6)
    assert everyone == pytest.approx(100 * float((truth == y.bincount().argmax()).float().mean()))
    assert evaluate.nearest_neighbours(*digits) > 95


def test_features_are_those_of_eval_mode_and_the_mode_comes_back():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Dropout(0.9)).train()
    x = torch.rand(10, 2, 2)
    assert torch.equal(evaluate.features(model, x, batch_size=3), model[1](x.flatten(1)).detach())
    assert model.training


def test_spread_and_ranks_in_closed_form():
    directions = torch.linalg.qr(torch.randn(64, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[0]
    directions = directions - directions.mean(0)
    even = torch.linalg.qr(directions)[0]
    assert evaluate.effective_rank(even) == pytest.approx(8, abs=1e-6)
    assert evaluate.rank_me(even + 100) < 2
    assert evaluate.effective_rank(even[:, :1] @ torch.ones(1, 5, dtype=torch.float64)) == pytest.approx(1, abs=1e-6)
    constant = torch.ones(20, 4)
    assert evaluate.collapse(constant) == {"feature_std": 0.0, "effective_rank": 1.0}
    values = torch.tensor([3.0, 1.0], dtype=torch.float64)
    shares = values / 4
    assert evaluate.rank_me(torch.diag(values)) == pytest.approx(float(torch.exp(-(shares * shares.log()).sum())))


def test_what_does_not_fit_is_refused():
    x, y = torch.rand(5, 3), torch.zeros(5, dtype=torch.int64)
    with pytest.raises(ShapeError):
        evaluate.linear_probe(x, y[:4], x, y)
    with pytest.raises(DataError, match="NaN"):
        evaluate.nearest_neighbours(x * torch.nan, y, x, y)
    with pytest.raises(OptionError):
        evaluate.nearest_neighbours(x, y, x, y, k=0)
    with pytest.raises(ShapeError):
        evaluate.effective_rank(x[:1])
