import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage import selection
from tutelage.errors import OptionError, ShapeError
from tutelage.schedules import constant

repeatable = settings(max_examples=40, derandomize=True, deadline=None)


def probs_of(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).mul(2.0).softmax(-1)


def test_fixed_threshold_is_reached_by_equality():
    probs = torch.tensor([[0.5, 0.25, 0.25], [0.25, 0.25, 0.5], [0.375, 0.375, 0.25]])
    assert selection.confidence(probs, 0.5).tolist() == [1.0, 1.0, 0.0]
    assert selection.confidence(probs, 0.0).tolist() == [1.0, 1.0, 1.0]
    assert selection.confidence(probs, 1.0).tolist() == [0.0, 0.0, 0.0]


def test_threshold_per_class_is_that_of_the_predicted_class():
    probs = torch.tensor([[0.7, 0.3], [0.3, 0.7]])
    assert selection.confidence(probs, torch.tensor([0.6, 0.8])).tolist() == [1.0, 0.0]


@repeatable
@given(st.integers(0, 10_000), st.floats(0.0, 1.0))
def test_weights_keep_the_leading_shape_and_fall_with_the_threshold(seed, threshold):
    probs = probs_of(3, 4, 5, seed=seed).requires_grad_()
    weight = selection.confidence(probs, threshold)
    assert weight.shape == (3, 4)
    assert weight.dtype == torch.float32
    assert not weight.requires_grad
    assert (weight <= selection.confidence(probs, threshold / 2)).all()
    assert torch.equal(weight, selection.confidence(probs, torch.full((5,), threshold)))
    order = torch.randperm(5, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(weight, selection.confidence(probs[..., order], threshold))


def test_thresholds_that_do_not_exist_are_refused():
    for threshold in (-0.1, 1.1, math.nan):
        with pytest.raises(OptionError, match="threshold"):
            selection.confidence(probs_of(2, 3), threshold)
    with pytest.raises(ShapeError, match="one per class"):
        selection.confidence(probs_of(2, 3), torch.zeros(2))


def test_moving_threshold_by_hand():
    moving = selection.MovingThreshold(2, momentum=0.5)
    torch.testing.assert_close(moving.thresholds(), torch.tensor([0.5, 0.5]))
    moving.update(torch.tensor([[0.9, 0.1], [0.7, 0.3]]))
    # level: (0.5 + 0.8) / 2; shares: (0.5 + 0.8) / 2 and (0.5 + 0.2) / 2.
    torch.testing.assert_close(moving.level, torch.tensor(0.65))
    torch.testing.assert_close(moving.share, torch.tensor([0.65, 0.35]))
    torch.testing.assert_close(moving.thresholds(), torch.tensor([0.65, 0.35]))
    assert moving(torch.tensor([[0.64, 0.36], [0.66, 0.34], [0.45, 0.55]])).tolist() == [0.0, 1.0, 1.0]
    # Selecting moves nothing.
    torch.testing.assert_close(moving.level, torch.tensor(0.65))


def test_moving_threshold_for_all_classes_and_within_bounds():
    moving = selection.MovingThreshold(2, momentum=constant(0.5), per_class=False)
    moving.update(torch.tensor([[0.9, 0.1], [0.7, 0.3]]), progress=0.3)
    torch.testing.assert_close(moving.thresholds(), torch.tensor([0.65, 0.65]))
    bounded = selection.MovingThreshold(2, momentum=0.5, lowest=0.4, highest=0.6)
    bounded.update(torch.tensor([[0.9, 0.1], [0.7, 0.3]]))
    torch.testing.assert_close(bounded.thresholds(), torch.tensor([0.6, 0.4]))


@repeatable
@given(st.integers(0, 10_000))
def test_moving_threshold_settles_at_the_confidence_of_the_model(seed):
    probs = probs_of(16, 4, seed=seed)
    moving = selection.MovingThreshold(4, momentum=0.5)
    for _ in range(40):
        moving.update(probs)
    torch.testing.assert_close(moving.level, probs.amax(-1).mean())
    torch.testing.assert_close(moving.share, probs.mean(0))
    assert moving.thresholds().max().item() == pytest.approx(moving.level.item())


def test_moving_threshold_is_saved_and_carries_no_graph():
    moving = selection.MovingThreshold(3, momentum=0.9)
    probs = probs_of(4, 2, 3).requires_grad_()
    moving.update(probs)
    assert not moving.level.requires_grad
    weight = moving(probs)
    assert weight.shape == (4, 2)
    assert not weight.requires_grad
    restored = selection.MovingThreshold(3)
    restored.load_state_dict(moving.state_dict())
    assert torch.equal(restored.thresholds(), moving.thresholds())
    restored.update(torch.zeros(0, 3))
    torch.testing.assert_close(restored.thresholds(), moving.thresholds())


def test_moving_threshold_refuses_what_does_not_fit():
    moving = selection.MovingThreshold(3)
    for part in (moving, moving.update):
        with pytest.raises(ShapeError, match="3 classes"):
            part(probs_of(2, 4))
    with pytest.raises(OptionError, match="lowest"):
        selection.MovingThreshold(3, lowest=0.9, highest=0.5)
