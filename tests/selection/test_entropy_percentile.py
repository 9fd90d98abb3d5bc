import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy

from tutelage import selection
from tutelage.errors import OptionError

repeatable = settings(max_examples=40, derandomize=True, deadline=None)


def logits_of(*shape, seed=0):
    return 2.0 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_most_certain_are_kept():
    logits = torch.tensor([[0.0, 0.0], [5.0, 0.0], [1.0, 0.0], [0.0, 9.0]])
    assert selection.entropy_percentile(logits, 0.25).tolist() == [0.0, 0.0, 0.0, 1.0]
    assert selection.entropy_percentile(logits, 0.5).tolist() == [0.0, 1.0, 0.0, 1.0]
    assert selection.entropy_percentile(logits, 0.75).tolist() == [0.0, 1.0, 1.0, 1.0]


def test_all_or_none():
    logits = logits_of(5, 3)
    assert selection.entropy_percentile(logits, 1.0).tolist() == [1.0] * 5
    assert selection.entropy_percentile(logits, 0.0).tolist() == [0.0] * 5
    assert selection.entropy_percentile(torch.zeros(0, 3), 0.5).shape == (0,)


def test_ties_with_the_last_are_kept():
    assert selection.entropy_percentile(torch.zeros(4, 3), 0.25).tolist() == [1.0] * 4


@repeatable
@given(st.integers(0, 10_000), st.floats(0.0, 1.0))
def test_share_and_order(seed, q):
    logits = logits_of(5, 4, 3, seed=seed).requires_grad_()
    weight = selection.entropy_percentile(logits, q)
    assert weight.shape == (5, 4)
    assert weight.dtype == torch.float32
    assert not weight.requires_grad
    assert weight.sum().item() == round(20 * q)
    entropies = entropy(logits.detach().softmax(-1).double().numpy(), axis=-1)
    kept = weight.numpy() > 0
    if kept.any() and not kept.all():
        assert entropies[kept].max() <= entropies[~kept].min() + 1e-6
    order = torch.randperm(3, generator=torch.Generator().manual_seed(seed))
    agreement = np.mean(weight.numpy() == selection.entropy_percentile(logits[..., order] + 3.0, q).numpy())
    assert agreement >= 0.9  # a permuted sum may round a near tie to the other side


def test_extreme_half_logits_and_temperature():
    logits = torch.tensor([[1e4, -1e4], [1.0, 0.0], [0.0, 0.0]], dtype=torch.bfloat16)
    assert selection.entropy_percentile(logits, 1 / 3).tolist() == [1.0, 0.0, 0.0]
    assert selection.entropy_percentile(logits, 2 / 3, temperature=4.0).tolist() == [1.0, 1.0, 0.0]


@pytest.mark.parametrize("q", [-0.1, 1.1, 20.0, math.nan])
def test_shares_outside_are_refused(q):
    with pytest.raises(OptionError, match="share of predictions"):
        selection.entropy_percentile(logits_of(3, 2), q)
