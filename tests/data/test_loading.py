from __future__ import annotations

import pytest
import torch

from tutelage.data import Arrays, DataSet, load
from tutelage.errors import DataError, OptionError, SpecError


def pair(count=60, classes=3):
    return torch.rand(count, 4, generator=torch.Generator().manual_seed(0)), torch.arange(count) % classes


@pytest.mark.parametrize("spec", ["digit", "mnist5k", "folder:", "x.tsv", "", "gone/folder", "folder"])
def test_a_spec_that_names_nothing_says_what_would(spec):
    with pytest.raises(SpecError, match="names no data: expected digits"):
        load(spec)


def test_the_nearest_name_is_offered():
    with pytest.raises(SpecError, match="Did you mean 'mnist-5k'"):
        load("mnist5k")


@pytest.mark.parametrize(
    ("spec", "message"), [("digits?size=3", "no option 'size'. It takes none"), ("digits?x", "must read option=value")]
)
def test_options_that_do_not_exist_are_refused(spec, message):
    with pytest.raises(OptionError, match=message):
        load(spec)


def test_inputs_that_are_not_finite_are_counted_named_and_skipped():
    x, y = pair()
    x[[8, 30, 31], 1] = torch.tensor([float("nan"), float("inf"), -float("inf")])
    with pytest.raises(
        DataError, match=r"3 of the 60 samples of 'data' have an input that is NaN or infinite; the first is row 8 of train"
    ):
        load((x, y))
    data = load((x, y), skip_bad=True)
    assert data.skipped == 3
    rows = torch.cat([part.index for part in data.parts.values()])
    assert sorted(rows.tolist()) == [i for i in range(60) if i not in (8, 30, 31)]


def test_labels_out_of_range_are_counted_named_and_skipped():
    x, y = pair()
    y[[4, 9]] = torch.tensor([7, -1])
    arrays = Arrays({"input": x, "label": y}, ("a", "b", "c"), "mine")
    with pytest.raises(DataError, match=r"2 of the 60 samples of 'mine' have a label outside 0..2; the first is row 4 of train \(7\)"):
        load(arrays)
    assert load(arrays, skip_bad=True).skipped == 2


def test_a_set_that_is_all_bad_is_refused_even_when_skipping():
    x, y = pair()
    with pytest.raises(DataError, match="All 60 samples"):
        load((x * float("nan"), y), skip_bad=True)


def test_empty_sets_and_classes_and_single_classes_are_refused():
    x, y = pair()
    with pytest.raises(DataError, match="is empty"):
        load((x[:0], y[:0]))
    with pytest.raises(DataError, match="of one class"):
        load((x, torch.zeros_like(y)))
    with pytest.raises(DataError, match=r"1 of the 4 classes .* the first is '1'"):
        load((x, torch.where(y == 1, 3, y)))
    with pytest.raises(DataError, match="of one class"):
        load((x, torch.full_like(y, 2)))


def test_labels_must_be_class_numbers():
    x, y = pair()
    with pytest.raises(DataError, match=r"torch.float32 of shape \(60,\): expected class numbers"):
        load(Arrays({"input": x, "label": y.float()}, ("a", "b", "c")))
    with pytest.raises(DataError, match="no column 'label'"):
        load(Arrays({"input": x}, ("a", "b", "c")))


def test_empty_texts_are_bad():
    texts = ["good"] * 20
    texts[3] = "  "
    with pytest.raises(DataError, match="an empty text; the first is row 3"):
        load((texts, torch.arange(20) % 2))


def test_data_sets_are_checked_in_every_part():
    x, y = pair()
    good = Arrays({"input": x, "label": y}, ("a", "b", "c"), "good")
    bad = Arrays({"input": x.clone(), "label": y}, ("a", "b", "c"), "bad")
    bad.columns["input"][5] = float("nan")
    with pytest.raises(DataError, match="samples of 'bad'"):
        load(DataSet("d", good, good, bad))
    assert load(DataSet("d", good, good, bad), skip_bad=True).skipped == 1


def test_parts_are_cut_by_seed_and_size():
    data = load(pair(100, 2), validation=7, test=0.25, seed=3)
    assert [len(part) for part in data.parts.values()] == [68, 7, 25]
    assert data.fingerprint() == load(pair(100, 2), validation=7, test=0.25, seed=3).fingerprint()
    assert data.fingerprint() != load(pair(100, 2), validation=7, test=0.25, seed=4).fingerprint()


@pytest.mark.parametrize(
    ("sizes", "message"), [({"test": 58}, "left to train on"), ({"test": 0}, "test part"), ({"validation": 1.5}, "validation part")]
)
def test_cuts_that_leave_nothing_are_refused(sizes, message):
    with pytest.raises(OptionError, match=message):
        load(pair(), **sizes)
