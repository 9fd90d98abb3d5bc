from __future__ import annotations

from tutelage.recipes.curves import mean_curves
from tutelage.train import History


def test_means_over_seeds_at_the_epochs_that_all_have():
    one = History([{"ece": 1.0}, {"ece": 2.0}, {"ece": 3.0}])
    other = History([{"ece": 3.0}, {"ece": 4.0}])
    sparse = History([{}, {"ece": 10.0}, {}])
    never = History([{"accuracy": 1.0}])
    epochs, curves = mean_curves({"a": [one, other], "b": [sparse], "c": [never]}, "ece")
    assert epochs == [2]
    assert curves == {"a": [3.0], "b": [10.0]}


def test_nothing_measured_gives_no_curve():
    assert mean_curves({"a": [History()]}, "ece") == ([], {})
