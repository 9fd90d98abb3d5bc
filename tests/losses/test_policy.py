from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from tutelage import losses as L
from tutelage.errors import OptionError, ShapeError
from tutelage.losses.policy import clipped_surrogate, group_advantage, linear_top_k_reverse_kl, sampled_reverse_kl, top_k_reverse_kl

RATIO = math.log(0.8) - math.log(0.5)


def logits(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_estimators_of_one_token_have_the_values_of_the_sheet():
    student, teacher = torch.tensor([0.5], dtype=torch.float64).log(), torch.tensor([0.8], dtype=torch.float64).log()
    assert pytest.approx(0.47000, abs=1e-5) == RATIO
    assert sampled_reverse_kl(student, teacher, estimator="k1").item() == pytest.approx(-RATIO)
    assert sampled_reverse_kl(student, teacher).item() == pytest.approx(0.11045, abs=1e-5)
    assert sampled_reverse_kl(student, teacher, estimator="k3").item() == pytest.approx(0.13000, abs=1e-5)


def test_estimators_are_zero_where_both_agree():
    same = logits(0, 5).log_softmax(-1)
    for estimator in ("k1", "k2", "k3"):
        assert torch.equal(sampled_reverse_kl(same, same, estimator=estimator), torch.zeros_like(same))


def expectation(student: torch.Tensor, teacher: torch.Tensor, estimator: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Value and gradient of an estimator, averaged over all tokens as the student draws them."""
    student = student.clone().requires_grad_()
    log_s, log_t = student.log_softmax(-1), teacher.log_softmax(-1)
    losses = sampled_reverse_kl(log_s, log_t, estimator=estimator)
    drawn = log_s.detach().exp()
    (gradient,) = torch.autograd.grad((drawn * losses).sum(), student)
    return (drawn * losses).sum().detach(), gradient


def exact(student: torch.Tensor, teacher: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    student = student.clone().requires_grad_()
    value = L.reverse_kl(student, teacher)
    (gradient,) = torch.autograd.grad(value, student)
    return value.detach(), gradient


@pytest.mark.parametrize("seed", range(5))
def test_which_estimator_has_the_right_value_and_which_the_right_gradient(seed):
    student, teacher = logits(seed, 3), logits(seed + 100, 3)
    value, gradient = exact(student, teacher)
    one, two, three = (expectation(student, teacher, name) for name in ("k1", "k2", "k3"))
    torch.testing.assert_close(one[0], value)
    torch.testing.assert_close(three[0], value)
    torch.testing.assert_close(two[1], gradient)
    torch.testing.assert_close(one[1], torch.zeros(3, dtype=torch.float64))
    assert (three[1] - gradient).abs().max() > 0.02
    # k3's is the gradient of the forward divergence.
    torch.testing.assert_close(three[1], student.softmax(-1) - teacher.softmax(-1))


def test_gradient_of_k2_is_minus_the_ratio_times_that_of_the_log_probability():
    log_s = logits(1, 4).log_softmax(-1).requires_grad_()
    log_t = logits(2, 4).log_softmax(-1)
    sampled_reverse_kl(log_s, log_t).sum().backward()
    torch.testing.assert_close(log_s.grad, -(log_t - log_s.detach()))


def test_advantages_have_the_values_of_the_sheet():
    rewards = torch.tensor([1.0, 0, 0, 0])
    torch.testing.assert_close(group_advantage(rewards), torch.tensor([1.7321, -0.5774, -0.5774, -0.5774]), atol=1e-4, rtol=0)
    torch.testing.assert_close(group_advantage(rewards, unbiased=True), torch.tensor([1.5, -0.5, -0.5, -0.5]), atol=1e-4, rtol=0)
    torch.testing.assert_close(group_advantage(rewards, normalise=False), torch.tensor([0.75, -0.25, -0.25, -0.25]))


@pytest.mark.parametrize("reward", [0.0, 1.0, 0.1, 1e6])
@pytest.mark.parametrize("size", [1, 3, 7])
def test_equal_rewards_have_no_advantage(reward, size):
    for unbiased in (False, True):
        assert torch.equal(group_advantage(torch.full((2, size), reward), unbiased=unbiased), torch.zeros(2, size))


def test_groups_do_not_mix():
    rewards = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    torch.testing.assert_close(group_advantage(rewards), torch.tensor([[1.0, -1.0], [0.0, 0.0]]), atol=1e-4, rtol=0)


def test_on_policy_the_surrogate_is_the_policy_gradient():
    log_p = logits(3, 2, 4).log_softmax(-1).requires_grad_()
    advantage = torch.tensor([2.0, -3.0], dtype=torch.float64)
    loss = clipped_surrogate(log_p, log_p.detach(), advantage)
    torch.testing.assert_close(loss, -advantage[:, None].expand(2, 4))
    loss.sum().backward()
    torch.testing.assert_close(log_p.grad, -advantage[:, None].expand(2, 4))


def test_clipping_stops_what_has_moved_far_enough_and_nothing_else():
    old = torch.zeros(4)
    ratio = torch.tensor([1.5, 0.5, 1.5, 0.5])
    advantage = torch.tensor([1.0, -1.0, -1.0, 1.0])
    log_p = ratio.log().requires_grad_()
    loss = clipped_surrogate(log_p, old, advantage, clip_low=0.2, clip_high=0.3)
    torch.testing.assert_close(loss, torch.tensor([-1.3, 0.8, 1.5, -0.5]))
    loss.sum().backward()
    torch.testing.assert_close(log_p.grad, torch.tensor([0.0, 0.0, 1.5, -0.5]))


def test_all_tokens_kept_is_the_exact_divergence_and_lumping_is_a_lower_bound():
    student, teacher = logits(4, 6, 9), logits(5, 6, 9)
    whole = L.reverse_kl(student, teacher, temperature=1.5)
    for of in ("teacher", "student"):
        for rest in ("drop", "lump"):
            torch.testing.assert_close(top_k_reverse_kl(student, teacher, 9, of=of, rest=rest, temperature=1.5), whole)
            torch.testing.assert_close(top_k_reverse_kl(student, teacher, 50, of=of, rest=rest, temperature=1.5), whole)
        lumped = [top_k_reverse_kl(student, teacher, k, of=of, rest="lump", temperature=1.5) for k in (1, 4, 8)]
        assert all((lump >= -1e-12).all() and (lump <= whole + 1e-12).all() for lump in lumped)
        torch.testing.assert_close(lumped[-1], whole)  # one token is no lump


def test_dropping_the_rest_can_be_negative_and_keeps_whose_tokens_it_says():
    student = torch.tensor([0.1, 0.2, 0.7], dtype=torch.float64).log()
    teacher = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64).log()
    assert top_k_reverse_kl(student, teacher, 1).item() == pytest.approx(0.1 * math.log(0.1 / 0.6))
    assert top_k_reverse_kl(student, teacher, 1, of="student").item() == pytest.approx(0.7 * math.log(0.7 / 0.1))
    two = 0.1 * math.log(0.1 / 0.6) + 0.9 * math.log(0.9 / 0.4)
    assert top_k_reverse_kl(student, teacher, 1, rest="lump").item() == pytest.approx(two)


@pytest.mark.parametrize("rest", ["drop", "lump"])
def test_top_k_gradients_by_finite_differences(rest):
    student, teacher = logits(6, 2, 5).requires_grad_(), logits(7, 2, 5)
    assert torch.autograd.gradcheck(lambda s: top_k_reverse_kl(s, teacher, 3, rest=rest), (student,))


def test_chunks_of_hidden_states_change_nothing():
    ours, theirs = nn.Linear(4, 11).double(), nn.Linear(6, 11).double()
    hidden, other = logits(8, 7, 4).requires_grad_(), logits(9, 7, 6)
    whole = top_k_reverse_kl(ours(hidden), theirs(other), 3)
    (expected,) = torch.autograd.grad(whole.sum(), hidden)
    cut = linear_top_k_reverse_kl(hidden, ours, other, theirs, 3, chunk=2)
    torch.testing.assert_close(cut, whole)
    torch.testing.assert_close(torch.autograd.grad(cut.sum(), hidden)[0], expected)
    assert linear_top_k_reverse_kl(hidden[:0], ours, other[:0], theirs, 3).shape == (0,)


def test_half_types_are_computed_in_float32():
    a, b = torch.zeros(2, dtype=torch.bfloat16), torch.full((2,), -1.0, dtype=torch.bfloat16)
    assert sampled_reverse_kl(a, b).dtype == clipped_surrogate(a, b, torch.ones(2)).dtype == torch.float32
    assert group_advantage(torch.tensor([1, 0])).dtype == torch.float32


def test_wrong_input_is_named():
    with pytest.raises(OptionError, match="k4"):
        sampled_reverse_kl(torch.zeros(2), torch.zeros(2), estimator="k4")
    with pytest.raises(ShapeError, match="log-probabilities"):
        sampled_reverse_kl(torch.zeros(2), torch.zeros(3))
    with pytest.raises(ShapeError, match="advantage"):
        clipped_surrogate(torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(3))
    with pytest.raises(OptionError, match="clip_low"):
        clipped_surrogate(torch.zeros(2), torch.zeros(2), torch.zeros(2), clip_low=1.5)
    with pytest.raises(ShapeError, match="group"):
        group_advantage(torch.tensor(1.0))
    with pytest.raises(OptionError, match="k is 0"):
        top_k_reverse_kl(torch.zeros(3), torch.zeros(3), 0)
    with pytest.raises(OptionError, match="rest"):
        top_k_reverse_kl(torch.zeros(3), torch.zeros(3), 1, rest="spread")
