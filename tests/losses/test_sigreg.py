from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tutelage import losses as L
from tutelage.errors import OptionError, ShapeError
from tutelage.losses import characteristic
from tutelage.losses.characteristic import characteristic_sums
from tutelage.losses.normality import TESTS


def direct(z, a, knots=17, reach=3.0):
    """The algorithm box of the package's code, with every projection and knot held."""
    t = torch.linspace(0, reach, knots, dtype=z.dtype)
    dt = reach / (knots - 1)
    weight = torch.full((knots,), 2 * dt, dtype=z.dtype)
    weight[[0, -1]] = dt
    normal = (-(t**2) / 2).exp()
    xt = (z @ a.T)[..., None] * t
    err = (xt.cos().mean(-3) - normal) ** 2 + xt.sin().mean(-3) ** 2
    return (z.shape[-2] * (err @ (weight * normal))).mean(-1)


def sample(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_values_and_gradients_are_those_of_the_direct_formula():
    z, a = sample(3, 40, 6).requires_grad_(), L.random_directions(21, 6, seed=1).double()
    ours, theirs = L.sigreg(z, a), direct(z, a)
    assert ours.shape == (3,)
    torch.testing.assert_close(ours, theirs)
    weights = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    torch.testing.assert_close(*(torch.autograd.grad((weights * loss).sum(), z)[0] for loss in (ours, theirs)))


def test_tiles_do_not_change_anything(monkeypatch):
    z, a = sample(2, 50, 4).requires_grad_(), L.random_directions(33, 4, seed=1).double()
    whole = L.sigreg(z, a)
    monkeypatch.setattr(characteristic, "TILE", 100)
    parts = L.sigreg(z, a)
    torch.testing.assert_close(parts, whole)
    torch.testing.assert_close(*(torch.autograd.grad(loss.sum(), z)[0] for loss in (parts, whole)))


@pytest.mark.parametrize("test", TESTS)
@pytest.mark.parametrize(("line", "knots"), [("half", 17), ("full", 17), ("full", 16), ("full", 2)])
def test_gradients_agree_with_finite_differences(test, line, knots):
    z, a = sample(2, 7, 3).requires_grad_(), L.random_directions(2, 3, seed=1).double()
    assert torch.autograd.gradcheck(lambda z: L.sigreg(z, a, test=test, line=line, knots=knots), z)


def test_the_constant_embedding_has_the_closed_form():
    z, a = torch.zeros(30, 5), L.random_directions(4, 5, seed=0)
    assert float(L.sigreg(z, a)) / 30 == pytest.approx(0.40205, abs=1e-5)
    whole = math.sqrt(2 * math.pi) * (1 - math.sqrt(2) + 1 / math.sqrt(3))
    assert whole == pytest.approx(0.40892, abs=1e-5)
    assert float(L.sigreg(z, a, knots=401, reach=12.0)) / 30 == pytest.approx(whole, abs=1e-5)


@pytest.mark.parametrize("number", [20, 100])
def test_the_expectation_for_a_gaussian_does_not_depend_on_the_number_of_samples(number):
    values = L.epps_pulley(sample(number, 20_000, seed=number))
    error = 4 * float(values.std()) / math.sqrt(20_000)
    assert float(values.mean()) == pytest.approx(1.05246, abs=error)
    assert error < 0.04
    wide = L.epps_pulley(sample(number, 20_000, seed=number), knots=81, reach=8.0)
    assert float(wide.mean()) == pytest.approx(math.sqrt(2 * math.pi) * (1 - 1 / math.sqrt(3)), abs=error)


@given(st.integers(0, 10_000), st.sampled_from(list(TESTS)))
def test_it_is_not_negative(seed, test):
    z = 3 * sample(9, 4, seed=seed) + 1
    assert float(L.sigreg(z, L.random_directions(5, 4, seed=seed).double(), test=test)) >= -1e-9


def test_a_rotation_of_the_embeddings_is_one_of_the_directions():
    z, a = sample(200, 6) * torch.tensor([3.0, 1, 1, 1, 1, 0.2], dtype=torch.float64), L.random_directions(4000, 6, seed=1).double()
    turn = torch.linalg.qr(sample(6, 6, seed=2)).Q
    torch.testing.assert_close(L.sigreg(z @ turn, a), L.sigreg(z, a @ turn.T))
    assert float(L.sigreg(z @ turn, a)) == pytest.approx(float(L.sigreg(z, a)), rel=0.05)  # in distribution: over many directions


def test_scaling_and_shifting_raise_it():
    z, a = sample(500, 4), L.random_directions(50, 4, seed=1).double()
    plain = float(L.sigreg(z, a))
    assert float(L.sigreg(2 * z, a)) > 10 * plain
    assert float(L.sigreg(0.5 * z, a)) > 10 * plain
    assert float(L.sigreg(z + 1, a)) > 10 * plain


def test_the_half_line_is_the_full_line_of_the_same_spacing():
    z, a = sample(30, 4), L.random_directions(10, 4, seed=1).double()
    torch.testing.assert_close(L.sigreg(z, a, knots=17, reach=3.0), L.sigreg(z, a, knots=33, reach=3.0, line="full"), rtol=1e-13, atol=0)


@pytest.mark.parametrize("knots", [17, 16])
def test_the_full_line_is_the_trapezoid_of_the_pseudo_code(knots):
    x = sample(25, 3)
    t = torch.linspace(-5, 5, knots, dtype=torch.float64)
    normal = (-(t**2) / 2).exp()
    phi = torch.exp(1j * x[..., None] * t).mean(0)
    expected = 25 * torch.trapezoid((phi - normal).abs() ** 2 * normal, t)
    torch.testing.assert_close(L.epps_pulley(x, knots=knots, reach=5.0, line="full"), expected)


@pytest.mark.parametrize("value", [0.0, 1.0, 10.0, 1e3, 1e6])
def test_the_gradient_of_a_sample_is_bounded_wherever_it_lies(value):
    x = sample(20, 1)
    x[0] = value
    x.requires_grad_()
    L.epps_pulley(x).sum().backward()
    assert x.grad.abs().max() <= 4.0  # 2 (1 + 1) t exp(-t^2/2) integrated over the line


def test_directions_are_seeded_unit_vectors():
    a, same, next_step = (L.random_directions(300, 7, seed=seed) for seed in (5, 5, 6))
    assert torch.equal(a, same)
    assert (a - next_step).abs().max() > 0.1
    torch.testing.assert_close(a.norm(dim=1), torch.ones(300))
    assert a.mean(0).abs().max() < 0.1  # uniform on the sphere: no preferred side
    torch.testing.assert_close(a.T @ a / 300, torch.eye(7) / 7, atol=0.05, rtol=0)


def test_memory_does_not_hold_the_projections():
    z, a = torch.randn(2000, 8, requires_grad=True), L.random_directions(1500, 8, seed=0)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        L.sigreg(z, a).backward()
    held = peak = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    assert 0 < peak < 2000 * 1500 * 4 / 4  # a quarter of what one projection matrix takes


def test_half_types_are_computed_in_single_precision():
    z, a = sample(64, 4).bfloat16(), L.random_directions(8, 4, seed=0)
    found = L.sigreg(z, a)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, L.sigreg(z.float(), a))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for test in TESTS:
            torch.testing.assert_close(L.sigreg(z.float(), a, test=test), L.sigreg(z.float(), a.float(), test=test))
            assert L.sigreg(z, a, test=test).dtype == torch.float32


