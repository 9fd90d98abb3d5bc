from __future__ import annotations

import pytest
import torch

from tutelage import data
from tutelage.data.bags import Bags, StoredBag
from tutelage.data.bags import join as join_bags
from tutelage.errors import DataError
from tutelage.train import Method, Trainer, TrainOptions


def some(sizes=(3, 1, 5, 2, 4, 6), features: int = 4, **columns) -> data.Arrays:
    generator = torch.Generator().manual_seed(0)
    bags = [torch.randn(n, features, generator=generator) for n in sizes]
    return data.Arrays({"input": Bags(bags), "label": torch.arange(len(sizes)) % 2, **columns}, ("no", "yes"), "toy")


def test_a_batch_is_a_list_of_bags_with_their_labels():
    arrays = some()
    batch = arrays.gather([4, 1])
    assert [tuple(bag.shape) for bag in batch["input"]] == [(4, 4), (1, 4)]
    assert batch["input"][0] is arrays.column("input").bags[4]  # gathering copies nothing
    assert batch["label"].tolist() == [0, 1]
    assert arrays.shape == (4,)
    assert arrays.column("input").sizes.tolist() == [3, 1, 5, 2, 4, 6]


def test_subsets_keep_the_bags_and_their_rows():
    part = some().subset([5, 2]).subset([1])
    assert part.index.tolist() == [2]
    assert torch.equal(part.column("input")[0], some().column("input")[2])


def test_the_order_is_a_function_of_seed_and_epoch():
    sizes = range(1, 31)
    orders = {
        (seed, epoch): [len(bag) for batch in data.Batches(some(sizes), 4, seed=seed).epoch(epoch) for bag in batch["input"]]
        for seed in (0, 1)
        for epoch in (0, 1)
    }
    assert all(sorted(order) == list(sizes) for order in orders.values())
    assert len({tuple(order) for order in orders.values()}) == 4
    again = data.Batches(some(sizes), 4, seed=1)
    again.batch(0, 3)
    assert [len(bag) for batch in again.epoch(1, start=2) for bag in batch["input"]] == orders[1, 1][8:]


def test_images_of_bytes_come_as_floats():
    bags = Bags([torch.full((2, 1, 3, 3), 255, dtype=torch.uint8), torch.zeros(1, 1, 3, 3, dtype=torch.uint8)])
    assert [bag.max().item() for bag in bags] == [1.0, 0.0]
    assert bags.instance_shape == (1, 3, 3)


def test_bags_of_different_features_are_refused():
    with pytest.raises(DataError, match=r"Bag 1 \('1'\) has the shape \(2, 3\).*\[N, 4\]"):
        Bags([torch.zeros(2, 4), torch.zeros(2, 3)])


def test_empty_and_infinite_bags_are_refused_or_left_out():
    bags = [torch.zeros(2, 3), torch.zeros(0, 3), torch.full((1, 3), torch.inf), *[torch.zeros(1, 3)] * 17]
    arrays = data.Arrays({"input": Bags(bags), "label": torch.arange(20) % 2}, ("no", "yes"), "toy")
    with pytest.raises(DataError, match="1 of the 20 samples of 'toy' have no instance; the first is row 1"):
        data.load(arrays)
    loaded = data.load(arrays, skip_bad=True)
    assert loaded.skipped == 2
    assert sum(len(part) for part in loaded.parts.values()) == 18
    assert loaded.shape == (3,)


def test_the_fingerprint_sees_every_number_and_every_size():
    arrays = some()
    changed = [bag.clone() for bag in arrays.column("input").bags]
    changed[5][5, 3] += 1
    regrouped = list(torch.cat(arrays.column("input").bags).split([3, 1, 5, 2, 5, 5]))
    prints = {arrays.replace(input=Bags(bags)).fingerprint() for bags in (arrays.column("input").bags, changed, regrouped)}
    assert len(prints) == 3
    assert arrays.fingerprint() == some().fingerprint()


