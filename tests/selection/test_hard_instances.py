from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tutelage.errors import OptionError, ShapeError
from tutelage.selection.hard_instances import hard_instance_mask, salient, share

ratios = st.floats(0, 0.9)


def scores(n: int, seed: int = 0, heads: int = 1) -> torch.Tensor:
    return torch.randn(heads, n, generator=torch.Generator().manual_seed(seed))


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("ratio", "total", "count"), [(0.1, 30, 3), (0.07, 100, 7), (0.01, 10, 1), (0.5, 7, 4), (0.0, 9, 0), (1.0, 3, 3)])
def test_shares_are_rounded_up_and_not_fooled_by_floating_point(ratio, total, count):
    assert share(ratio, total) == count


@given(ratios, st.integers(2, 300), st.integers(0, 9), st.sampled_from([1.0, 0.5, 0.1]))
def test_the_salient_mask_has_the_size_of_its_share(high, n, seed, hr):
    mask = hard_instance_mask(scores(n, seed), n, high=high, high_randomness=hr, generator=rng())
    assert mask.sum() == share(high, n) or (share(high, n) == n and mask.sum() == 0)


@given(ratios, st.integers(2, 300), st.integers(0, 9))
def test_the_random_mask_has_the_size_of_its_share(ratio, n, seed):
    mask = hard_instance_mask(None, n, random=ratio, generator=rng(seed))
    assert mask.sum() == (share(ratio, n) if share(ratio, n) < n else 0)


@given(st.floats(0, 0.3), st.floats(0, 0.3), st.floats(0, 0.3), st.integers(20, 200), st.integers(0, 9))
def test_a_union_lies_between_the_largest_part_and_their_sum(high, low, random, n, seed):
    s = scores(n, seed)
    mask = hard_instance_mask(s, n, high=high, low=low, random=random, generator=rng(seed))
    sizes = [share(ratio, n) for ratio in (high, low, random)]
    assert max(sizes) <= mask.sum() <= sum(sizes)
    top = s[0].topk(share(high, n)).indices
    assert mask[top].all()  # nothing kept is among the hidden salient ones
    assert mask[s[0].topk(share(low, n), largest=False).indices].all()


def test_the_mask_is_the_top_of_the_logits_at_any_temperature():
    s = scores(50)
    masks = [hard_instance_mask((s / t).softmax(1), 50, high=0.2) for t in (0.5, 1.0, 5.0)]
    masks.append(hard_instance_mask(s, 50, high=0.2))
    assert all(torch.equal(mask, masks[0]) for mask in masks)
    assert set(masks[0].nonzero().flatten().tolist()) == set(s[0].topk(10).indices.tolist())


def test_randomised_salience_draws_from_a_larger_top():
    s = scores(100)
    pool = set(s[0].topk(20).indices.tolist())
    drawn = [
        set(hard_instance_mask(s, 100, high=0.1, high_randomness=0.5, generator=rng(i)).nonzero().flatten().tolist()) for i in range(40)
    ]
    assert all(len(d) == 10 and d <= pool for d in drawn)
    assert set.union(*drawn) == pool
    everything = hard_instance_mask(s, 100, high=0.5, high_randomness=0.1, generator=rng())
    assert everything.sum() == 50  # the pool cannot be larger than the bag


def test_heads_vote_and_the_mean_can_say_otherwise():
    # Two heads name 0 and 1; the third has one huge score that alone decides the mean.
    s = torch.tensor([[9.0, 8.0, 1.0, 0.0], [9.0, 8.0, 0.0, 1.0], [0.0, 1.0, 2.0, 99.0]])
    assert set(salient(s, 2).tolist()) == {0, 1}
    assert set(salient(s, 2, fusion="mean").tolist()) == {3, 0}
    assert set(salient(s, 1, largest=False).tolist()) == {2}  # one vote each: the lowest mean wins
    assert salient(s, 4).sort().values.tolist() == [0, 1, 2, 3]
    assert salient(s, 0).tolist() == []


@given(st.integers(2, 6), st.integers(5, 40), st.integers(0, 5))
def test_votes_by_brute_force(heads, n, seed):
    s, k = scores(n, seed, heads), n // 3
    votes = [sum(i in row.topk(k).indices.tolist() for row in s) for i in range(n)]
    expected = sorted(range(n), key=lambda i: (-votes[i], -float(s.mean(0)[i])))[:k]
    assert set(salient(s, k).tolist()) == set(expected)


def test_permuting_the_instances_permutes_the_mask():
    s, order = scores(60, heads=3), torch.randperm(60)
    one = hard_instance_mask(s, 60, high=0.1, low=0.3)
    assert torch.equal(one[order], hard_instance_mask(s[:, order], 60, high=0.1, low=0.3))


def test_something_is_always_left():
    # Of one instance, ceil hides all: the bag stays whole.
    assert not hard_instance_mask(scores(1), 1, high=0.01, random=0.5).any()
    # Of two, the random part gives way to the salient one.
    for seed in range(20):
        s = scores(2, seed)
        mask = hard_instance_mask(s, 2, high=0.01, random=0.5, generator=rng(seed))
        assert mask.tolist() == [bool(s[0, 0] > s[0, 1]), bool(s[0, 1] > s[0, 0])]
    mask = hard_instance_mask(scores(10), 10, high=0.3, low=0.8, random=0.5, generator=rng())
    assert mask.sum() == 3  # the low part would have left nothing


def test_the_same_generator_gives_the_same_mask_and_no_gradient():
    s = scores(40).requires_grad_()
    one, two = (hard_instance_mask(s, 40, high=0.1, high_randomness=0.5, random=0.4, generator=rng(3)) for _ in range(2))
    assert torch.equal(one, two)
    assert one.dtype == torch.bool
    assert math.isclose(one.float().mean().item(), 0.45, abs_tol=0.1)


def test_wrong_input_is_named():
    for wrong in ({"high": 1.5}, {"low": -0.1}, {"random": 2.0}):
        with pytest.raises(OptionError, match="from 0 to 1"):
            hard_instance_mask(scores(5), 5, **wrong)
    with pytest.raises(OptionError, match="high_randomness"):
        hard_instance_mask(scores(5), 5, high_randomness=0.0)
    with pytest.raises(OptionError, match="'max'"):
        salient(scores(5), 2, fusion="max")
    with pytest.raises(ShapeError, match=r"\[H, 6\]"):
        hard_instance_mask(scores(5), 6, high=0.1)
    with pytest.raises(ShapeError, match="at least one instance"):
        hard_instance_mask(None, 0)
    with pytest.raises(ShapeError, match="None"):
        hard_instance_mask(None, 5, high=0.1)
