from __future__ import annotations

import pytest
import torch

from tutelage.recipes.language.kdrl_bandit import Bandit, gradient_error, learn


def policy(seed: int) -> torch.Tensor:
    return torch.randn(20, 10, generator=torch.Generator().manual_seed(seed))


def test_the_teacher_is_right_in_four_of_five_contexts():
    world = Bandit.make(seed=3)
    assert (world.teacher.argmax(1) == world.right).float().mean() == pytest.approx(0.8)
    assert world.divergence(world.teacher) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_k2_has_the_gradient_of_reverse_kl_and_the_others_have_not(seed):
    world = Bandit.make(seed=seed)
    errors = {name: gradient_error(world, policy(seed), name, seed=seed) for name in ("k1", "k2", "k3")}
    assert errors["k2"] < 0.15
    assert errors["k3"] > 0.5
    assert errors["k1"] == pytest.approx(1.0, abs=0.1)  # a gradient of zero on average is off by all of it


def test_more_draws_bring_k2_closer_and_k3_no_closer():
    world = Bandit.make(seed=0)
    few, many = ({name: gradient_error(world, policy(0), name, draws=n) for name in ("k2", "k3")} for n in (256, 16384))
    assert many["k2"] < 0.35 * few["k2"]
    assert many["k3"] > 0.7 * few["k3"]


@pytest.mark.parametrize("seed", range(5))
def test_from_a_policy_that_almost_never_succeeds_both_signals_go_further_than_either(seed):
    world = Bandit.make(seed=seed)
    start = world.reluctant()
    assert world.accuracy(start) < 0.3
    reached = {}
    for name, beta, reward in (("reward", 0.0, True), ("teacher", 1.0, False), ("both", 0.1, True)):
        logits, curve = learn(world, beta=beta, reward=reward, seed=seed, steps=150, start=start)
        reached[name] = curve[-1]
        if name == "teacher":
            assert world.divergence(logits) < 0.4 * world.divergence(start)
    assert reached["both"] > reached["reward"] + 20
    assert reached["both"] > reached["teacher"] + 10


def test_k1_as_a_reward_teaches_as_k2_does():
    world = Bandit.make(seed=1)
    one, _ = learn(world, beta=1.0, reward=False, estimator="k1", steps=50)
    two, _ = learn(world, beta=1.0, reward=False, estimator="k2", steps=50)
    torch.testing.assert_close(one, two)
