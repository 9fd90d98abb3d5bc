"""Predictions come in order, in evaluation mode, and leave the model as it was."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tutelage import evaluate
from tutelage.data import Arrays
from tutelage.errors import DataError, ShapeError, TrainingError


@pytest.fixture
def arrays() -> Arrays:
    generator = torch.Generator().manual_seed(0)
    columns = {"input": torch.randn(23, 4, generator=generator), "label": torch.arange(23) % 3}
    return Arrays(columns, ("a", "b", "c"), "table")


class Taught(nn.Module):
    """A module with a part in each mode, and a `predict`."""

    def __init__(self) -> None:
        super().__init__()
        self.student = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.9))
        self.teacher = nn.Dropout(0.5).eval()

    def predict(self, batch):
        assert not torch.is_grad_enabled()
        return self.student(batch["input"])


def test_a_bound_method_is_evaluated_and_put_back(arrays):
    torch.manual_seed(0)
    taught = Taught().train()
    taught.teacher.eval()
    logits, labels = evaluate.predictions(taught.predict, arrays, batch_size=5)
    expected = taught.student[0](arrays.columns["input"]).detach()
    torch.testing.assert_close(logits, expected)
    assert logits.dtype == torch.float32
    assert not logits.requires_grad
    assert labels.tolist() == [i % 3 for i in range(23)]
    assert taught.student[1].training
    assert not taught.teacher.training


def test_a_module_is_called_with_inputs_and_batches_do_not_matter(arrays):
    torch.manual_seed(0)
    model = nn.Linear(4, 3)
    whole, _ = evaluate.predictions(model, arrays)
    parts, _ = evaluate.predictions(model, arrays, batch_size=4)
    torch.testing.assert_close(whole, parts)


def test_modes_return_after_an_error(arrays):
    taught = Taught().train()
    taught.student = nn.Sequential(nn.Linear(4, 3), nn.Flatten(0))
    with pytest.raises(ShapeError, match=r"expected logits of shape \(23, classes\)"):
        evaluate.predictions(taught.predict, arrays)
    assert taught.training


def test_nan_and_emptiness_are_named(arrays):
    def broken(batch):
        out = torch.zeros(len(batch["input"]), 3)
        out[batch["index"] == 7] = float("nan")
        return out

    with pytest.raises(TrainingError, match=r"1 of 23 samples of 'table' \(first: row 7\)"):
        evaluate.predictions(broken, arrays, batch_size=10)
    with pytest.raises(DataError, match="no samples"):
        evaluate.predictions(broken, arrays.subset([]))
