"""The class-mean table against a loop, its row sums, its limits and its refusals."""

from __future__ import annotations

import pytest
import torch

from tutelage.errors import DataError, ShapeError
from tutelage.targets.class_means import class_means


def test_rows_are_the_means_of_each_class():
    generator = torch.Generator().manual_seed(0)
    probs = torch.softmax(torch.randn(200, 5, generator=generator), dim=1)
    labels = torch.arange(200) % 5
    table = class_means(probs, labels, 5)
    for c in range(5):
        torch.testing.assert_close(table[c], probs[labels == c].mean(dim=0))


def test_rows_sum_to_one_even_over_many_samples():
    generator = torch.Generator().manual_seed(1)
    probs = torch.softmax(3 * torch.randn(50_000, 10, generator=generator), dim=1)
    labels = torch.randint(0, 10, (50_000,), generator=generator)
    table = class_means(probs, labels, 10)
    torch.testing.assert_close(table.sum(dim=1), torch.ones(10), atol=1e-6, rtol=0)
    assert table.dtype == torch.float32


def test_a_perfect_one_hot_teacher_gives_the_identity():
    labels = torch.tensor([2, 0, 1, 1, 2, 0])
    assert torch.equal(class_means(torch.eye(3)[labels], labels, 3), torch.eye(3))


def test_the_order_of_samples_does_not_matter():
    generator = torch.Generator().manual_seed(2)
    probs = torch.softmax(torch.randn(40, 4, generator=generator), dim=1)
    labels = torch.arange(40) % 4
    order = torch.randperm(40, generator=generator)
    torch.testing.assert_close(class_means(probs[order], labels[order], 4), class_means(probs, labels, 4))


def test_an_empty_class_is_named():
    with pytest.raises(DataError, match=r"classes \[2, 3\]"):
        class_means(torch.full((3, 4), 0.25), torch.tensor([0, 1, 1]), 4)


@pytest.mark.parametrize("labels", [[0, 3], [-1, 0]])
def test_labels_out_of_range_are_refused(labels):
    with pytest.raises(DataError, match="expected 0 to 2"):
        class_means(torch.full((2, 3), 1 / 3), torch.tensor(labels), 3)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ShapeError, match=r"\[2, 3\] and \[3\]"):
        class_means(torch.full((2, 3), 1 / 3), torch.tensor([0, 1, 2]), 3)
