from __future__ import annotations

import importlib.metadata

import numpy as np
import pytest
import torch

from tutelage import data
from tutelage.data import bag_sets
from tutelage.data.bag_makers import EASY, HARD, hard_easy_bags, mnist_bags
from tutelage.errors import DataError, MissingExtra, OptionError


def whole(spec: str) -> data.Arrays:
    parts = data.load(spec)
    return data.join([parts.train, parts.validation, parts.test])


@pytest.mark.parametrize(
    ("name", "instances", "bags", "positive", "features"),
    [("musk1", 476, 92, 47, 166), ("musk2", 6598, 102, 39, 166), ("ucsb", 2002, 58, 26, 708)],
)
def test_real_sets_have_their_published_sizes_and_come_from_the_cache_the_second_time(
    monkeypatch, name, instances, bags, positive, features
):
    try:
        importlib.metadata.distribution("mil")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("mil is not installed")
    arrays = whole(name)
    assert (int(arrays.column("input").sizes.sum()), len(arrays), int(arrays.labels.sum())) == (instances, bags, positive)
    assert arrays.shape == (features,)
    monkeypatch.setattr(bag_sets, "parse", lambda path: pytest.fail("was parsed again"))
    assert whole(name).fingerprint() == arrays.fingerprint()
    scaled = data.load(f"{name}?standardize=true").train.column("input")
    assert torch.cat(list(scaled)).mean(0).abs().max() < 1e-3


def test_rows_of_a_bag_need_not_lie_together(tmp_path):
    path = tmp_path / "set.csv"
    path.write_text("1,7,0.5,1\n0,3,2,3\n1,7,4,5\n0,9,6,7\n")
    found = bag_sets.parse(path)
    assert found["names"].tolist() == [3, 7, 9]
    assert found["sizes"].tolist() == [1, 2, 1]
    assert found["labels"].tolist() == [0, 1, 0]
    assert np.array_equal(found["instances"], [[2, 3], [0.5, 1], [4, 5], [6, 7]])


@pytest.mark.parametrize(
    ("text", "reason"), [("1,2\n", "2 columns"), ("1,1,x\n", "damaged"), ("1,5,0\n0,5,0\n", "the bag 5 several labels")]
)
def test_damaged_files_are_named(tmp_path, text, reason):
    path = tmp_path / "set.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=reason):
        bag_sets.parse(path)


def test_a_missing_package_says_what_to_install(monkeypatch, tmp_path):
    def absent(name: str):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path))
    monkeypatch.setattr(importlib.metadata, "distribution", absent)
    with pytest.raises(MissingExtra, match=r"tutelage\[bags\]"):
        data.load("musk1")


# ---- made bags ----


def test_easy_and_hard_instances_lie_where_they_should():
    arrays = hard_easy_bags(200, shift=3.0, seed=1)
    x, kind = torch.stack(list(arrays.column("input"))), torch.stack(arrays.column("kind").bags).squeeze(2)
    positive = arrays.labels == 1
    assert arrays.labels.sum() == 100
    assert ((kind == EASY).sum(1)[positive] == 4).all()
    assert ((kind == HARD).sum(1)[positive] == 6).all()
    assert (kind[~positive] == 0).all()
    for mask, mean in ((kind == EASY, (4.0, 0.0)), (kind == HARD, (0.0, 3.0)), (kind == 0, (0.0, 0.0))):
        assert x[mask][:, :2].mean(0).tolist() == pytest.approx(mean, abs=0.25)
        assert x[mask][:, 2:6].mean(0).tolist() == pytest.approx([0.5] * 4, abs=0.25)  # one tissue of four, moved by 2
    torch.testing.assert_close(x[kind == 0][:, 6:].std(), torch.tensor(1.0), atol=0.01, rtol=0)
    places = (kind == HARD).float().argmax(1)[positive]
    assert len(places.unique()) > 15


def test_bags_of_hard_positives_only_hold_no_easy_ones():
    kinds = torch.stack(hard_easy_bags(10, easy=0).column("kind").bags)
    assert not (kinds == EASY).any()
    assert (kinds == HARD).sum() == 5 * 6


def test_made_bags_are_a_function_of_the_seed():
    one, two, three = (hard_easy_bags(4, seed=seed).fingerprint() for seed in (5, 5, 6))
    assert one == two != three
    with pytest.raises(OptionError, match="easy"):
        hard_easy_bags(4, instances=5)


def test_bags_of_digits_hide_their_nines_under_noise():
    images = torch.rand(400, 1, 6, 6) * 0.1
    images[:, 0, 0, 0] = torch.arange(400).float() / 400  # names each image
    digits = data.Arrays({"input": images, "label": torch.arange(400) % 10}, tuple("0123456789"), "toy digits")
    arrays = mnist_bags(digits, 20, easy=1, hard=2, instances=12, seed=2)
    assert arrays.shape == (36,)
    for bag, kind, label in zip(arrays.column("input"), arrays.column("kind").bags, arrays.labels, strict=True):
        kinds = kind.flatten()
        assert (kinds == EASY).sum() == label
        assert (kinds == HARD).sum() == 2 * label
        noisy = bag[:, 1:].max(1).values > 0.2
        assert noisy[kinds == HARD].all()
        assert noisy.sum() == (4 if label else 2)  # as many others are disturbed, in negative bags too
        clean = (bag[~noisy][:, 0] * 400).round().long()
        assert ((clean % 10 == 9) == (kinds[~noisy] == EASY)).all()
        assert len(clean.unique()) == len(clean)
    with pytest.raises(DataError, match="too few"):
        mnist_bags(digits, 2, positive=7, instances=500)
