"""The one-step hypergradient against autograd, finite differences and a closed form; and what it must leave alone."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from tutelage.errors import OptionError
from tutelage.train.bilevel import hypergradient, surrogate

ETA = 0.3


@pytest.fixture(autouse=True)
def _double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def problem(seed: int = 0, module: nn.Module | None = None):
    """A student, a weight per training sample as the knob, and the two objectives."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    module = module or nn.Linear(4, 3)
    x, y = torch.randn(6, 4, generator=generator), torch.randint(0, 3, (6,), generator=generator)
    held_x, held_y = torch.randn(5, 4, generator=generator), torch.randint(0, 3, (5,), generator=generator)
    weight = torch.rand(6, generator=generator).requires_grad_()

    def inner(predict):
        return (weight * F.cross_entropy(predict(x), y, reduction="none")).mean()

    def outer(predict):
        return F.cross_entropy(predict(held_x), held_y)

    return module, weight, inner, outer


def value_after_step(module, inner, outer):
    """The held-out loss after the virtual step, written with everything in one graph."""
    theta = dict(module.named_parameters())
    gradients = torch.autograd.grad(inner(module), list(theta.values()), create_graph=True)
    ahead = {n: p - ETA * g for (n, p), g in zip(theta.items(), gradients, strict=True)}
    return outer(lambda x: functional_call(module, ahead, (x,)))


@pytest.mark.parametrize("make", [lambda: nn.Linear(4, 3), lambda: nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))])
def test_equals_autograd_through_the_whole_step(make):
    torch.manual_seed(3)
    module, weight, inner, outer = problem(module=make())
    (got,), value = hypergradient(module, inner, outer, [weight], learning_rate=ETA)
    whole = value_after_step(module, inner, outer)
    (want,) = torch.autograd.grad(whole, weight)
    torch.testing.assert_close(got, want, atol=1e-12, rtol=1e-9)
    torch.testing.assert_close(value, whole.detach(), atol=1e-12, rtol=0)


def test_equals_finite_differences_on_a_linear_student():
    module, weight, inner, outer = problem(seed=1)
    (got,), _ = hypergradient(module, inner, outer, [weight], learning_rate=ETA)
    for i in range(len(weight)):
        values = []
        for shift in (1e-5, -1e-5):
            with torch.no_grad():
                weight[i] += shift
            values.append(float(value_after_step(module, inner, outer).detach()))
            with torch.no_grad():
                weight[i] -= shift
        assert float(got[i]) == pytest.approx((values[0] - values[1]) / 2e-5, abs=1e-8)


def test_closed_form_on_one_parameter():
    # inner = w/2 (theta - 1)^2 and outer = 1/2 (theta - 3)^2:
    # theta' = theta - eta w (theta - 1) and d outer/dw = -eta (theta' - 3)(theta - 1).
    module = nn.Linear(1, 1, bias=False)
    nn.init.constant_(module.weight, 2.0)
    w, one = torch.tensor(0.7, requires_grad=True), torch.ones(1, 1)
    (got,), value = hypergradient(
        module, lambda p: w / 2 * (p(one) - 1).square().sum(), lambda p: (p(one) - 3).square().sum() / 2, [w], learning_rate=ETA
    )
    ahead = 2 - ETA * 0.7
    assert float(got) == pytest.approx(-ETA * (ahead - 3), abs=1e-12)
    assert float(value) == pytest.approx((ahead - 3) ** 2 / 2, abs=1e-12)


def test_first_order_takes_the_held_out_gradient_before_the_step():
    module, weight, inner, outer = problem(seed=2)
    (got,), value = hypergradient(module, inner, outer, [weight], learning_rate=ETA, first_order=True, radius=1e-3)
    theta = list(module.parameters())
    direction = torch.autograd.grad(outer(module), theta)
    inner_gradient = torch.autograd.grad(inner(module), theta, create_graph=True)
    (want,) = torch.autograd.grad(inner_gradient, weight, direction)
    torch.testing.assert_close(got, -ETA * want, atol=1e-6, rtol=0)
    torch.testing.assert_close(value, outer(module).detach())


def test_first_order_agrees_with_the_exact_gradient_for_a_short_step():
    module, weight, inner, outer = problem(seed=3)
    short = 1e-4
    (exact,), _ = hypergradient(module, inner, outer, [weight], learning_rate=short)
    (cheap,), _ = hypergradient(module, inner, outer, [weight], learning_rate=short, first_order=True, radius=1e-4)
    assert torch.cosine_similarity(exact, cheap, dim=0) > 0.9999


