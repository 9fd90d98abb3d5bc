from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from tutelage.errors import OptionError
from tutelage.views.adversarial import PGD, fgsm, margin_objective, pgd, project, undisturbed


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    body = [nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(4 * 36, 5)]
    return nn.Sequential(*body)


def samples(n: int = 6, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    return torch.rand(n, 1, 6, 6, generator=g), torch.randint(5, (n,), generator=g)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(max_examples=25, deadline=None)
@given(
    eps=st.floats(0, 0.5),
    step=st.floats(0, 0.5),
    steps=st.integers(0, 4),
    start=st.sampled_from(["gaussian", "uniform", "none"]),
    scale=st.floats(0, 1),
)
def test_attacked_inputs_stay_in_the_ball_and_in_the_range(eps, step, steps, start, scale):
    x, y = samples()
    attacked = pgd(network(), x, y, eps=eps, step_size=step, steps=steps, start=start, start_scale=scale, generator=seeded())
    assert (attacked - x).abs().max() <= eps + 1e-6
    assert attacked.min() >= 0
    assert attacked.max() <= 1
    assert attacked.shape == x.shape
    assert not attacked.requires_grad


def test_no_steps_return_the_projected_gaussian_start():
    x, y = samples()
    attacked = pgd(network(), x, y, eps=0.2, steps=0, start_scale=0.1, generator=seeded(3))
    noisy = x + 0.1 * torch.randn(x.shape, generator=seeded(3))
    assert torch.equal(attacked, noisy.clamp(min=x - 0.2, max=x + 0.2).clamp(0, 1))


def test_no_steps_return_the_projected_uniform_start_that_fills_the_ball():
    x, y = torch.full((200, 1, 6, 6), 0.5), torch.zeros(200, dtype=torch.int64)
    moved = pgd(network(), x, y, eps=0.1, steps=0, start="uniform", generator=seeded()) - x
    assert moved.min() < -0.099
    assert moved.max() > 0.099
    assert abs(moved.mean().item()) < 0.002
    assert moved.std().item() == pytest.approx(0.1 / 3**0.5, rel=0.02)


def test_without_start_and_steps_nothing_moves():
    x, y = samples()
    assert torch.equal(pgd(network(), x, y, steps=0, start="none"), x)


@pytest.mark.parametrize("training", [True, False])
def test_an_attack_leaves_the_model_and_the_random_state_as_they_were(training):
    model = network().train(training)
    model[1].eval()  # a module that its owner holds in another mode than the rest
    x, y = samples()
    F.cross_entropy(model(x), y).backward()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    gradients = [p.grad.clone() for p in model.parameters()]
    modes = [m.training for m in model.modules()]
    random = torch.get_rng_state()

    attacked = pgd(model, x, y, eps=0.2, step_size=0.05, steps=3, generator=seeded())
    assert (attacked != x).any()
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert all(torch.equal(a, p.grad) for a, p in zip(gradients, model.parameters(), strict=True))
    assert all(p.requires_grad for p in model.parameters())
    assert [m.training for m in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), random)
    assert not x.requires_grad


def test_modes_and_random_state_come_back_after_an_error():
    model = network().train()
    random = torch.get_rng_state()

    def fail() -> None:
        with undisturbed(model):
            torch.rand(3)
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert all(m.training for m in model.modules())
    assert torch.equal(torch.get_rng_state(), random)


def test_the_attack_sees_the_model_in_eval_mode():
    x, y = samples()
    model = network()
    F.cross_entropy(model(x), y)  # moves the batch-norm statistics away from their start
    in_training = pgd(model.train(), x, y, eps=0.2, step_size=0.1, steps=2, start="none")
    in_eval = pgd(model.eval(), x, y, eps=0.2, step_size=0.1, steps=2, start="none")
    assert torch.equal(in_training, in_eval)


def test_the_same_generator_seed_gives_the_same_attack():
    x, y = samples()
    first, second, other = (pgd(network(), x, y, eps=0.2, step_size=0.05, steps=2, start="uniform", generator=seeded(s)) for s in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_it_works_where_gradients_are_switched_off():
    x, y = samples()
    with torch.no_grad():
        attacked = pgd(network(), x, y, eps=0.2, step_size=0.05, steps=2, start="none")
    assert torch.equal(attacked, pgd(network(), x, y, eps=0.2, step_size=0.05, steps=2, start="none"))
    assert (attacked != x).any()


def test_on_a_linear_model_the_attack_reaches_the_closed_form_optimum():
    # Two classes: the loss rises along the sign of the weights' difference, so the optimum is a corner of the ball.
    model = nn.Linear(8, 2)
    x, y = torch.full((4, 8), 0.5), torch.tensor([0, 1, 0, 1])
    away = torch.where(y[:, None] == 0, 1.0, -1.0) * (model.weight[1] - model.weight[0]).sign()
    attacked = pgd(model, x, y, eps=0.1, step_size=0.05, steps=6, start="uniform", generator=seeded())
    torch.testing.assert_close(attacked, x + 0.1 * away)
    torch.testing.assert_close(fgsm(model, x, y, eps=0.1), x + 0.1 * away)


def test_more_steps_raise_the_loss_further():
    x, y = samples(64)
    model = network().eval()

    def loss(z: torch.Tensor) -> float:
        return F.cross_entropy(model(z), y).item()

    weak, strong = (pgd(model, x, y, eps=0.2, step_size=0.05, steps=n, start="none") for n in (1, 6))
    assert loss(weak) > loss(x) + 0.02
    assert loss(strong) > loss(weak) + 0.05


def test_margin_is_the_best_wrong_logit_minus_the_right_one():
    logits = torch.tensor([[1.0, 3.0, 2.0], [1.0, 3.0, 2.0], [-5.0, -7.0, -6.0]])
    assert margin_objective(logits, torch.tensor([1, 0, 0])).tolist() == [-1.0, 2.0, -1.0]


def test_another_objective_steers_the_attack():
    x, y = samples(64)
    model = network().eval()
    plain = pgd(model, x, y, eps=0.2, step_size=0.05, steps=5, start="none")
    margin = pgd(model, x, y, eps=0.2, step_size=0.05, steps=5, start="none", objective=margin_objective)
    assert margin_objective(model(margin), y).mean() > margin_objective(model(plain), y).mean()


@given(st.floats(-2, 3), st.floats(0, 1), st.floats(0, 0.5))
def test_projection_is_idempotent_and_leaves_the_inside_alone(value, clean, eps):
    a, c = torch.tensor([value]), torch.tensor([clean])
    once = project(a, c, eps)
    assert torch.equal(project(once, c, eps), once)
    if abs(value - clean) <= eps - 1e-6 and 0 <= value <= 1:
        assert torch.equal(once, a)


def test_the_attacker_with_fixed_strength_is_the_function():
    x, y = samples()
    attacker = PGD(eps=0.2, step_size=0.05, steps=3, start="uniform")
    expected = pgd(network(), x, y, eps=0.2, step_size=0.05, steps=3, start="uniform", generator=seeded())
    assert torch.equal(attacker(network(), x, y, seeded()), expected)


@pytest.mark.parametrize("options", [{"eps": -0.1}, {"step_size": -1}, {"steps": -1}, {"start_scale": float("nan")}, {"start": "random"}])
def test_strengths_out_of_range_and_unknown_starts_are_refused(options):
    x, y = samples()
    with pytest.raises(OptionError, match="expected"):
        pgd(network(), x, y, **options)
    with pytest.raises(OptionError, match="expected"):
        PGD(**options)
