import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage import targets
from tutelage.errors import OptionError

repeatable = settings(max_examples=40, derandomize=True, deadline=None)


def logits_of(*shape, seed=0):
    return 3.0 * torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_top_k_by_hand():
    probs = torch.tensor([[0.1, 0.5, 0.15, 0.25]], dtype=torch.float64)
    top = targets.top_k(probs.log(), 2)
    torch.testing.assert_close(top.log_probs.exp(), torch.tensor([[0.5, 0.25]], dtype=torch.float64))
    assert top.indices.tolist() == [[1, 3]]
    torch.testing.assert_close(top.log_rest.exp(), torch.tensor([0.25], dtype=torch.float64))
    torch.testing.assert_close(top.dense(4).exp(), torch.tensor([[0.125, 0.5, 0.125, 0.25]], dtype=torch.float64))


@repeatable
@given(st.integers(0, 10_000), st.integers(1, 8), st.sampled_from([0.5, 1.0, 4.0]))
def test_kept_and_rest_sum_to_one(seed, k, temperature):
    logits = logits_of(3, 2, 6, seed=seed)
    top = targets.top_k(logits, k, temperature=temperature)
    assert top.log_probs.shape == (3, 2, min(k, 6))
    total = top.log_probs.exp().sum(-1) + top.log_rest.exp()
    torch.testing.assert_close(total, torch.ones(3, 2, dtype=torch.float64))
    probs = targets.soften(logits, temperature)
    torch.testing.assert_close(probs.gather(-1, top.indices), top.log_probs.exp())
    dense = top.dense(6).exp()
    torch.testing.assert_close(dense.sum(-1), torch.ones(3, 2, dtype=torch.float64))
    if k >= 5:
        torch.testing.assert_close(dense, probs)


def test_a_tiny_rest_is_not_lost_to_rounding():
    top = targets.top_k(torch.tensor([0.0, -100.0, -100.0]), 1)
    assert top.log_rest.item() == pytest.approx(-100.0 + math.log(2.0), rel=1e-6)


def test_nothing_is_left_of_all_classes():
    top = targets.top_k(torch.zeros(2, 3), 3)
    assert top.log_rest.tolist() == [-math.inf, -math.inf]
    torch.testing.assert_close(top.dense(3).exp(), torch.full((2, 3), 1 / 3))


def test_extreme_half_logits():
    top = targets.top_k(torch.tensor([[1e4, -1e4, 0.0]], dtype=torch.bfloat16), 1)
    assert top.log_probs.dtype == torch.float32
    assert top.log_probs.item() == 0.0
    assert -1.1e4 < top.log_rest.item() < -0.9e4


def test_truncate_by_hand():
    probs = torch.tensor([[0.1, 0.5, 0.15, 0.25], [0.9, 0.8, 0.7, 0.0]])
    assert torch.equal(targets.truncate(probs, 2), torch.tensor([[0.0, 0.5, 0.0, 0.25], [0.9, 0.8, 0.0, 0.0]]))
    torch.testing.assert_close(targets.truncate(probs[0], 2, renormalise=True), torch.tensor([0.0, 2 / 3, 0.0, 1 / 3]))
    assert torch.equal(targets.truncate(torch.zeros(4), 2, renormalise=True), torch.zeros(4))


@repeatable
@given(st.integers(0, 10_000), st.integers(1, 8))
def test_truncate_keeps_k_values_as_they_are(seed, k):
    probs = torch.rand(4, 6, generator=torch.Generator().manual_seed(seed)) + 0.01
    kept = targets.truncate(probs, k)
    assert ((kept > 0).sum(-1) == min(k, 6)).all()
    assert torch.equal(kept[kept > 0], probs[kept > 0])
    assert (torch.where(kept > 0, probs, 2.0).amin(-1) >= torch.where(kept > 0, 0.0, probs).amax(-1)).all()
    if k >= 6:
        assert torch.equal(kept, probs)


def test_ties_keep_exactly_k():
    assert (targets.truncate(torch.full((5, 7), 0.5), 3) > 0).sum(-1).tolist() == [3] * 5


def test_keeping_nothing_is_refused():
    for part in (targets.top_k, targets.truncate):
        with pytest.raises(OptionError, match="k is 0"):
            part(torch.ones(3), 0)