def test_first_order_of_a_flat_held_out_loss_is_zero():
    module, weight, inner, _ = problem(seed=3)
    (got,), _ = hypergradient(module, inner, lambda p: p(torch.ones(1, 4)).sum() * 0, [weight], learning_rate=ETA, first_order=True)
    assert torch.equal(got, torch.zeros(6))


@pytest.mark.parametrize("first_order", [False, True])
def test_nothing_of_the_module_or_the_knobs_changes(first_order):
    torch.manual_seed(4)
    module, weight, inner, outer = problem(module=nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)))
    before = copy.deepcopy(module.state_dict())
    hypergradient(module, inner, outer, [weight], learning_rate=ETA, first_order=first_order)
    assert all(torch.equal(before[n], v) for n, v in module.state_dict().items())
    assert all(p.grad is None for p in module.parameters())
    assert weight.grad is None


def test_a_frozen_part_takes_no_step_and_an_unused_knob_gets_zero():
    module, weight, inner, outer = problem(seed=5, module=nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 3)))
    module[0].requires_grad_(False)
    idle = torch.ones(2, requires_grad=True)
    (got, zero), _ = hypergradient(module, inner, outer, [weight, idle], learning_rate=ETA)
    assert torch.equal(zero, torch.zeros(2))
    theta = list(module[1].parameters())
    inner_gradient = torch.autograd.grad(inner(module), theta, create_graph=True)
    ahead = {f"1.{n}": p - ETA * g for (n, p), g in zip(module[1].named_parameters(), inner_gradient, strict=True)}
    (want,) = torch.autograd.grad(outer(lambda x: functional_call(module, ahead, (x,))), weight)
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("first_order", [False, True])
def test_two_processes_give_the_gradient_of_the_global_batch(first_order):
    """Two shares in lockstep, with the mean over both as `reduce`: the mean of their answers is the single-process answer."""
    from threading import Barrier, Thread

    torch.manual_seed(6)
    module = nn.Linear(4, 3)
    x, y = torch.randn(8, 4), torch.randint(0, 3, (8,))
    held_x, held_y = torch.randn(6, 4), torch.randint(0, 3, (6,))
    scale = torch.tensor([0.8, 1.3, 0.4], requires_grad=True)

    def objectives(rows, held_rows):
        def inner(predict):
            return (scale[y[rows]] * F.cross_entropy(predict(x[rows]), y[rows], reduction="none")).mean()

        return inner, lambda predict: F.cross_entropy(predict(held_x[held_rows]), held_y[held_rows])

    options = {"learning_rate": ETA, "first_order": first_order, "radius": 1e-3}
    (want,), want_value = hypergradient(module, *objectives(slice(0, 8), slice(0, 6)), [scale], **options)

    barrier, slots, answers = Barrier(2), [None, None], [None, None]

    def work(rank):
        def reduce(tensor):
            slots[rank] = tensor
            barrier.wait()
            mean = (slots[0] + slots[1]) / 2
            barrier.wait()
            return mean

        torch.set_default_dtype(torch.float64)
        rows, held_rows = slice(4 * rank, 4 * rank + 4), slice(3 * rank, 3 * rank + 3)
        answers[rank] = hypergradient(module, *objectives(rows, held_rows), [scale], reduce=reduce, **options)

    threads = [Thread(target=work, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    torch.testing.assert_close((answers[0][0][0] + answers[1][0][0]) / 2, want, atol=1e-10, rtol=1e-6)
    torch.testing.assert_close(answers[0][1], want_value)


def test_surrogate_leaves_the_gradients_on_the_knobs():
    knobs = [torch.randn(2, 3, requires_grad=True), torch.randn(4, requires_grad=True)]
    gradients = [torch.randn(2, 3), torch.randn(4)]
    surrogate(knobs, gradients).backward()
    assert all(torch.equal(k.grad, g) for k, g in zip(knobs, gradients, strict=True))


@pytest.mark.parametrize("options", [{"learning_rate": -1.0}, {"learning_rate": 0.1, "radius": 0.0}])
def test_impossible_steps_are_refused(options):
    module, weight, inner, outer = problem()
    with pytest.raises(OptionError, match="hypergradient takes"):
        hypergradient(module, inner, outer, [weight], **options)
