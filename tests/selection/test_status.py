import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.errors import OptionError
from tutelage.selection.status import class_uniform, status_classes


def inertia(values, labels):
    return sum(((values[labels == c] - values[labels == c].mean()) ** 2).sum() for c in np.unique(labels))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-20, 20), min_size=1, max_size=8), st.integers(1, 4))
def test_no_division_of_the_values_is_better(numbers, classes):
    values = np.array(numbers, float)
    labels = status_classes(values, classes)
    assert sorted(np.unique(labels)) == list(range(min(classes, len(set(numbers)))))
    every = (np.array(x) for x in itertools.product(range(classes), repeat=len(values)))
    assert inertia(values, labels) == pytest.approx(min(inertia(values, x) for x in every), abs=1e-9)
    assert (np.diff(labels[np.argsort(values, kind="stable")]) >= 0).all()


def test_it_is_at_least_as_good_as_k_means_of_scikit_learn():
    cluster = pytest.importorskip("sklearn.cluster")
    generator = np.random.default_rng(0)
    values = np.concatenate([generator.normal(200, 5, 300), generator.uniform(0, 180, 40)])
    theirs = cluster.KMeans(6, random_state=0, n_init=10).fit(values[:, None])
    ours = status_classes(values, 6)
    assert inertia(values, ours) <= theirs.inertia_ + 1e-9
    assert inertia(values, ours) >= 0.9 * theirs.inertia_


def test_values_far_from_zero_keep_their_classes():
    values = np.array([0.0, 0.1, 1.0, 1.1, 5.0])
    assert status_classes(values + 1e6, 3).tolist() == status_classes(values, 3).tolist() == [0, 0, 1, 1, 2]


def test_more_classes_than_values_are_clipped_and_none_is_empty():
    assert status_classes([3.0, 1.0], 6).tolist() == [1, 0]
    assert status_classes([2.0, 2.0, 2.0], 6).tolist() == [0, 0, 0]


def test_a_rare_class_is_drawn_as_often_as_a_common_one():
    weights = class_uniform([0] + [1] * 99)
    assert weights[0] == 0.5
    assert weights[1:].tolist() == [0.5 / 99] * 99
    assert weights.sum() == pytest.approx(1.0)
    assert class_uniform([0] * 100)[0] == 0.01


@pytest.mark.parametrize(("values", "classes"), [([], 2), ([float("nan")], 2), ([1.0], 0)])
def test_bad_values_are_refused(values, classes):
    with pytest.raises(OptionError, match="expected at least one finite value"):
        status_classes(values, classes)