def test_many_knots_stay_exact_in_single_precision():
    z, a = torch.randn(100, 4), L.random_directions(16, 4, seed=0)
    torch.testing.assert_close(L.sigreg(z, a, knots=201), L.sigreg(z.double(), a.double(), knots=201).float(), rtol=1e-4, atol=1e-4)


def test_sums_start_where_they_are_told():
    x = sample(1, 6, 2)
    sums = characteristic_sums(x, None, first=0.3, spacing=0.5, knots=3)
    t = torch.tensor([0.3, 0.8, 1.3], dtype=torch.float64)
    xt = x[:, :, None, :] * t[:, None]
    torch.testing.assert_close(sums, torch.stack([xt.cos().sum(1), xt.sin().sum(1)]))


def test_what_does_not_fit_is_named():
    with pytest.raises(ShapeError, match=r"\[5, 4\].*\[3, 2\]"):
        L.sigreg(torch.zeros(5, 4), torch.zeros(3, 2))
    with pytest.raises(ShapeError, match="at least one sample"):
        L.epps_pulley(torch.zeros(0, 3))
    with pytest.raises(OptionError, match="watson"):
        L.sigreg(torch.zeros(5, 4), torch.zeros(3, 4), test="wattson")
    with pytest.raises(OptionError, match="knots=1"):
        L.epps_pulley(torch.zeros(5, 4), knots=1)
    with pytest.raises(OptionError, match="line"):
        L.epps_pulley(torch.zeros(5, 4), line="both")
    with pytest.raises(OptionError, match="0 directions"):
        L.random_directions(0, 4, seed=0)
