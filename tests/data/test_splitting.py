from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.data import Arrays, few_labels, split
from tutelage.errors import OptionError


def labelled(labels) -> Arrays:
    labels = torch.as_tensor(labels)
    return Arrays({"input": torch.zeros(len(labels), 1), "label": labels}, tuple(map(str, range(int(labels.max()) + 1))), "set")


def test_parts_are_disjoint_stratified_and_of_the_size_asked_for():
    arrays = labelled([0] * 100 + [1] * 60 + [2] * 40)
    parts = split(arrays, {"train": 0.5, "test": 40, "validation": 0.1}, seed=1)
    rows = [parts[name].index for name in ("train", "test", "validation")]
    assert [len(r) for r in rows] == [100, 40, 20]
    assert len(torch.cat(rows).unique()) == 160
    assert torch.bincount(parts["train"].labels).tolist() == [50, 30, 20]
    assert torch.bincount(parts["test"].labels).tolist() == [20, 12, 8]


@settings(max_examples=60, deadline=None)
@given(counts=st.lists(st.integers(4, 40), min_size=2, max_size=6), share=st.floats(0.3, 0.9), seed=st.integers(0, 1000))
def test_classes_keep_their_share_within_one_sample(counts, share, seed):
    arrays = labelled(np.repeat(np.arange(len(counts)), counts))
    size = max(len(counts), round(share * len(arrays)))
    train = split(arrays, {"train": size}, seed)["train"]
    got = torch.bincount(train.labels, minlength=len(counts)).numpy()
    assert np.abs(got - np.array(counts) * size / len(arrays)).max() <= 1 + 1e-9


def test_the_first_part_has_every_class_however_rare():
    arrays = labelled([0] * 95 + [1, 2, 3, 4, 4])
    for seed in range(20):
        assert (torch.bincount(split(arrays, {"train": 10, "test": 60}, seed)["train"].labels, minlength=5) >= 1).all()


def test_every_beginning_of_a_part_is_balanced():
    part = split(labelled(np.arange(500) % 5), {"train": 250, "test": 100}, seed=0)["test"]
    for end in (20, 55, 80):
        counts = torch.bincount(part.labels[:end], minlength=5)
        assert counts.max() - counts.min() <= 2


def test_the_seed_chooses():
    arrays = labelled(np.arange(60) % 3)
    first = split(arrays, {"a": 30}, seed=0)["a"].index
    assert torch.equal(first, split(arrays, {"a": 30}, seed=0)["a"].index)
    assert not torch.equal(first.sort().values, split(arrays, {"a": 30}, seed=1)["a"].index.sort().values)


def test_unstratified_parts_need_no_labels():
    parts = split(Arrays({"input": torch.zeros(10, 1)}), {"a": 4, "b": 6}, seed=0, stratify=False)
    assert sorted(torch.cat([parts["a"].index, parts["b"].index]).tolist()) == list(range(10))


def test_fractions_that_add_up_to_one_fit_any_number():
    parts = split(labelled(np.arange(11) % 2), {"a": 0.5, "b": 0.5}, seed=0)
    assert sorted(torch.cat([parts["a"].index, parts["b"].index]).tolist()) == list(range(11))


@pytest.mark.parametrize("sizes", [{"a": 0}, {"a": 1.5}, {"a": 8, "b": 8}, {"a": 0.9, "b": 0.9}, {"a": -0.1}])
def test_impossible_sizes_are_refused(sizes):
    with pytest.raises(OptionError, match="part"):
        split(labelled(np.arange(10) % 2), sizes)


def test_few_labels_takes_the_same_number_of_every_class():
    arrays = labelled([0] * 30 + [1] * 5 + [2] * 15)
    few, others = few_labels(arrays, 4, seed=2)
    assert torch.bincount(few.labels).tolist() == [4, 4, 4]
    assert sorted(few.index.tolist() + others.index.tolist()) == list(range(50))
    assert not torch.equal(few.index.sort().values, few_labels(arrays, 4, seed=3)[0].index.sort().values)
    with pytest.raises(OptionError, match="class 1"):
        few_labels(arrays, 6)