def test_moments_are_those_of_all_instances_together():
    bags = some().column("input")
    mean, std = bags.moments()
    flat = torch.cat(bags.bags)
    torch.testing.assert_close(mean, flat.mean(0))
    torch.testing.assert_close(std, flat.std(0, correction=0))
    scaled = torch.cat(list(bags.standardised(mean, std)))
    torch.testing.assert_close(scaled.mean(0), torch.zeros(4), atol=1e-6, rtol=0)
    torch.testing.assert_close(scaled.std(0, correction=0), torch.ones(4))
    constant = Bags([torch.full((3, 2), 7.3), torch.full((1, 2), 7.3)])
    assert all(torch.equal(bag, torch.zeros_like(bag)) for bag in constant.standardised(*constant.moments()))
    with pytest.raises(DataError, match="standardised already"):
        bags.standardised(mean, std).standardised(mean, std)


def test_stored_bags_are_read_when_asked_for_and_checked_then():
    reads = []

    def load(values: torch.Tensor):
        def read() -> torch.Tensor:
            reads.append(1)
            return values

        return read

    good, bad = torch.ones(2, 3, dtype=torch.float16), torch.full((1, 3), torch.nan)
    bags = Bags([StoredBag("good", (2, 3), load(good)), StoredBag("bad", (1, 3), load(bad)), StoredBag("changed", (4, 3), load(good))])
    assert bags.sizes.tolist() == [2, 1, 4]
    assert bags.subset([0]).bytes == 0
    assert not reads
    assert bags[0].dtype == torch.float32
    with pytest.raises(DataError, match="'bad' holds an instance that is NaN"):
        bags[1]
    with pytest.raises(DataError, match=r"'changed' had the shape \(4, 3\)"):
        bags[2]
    assert len(reads) == 3


def test_bags_standardised_differently_do_not_join():
    bags = some().column("input")
    with pytest.raises(DataError, match="different numbers"):
        join_bags([bags, bags.standardised(*bags.moments())])
    assert len(join_bags([bags, bags])) == 12


def test_the_trainer_takes_bags():
    class Mean(Method):
        def __init__(self) -> None:
            super().__init__()
            self.student = torch.nn.Linear(4, 2)

        def losses(self, batch):
            logits = torch.stack([self.student(bag).mean(0) for bag in batch["input"]])
            return {"ce": torch.nn.functional.cross_entropy(logits, batch["label"])}

    method = Mean()
    history = Trainer(method, data.Batches(some(), 2), TrainOptions(epochs=2, accelerator="cpu")).fit()
    assert history.steps == 6


# ---- folds and joins ----


def test_folds_hold_every_row_once_in_the_proportions_of_the_whole():
    arrays = data.Arrays({"input": torch.zeros(53, 1), "label": (torch.arange(53) < 20).long()}, ("a", "b"))
    parts = data.folds(arrays, 5, seed=3)
    assert sorted(row for part in parts for row in part.tolist()) == list(range(53))
    assert {int(arrays.labels[torch.from_numpy(part)].sum()) for part in parts} == {4}
    assert {len(part) for part in parts} == {10, 11}
    assert any((a != b).any() for a, b in zip(parts, data.folds(arrays, 5, seed=4), strict=True) if len(a) == len(b))


def test_rows_of_one_group_stay_together():
    names = [f"patient-{i // 3}" for i in range(30)]
    arrays = data.Arrays({"input": torch.zeros(30, 1), "label": torch.arange(30) // 3 % 2, "group": names}, ("a", "b"))
    parts = data.folds(arrays, 4, group="group")
    assert sorted(row for part in parts for row in part.tolist()) == list(range(30))
    for part in parts:
        assert all(sum(names[row] == name for row in part) == 3 for name in {names[row] for row in part})
    with pytest.raises(data.splitting.OptionError, match="10 groups by 'group'"):
        data.folds(arrays, 11, group="group")


def test_parts_that_were_cut_join_to_the_whole():
    arrays = some(range(1, 21), name=[str(i) for i in range(20)])
    parts = data.load(arrays, seed=5)
    whole = data.join([parts.train, parts.validation, parts.test])
    assert whole.index.tolist() == list(range(20))
    assert whole.columns["name"] == arrays.columns["name"]
    assert whole.column("input").sizes.tolist() == list(range(1, 21))
    other = data.Arrays({"input": torch.zeros(1, 4)}, ("no", "yes"))
    with pytest.raises(DataError):
        data.join([arrays, other])
