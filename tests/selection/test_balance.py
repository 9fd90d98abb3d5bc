from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tutelage.selection.balance import entropy_balance

entropies = st.lists(st.tuples(st.floats(0, 2.3), st.floats(0, 2.3)), min_size=1, max_size=8)


def test_the_more_uncertain_teacher_emphasises_forward_and_ties_go_to_reverse():
    student, teacher = torch.tensor([0.1, 0.9, 0.5]), torch.tensor([0.9, 0.1, 0.5])
    forward, reverse = entropy_balance(student, teacher, delta=3.0)
    assert forward.tolist() == [3.0, 1.0, 1.0]
    assert reverse.tolist() == [1.0, 3.0, 3.0]


@given(entropies, st.floats(0.5, 4), st.sampled_from([None, 10.0]))
def test_the_two_weights_always_sum_to_one_plus_delta(pairs, delta, sharpness):
    student, teacher = torch.tensor(pairs, dtype=torch.float64).T
    forward, reverse = entropy_balance(student, teacher, delta=delta, sharpness=sharpness)
    torch.testing.assert_close(forward + reverse, torch.full_like(student, 1 + delta))


@given(entropies, st.sampled_from([None, 10.0]))
def test_delta_one_gives_equal_weights(pairs, sharpness):
    student, teacher = torch.tensor(pairs, dtype=torch.float64).T
    forward, reverse = entropy_balance(student, teacher, delta=1.0, sharpness=sharpness)
    assert (forward == 1).all()
    assert (reverse == 1).all()


def test_the_sigmoid_tends_to_the_step_and_halves_at_equal_entropies():
    student, teacher = torch.tensor([0.1, 0.9]), torch.tensor([0.9, 0.1])
    step, smooth = entropy_balance(student, teacher), entropy_balance(student, teacher, sharpness=1e3)
    torch.testing.assert_close(step, smooth)
    equal = entropy_balance(student, student, delta=2.0, sharpness=10.0)
    assert equal[0].tolist() == pytest.approx([1.5, 1.5])
    assert equal[1].tolist() == pytest.approx([1.5, 1.5])


def test_weights_carry_no_gradient():
    student = torch.tensor([0.2, 0.8], requires_grad=True)
    forward, reverse = entropy_balance(student, torch.tensor([0.5, 0.5]), sharpness=10.0)
    assert not forward.requires_grad
    assert not reverse.requires_grad
