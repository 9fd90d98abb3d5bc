from __future__ import annotations

import pytest
import torch
from torch import nn

from tutelage.errors import OptionError, ShapeError
from tutelage.teachers import EMA
from tutelage.teachers.uncertainty import dropout_on, dropouts, passes


class Fixed(nn.Module):
    """Answers from a list, one entry per pass."""

    def __init__(self, answers):
        super().__init__()
        self.answers, self.drop = iter(answers), nn.Dropout(0.5)

    def forward(self, x):
        return next(self.answers)


def network(dropout=0.5):
    return nn.Sequential(nn.Linear(6, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(dropout), nn.Linear(32, 4))


def test_mean_label_and_spread_are_those_of_the_passes():
    logits = torch.randn(5, 7, 3)
    found = passes(Fixed(logits), torch.zeros(7, 2), 5, at_once=1)
    probs = logits.softmax(-1)
    torch.testing.assert_close(found.mean, probs.mean(0))
    assert torch.equal(found.label, probs.mean(0).argmax(-1))
    rows = torch.arange(7)
    torch.testing.assert_close(found.top, probs.mean(0)[rows, found.label])
    torch.testing.assert_close(found.spread, probs[:, rows, found.label].std(0))


def test_only_dropout_layers_leave_evaluation_mode_and_all_come_back():
    model = network().train()
    model[4].eval()
    with dropout_on(model):
        assert [m.training for m in model] == [False, False, False, True, False]
    assert [m.training for m in model] == [True, True, True, True, False]
    assert dropouts(network(0.0)) == []


def test_passes_at_once_are_as_good_as_one_by_one():
    model, x = network().eval(), torch.randn(50, 6)
    together, single = passes(model, x, 400), passes(model, x, 400, at_once=7)
    torch.testing.assert_close(together.mean, single.mean, atol=0.05, rtol=0)
    torch.testing.assert_close(together.spread.mean(), single.spread.mean(), atol=0.01, rtol=0)
    assert together.spread.min() > 0.005


def test_without_dropout_there_is_no_spread_and_one_pass_is_enough():
    model, x = network(0.0).eval(), torch.randn(5, 6)
    found = passes(model, x, 10)
    assert torch.equal(found.spread, torch.zeros(5))
    torch.testing.assert_close(found.mean, model(x).softmax(-1))
    assert torch.equal(passes(network(), x, 1).spread, torch.zeros(5))


def test_a_teacher_is_asked_without_a_graph_and_stays_in_evaluation_mode():
    teacher = EMA(network())
    found = passes(teacher, torch.randn(5, 6), 3)
    assert not found.mean.requires_grad
    assert found.spread.max() > 0
    assert not any(m.training for m in teacher.modules())


class Nested(nn.Module):
    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.2)

    def forward(self, x):
        return self.drop(x["a"] + x["b"][0] + x["b"][1])


def test_nested_inputs_are_repeated():
    inputs = {"a": torch.randn(3, 2), "b": [torch.randn(3, 2), torch.randn(3, 2)]}
    assert passes(Nested(), inputs, 4).mean.shape == (3, 2)
    with pytest.raises(ShapeError, match="at_once=1"):
        passes(Nested(), ["a text"], 4)


def test_bad_numbers_and_answers_are_refused():
    with pytest.raises(OptionError, match="at least 1"):
        passes(network(), torch.zeros(2, 6), 0)
    with pytest.raises(ShapeError, match="expected logits"):
        passes(nn.Sequential(nn.Dropout(0.1)), torch.zeros(2, 3, 4), 2)
