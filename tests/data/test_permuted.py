from __future__ import annotations

import pytest
import torch

from tutelage.data import Arrays, DataSet, load
from tutelage.data.permuted import permuted_tasks
from tutelage.errors import DataError, OptionError


def whole() -> DataSet:
    parts = [Arrays({"input": torch.rand(5, 1, 4, 3), "label": torch.arange(5) % 2}, ("a", "b")) for _ in range(3)]
    return DataSet("small", *parts)


def test_a_task_shuffles_the_pixels_of_every_image_and_part_in_one_order():
    data = whole()
    for task in permuted_tasks(data, 2, seed=3):
        before = torch.cat([part.column("input").flatten(1) for part in data.parts.values()])
        after = torch.cat([part.column("input").flatten(1) for part in task.parts.values()])
        order = [int((before == column[:, None]).all(0).nonzero()) for column in after.T]
        assert sorted(order) == list(range(12))
        assert order != list(range(12))
        assert torch.equal(task.train.labels, data.train.labels)
        assert task.shape == (1, 4, 3)


def test_orders_differ_between_tasks_and_seeds_and_not_with_their_number():
    data = whole()
    inputs = [task.train.column("input") for task in permuted_tasks(data, 3)]
    assert not torch.equal(inputs[0], inputs[1])
    assert torch.equal(inputs[1], permuted_tasks(data, 2)[1].train.column("input"))
    assert not torch.equal(inputs[1], permuted_tasks(data, 2, seed=1)[1].train.column("input"))
    kept = permuted_tasks(data, 2, keep_first=True)
    assert torch.equal(kept[0].train.column("input"), data.train.column("input"))
    assert torch.equal(kept[1].train.column("input"), inputs[1])


def test_real_digits_keep_their_pixels():
    digits = load("digits")
    (task,) = permuted_tasks(digits, 1)
    before, after = (d.test.column("input").flatten(1).sort(1).values for d in (digits, task))
    assert torch.equal(before, after)


def test_what_has_no_pixels_is_refused():
    text = Arrays({"input": ["a", "b"], "label": torch.tensor([0, 1])}, ("a", "b"), "words")
    with pytest.raises(DataError, match="'words' are a list"):
        permuted_tasks(DataSet("words", text, text, text), 2)
    with pytest.raises(OptionError, match="0 tasks"):
        permuted_tasks(whole(), 0)
