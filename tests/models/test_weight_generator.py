from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from tutelage.errors import OptionError, ShapeError
from tutelage.models import EntryWeights, WeightGenerator


def words(number: int = 12, width: int = 5):
    return torch.rand(number, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("head", [WeightGenerator(5, 7), EntryWeights(12, 7)])
def test_weights_are_of_unit_length_so_that_scores_are_bounded(head):
    weights, features = head(words()), 9 * torch.randn(20, 7)
    torch.testing.assert_close(weights.norm(dim=1), torch.ones(12))
    assert (F.linear(features, weights).abs() <= features.norm(dim=1, keepdim=True) * (1 + 1e-5)).all()


def test_the_layers_are_those_of_the_paper():
    generator = WeightGenerator(5, 7)
    first, norm, _, last = generator.layers
    assert (first.in_features, first.out_features, first.bias) == (5, 14, None)
    assert norm.num_features == 14
    assert (last.in_features, last.out_features) == (14, 7)
    hidden = torch.relu(F.batch_norm(F.linear(F.normalize(words(), dim=1), first.weight), None, None, training=True))
    expected = F.normalize(F.linear(hidden, last.weight, last.bias), dim=1)
    torch.testing.assert_close(generator(words()), expected)


def test_weights_follow_their_words_and_not_their_places():
    generator, order = WeightGenerator(5, 7), torch.randperm(12, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(generator(words()[order]), generator(words())[order])
    torch.testing.assert_close(generator(3 * words()), generator(words()))
    fixed = EntryWeights(12, 7)
    assert torch.equal(fixed(words()[order]), fixed(words()))


def test_gradients_reach_every_layer():
    generator = WeightGenerator(5, 7)
    F.linear(torch.randn(4, 7), generator(words())).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for name, p in generator.named_parameters() if name != "layers.1.bias")


def test_wrong_widths_are_refused():
    with pytest.raises(OptionError, match="width=0"):
        WeightGenerator(5, 0)
    with pytest.raises(OptionError, match="entries=0"):
        EntryWeights(0, 3)
    with pytest.raises(ShapeError, match="12 entries got 5 words"):
        EntryWeights(12, 3)(words(5))
