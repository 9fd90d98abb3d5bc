from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from tutelage.errors import OptionError, ShapeError
from tutelage.targets import BagOfWords, bag_of_words, local_means, squared_distances, without_ring


def sample(*shape: int, seed: int = 0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(st.integers(0, 1000), st.sampled_from([None, 1.0, 15.0]), st.sampled_from(["max", "average"]))
def test_bags_are_distributions(seed, inverse_delta, pooling):
    bags = BagOfWords(inverse_delta=inverse_delta, pooling=pooling)(sample(3, 7, 11, seed=seed))
    assert bags.min() >= 0
    torch.testing.assert_close(bags.sum(1), torch.ones(3, dtype=torch.float64))


def test_soft_bags_by_the_formula():
    distances = sample(2, 5, 4)
    bag = BagOfWords(inverse_delta=3.0)
    kappa = 3.0 / 0.5  # mu starts at 0.5
    codes = torch.softmax(-kappa * distances, -1)
    expected = codes.max(1).values
    torch.testing.assert_close(bag(distances), expected / expected.sum(1, keepdim=True))
    average = BagOfWords(inverse_delta=3.0, pooling="average")
    torch.testing.assert_close(average(distances), codes.mean(1))


def test_hard_bags_share_equally_between_the_words_that_occur():
    distances = torch.ones(1, 4, 5)
    for place, word in enumerate([3, 1, 3, 3]):
        distances[0, place, word] = 0
    hard = BagOfWords(inverse_delta=None)
    assert hard(distances).tolist() == [[0, 0.5, 0, 0.5, 0]]
    assert BagOfWords(inverse_delta=None, pooling="average")(distances).tolist() == [[0, 0.25, 0, 0.75, 0]]
    assert hard.inverse_temperature == torch.inf


def test_very_sharp_assignments_are_hard_ones():
    distances = sample(3, 6, 9)
    torch.testing.assert_close(BagOfWords(inverse_delta=1e9)(distances), BagOfWords(inverse_delta=None)(distances))


def test_equal_distances_make_uniform_bags():
    torch.testing.assert_close(BagOfWords()(torch.full((2, 5, 8), 3.0)), torch.full((2, 8), 1 / 8))


def test_the_mean_distance_follows_the_nearest_words():
    distances = torch.tensor([[[1.0, 4.0], [9.0, 2.0]]])
    bag = BagOfWords(inverse_delta=15.0)
    assert bag.inverse_temperature.item() == pytest.approx(30.0)
    bag.update(distances)
    assert bag.mean_distance.item() == pytest.approx(0.99 * 0.5 + 0.01 * 1.5)
    assert bag.inverse_temperature.item() == pytest.approx(15 / 0.51)
    other = BagOfWords()
    other.load_state_dict(bag.state_dict())
    assert torch.equal(other.mean_distance, bag.mean_distance)


@pytest.mark.parametrize("factor", [0.01, 7.0, 300.0])
def test_once_the_mean_has_converged_the_scale_of_features_does_not_matter(factor):
    features, words = sample(4, 6, 5), sample(9, 5, seed=1)
    bags = []
    for scale in (1.0, factor):
        bag = BagOfWords(momentum=0.0)
        distances = squared_distances(scale * features, scale * words)
        bag.update(distances)
        torch.testing.assert_close(bag.mean_distance.double(), distances.min(-1).values.mean(), rtol=1e-6, atol=0)
        bags.append(bag(distances))
    torch.testing.assert_close(bags[0], bags[1], rtol=1e-4, atol=1e-7)


def test_a_permutation_of_words_permutes_bags():
    distances, order = sample(3, 5, 6), torch.tensor([4, 2, 0, 5, 1, 3])
    torch.testing.assert_close(BagOfWords()(distances[:, :, order]), BagOfWords()(distances)[:, order])


def test_chunks_change_nothing(monkeypatch):
    distances = sample(7, 5, 6)
    whole = BagOfWords()(distances)
    monkeypatch.setattr(bag_of_words, "_ELEMENTS", 70)
    torch.testing.assert_close(BagOfWords()(distances), whole)


def test_features_that_are_words_themselves_do_not_divide_by_zero():
    bag = BagOfWords(momentum=0.0)
    bag.update(torch.zeros(2, 3, 4))
    assert torch.isfinite(bag(torch.rand(2, 3, 4))).all()


def test_bags_of_half_types_are_float32_without_a_graph():
    bags = BagOfWords()(torch.rand(2, 3, 4, dtype=torch.bfloat16, requires_grad=True))
    assert bags.dtype == torch.float32
    assert not bags.requires_grad


def test_the_ring_is_dropped():
    maps = sample(2, 3, 7, 6)
    assert torch.equal(without_ring(maps), maps[:, :, 1:6, 1:5])
    assert torch.equal(without_ring(maps, 0), maps)
    with pytest.raises(ShapeError, match="ring of 3"):
        without_ring(maps, 3)
    with pytest.raises(OptionError, match="-1"):
        without_ring(maps, -1)


def test_local_means_are_means_of_squares_inside_the_map():
    maps = sample(50, 3, 5, 4)
    found = local_means(maps, torch.Generator().manual_seed(0))
    squares = F.unfold(maps, 3).view(50, 3, 9, 6).mean(2)  # [N, C, places]
    differences = (found[:, :, None] - squares).abs().amax(1)  # [N, places]
    assert differences.min(1).values.max() < 1e-12
    assert len(differences.argmin(1).unique()) == 6  # every place is drawn
    assert torch.equal(found, local_means(maps, torch.Generator().manual_seed(0)))
    with pytest.raises(ShapeError, match="3x3"):
        local_means(maps[:, :, :2])


@pytest.mark.parametrize("wrong", [{"inverse_delta": 0.0}, {"pooling": "sum"}, {"momentum": 1.0}])
def test_wrong_options_are_named(wrong):
    with pytest.raises(OptionError, match=next(iter(wrong))):
        BagOfWords(**wrong)


def test_wrong_distances_are_refused():
    with pytest.raises(ShapeError, match=r"\[3, 4\]"):
        BagOfWords()(torch.zeros(3, 4))
    with pytest.raises(ShapeError, match="at least one place"):
        BagOfWords()(torch.zeros(3, 0, 4))
