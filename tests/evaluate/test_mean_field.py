from __future__ import annotations

import math

import pytest
import torch
from scipy import integrate, stats

from tutelage.errors import OptionError
from tutelage.evaluate.mean_field import energy, first_task, fixed_point, generalisation_error, hermite, legendre, second_task, trapezoid


def scalars(*values: float) -> list[torch.Tensor]:
    return [torch.tensor(v, dtype=torch.float64) for v in values]


@pytest.mark.parametrize("rule", [hermite, trapezoid])
def test_normal_quadratures_give_the_moments(rule):
    nodes, weights = rule(60)
    for power, expected in {0: 1, 1: 0, 2: 1, 4: 3, 6: 15, 8: 105}.items():
        assert (weights * nodes**power).sum().item() == pytest.approx(expected, abs=1e-8)


def test_legendre_integrates_polynomials_exactly():
    nodes, weights = legendre(5)
    assert (weights * nodes**8).sum().item() == pytest.approx(2 / 9)
    with pytest.raises(OptionError, match="0 points"):
        legendre(0)


def test_a_fixed_point_is_found_and_a_failure_is_told():
    x, steps, residual = fixed_point(torch.cos, torch.ones(1, dtype=torch.float64), tolerance=1e-10)
    assert x.item() == pytest.approx(0.7390851332)
    assert residual <= 1e-10
    assert steps < 100
    _, steps, residual = fixed_point(lambda x: x + 1, torch.zeros(1), steps=7)
    assert (steps, residual) == (7, 1.0)
    with pytest.raises(OptionError, match="raise damping"):
        fixed_point(lambda x: x / 0, torch.ones(1))


def test_the_generalisation_error_of_an_overlap():
    assert generalisation_error(0) == 0.5
    assert generalisation_error(1) == 0
    assert generalisation_error(0.5) == pytest.approx(1 / 3)
    assert generalisation_error(-1.0000001) == 1


def test_energy_without_overlaps_is_one_integral():
    q_d = 0.4
    expected, _ = integrate.quad(lambda x: stats.norm.pdf(x) * stats.norm.sf(x * math.sqrt(q_d / (1 - q_d))) ** 20, -10, 10)
    assert energy(*scalars(0, 0, q_d)).item() == pytest.approx(math.log(expected), abs=1e-6)


def test_energy_agrees_with_nested_integration():
    q, r, q_d, power = 0.5, 0.4, 0.65, 20

    def outer(z: float) -> float:
        g = lambda x: (math.sqrt(q_d - q) * x + math.sqrt(q) * z) / math.sqrt(1 - q_d)  # noqa: E731
        inner, _ = integrate.quad(lambda x: stats.norm.pdf(x) * stats.norm.sf(g(x)) ** power, -9, 9)
        return stats.norm.pdf(z) * stats.norm.sf(z * r / math.sqrt(q - r**2)) * math.log(inner)

    expected, _ = integrate.quad(outer, -5, 5, limit=30, epsabs=1e-5)
    assert energy(*scalars(q, r, q_d)).item() == pytest.approx(2 * expected, abs=1e-4)


def test_no_patterns_leave_means_uniform_and_a_flat_prior_undecided():
    found = first_task(0.0, tolerance=1e-9)
    assert (found.q, found.r) == (pytest.approx(0, abs=1e-6), pytest.approx(0, abs=1e-6))
    assert found.q_d == pytest.approx(1 / 3, abs=1e-6)
    assert found.errors[0] == pytest.approx(0.5, abs=1e-6)
    entropy = lambda m: -sum(p * math.log(p) for p in ((1 + m) / 2, (1 - m) / 2) if p > 0)  # noqa: E731
    weight = lambda m: math.exp(20 * entropy(m))  # noqa: E731
    expected = integrate.quad(lambda m: m**2 * weight(m), -1, 1)[0] / integrate.quad(weight, -1, 1)[0]
    assert first_task(0.0, flat_prior=1.0, tolerance=1e-9).q_d == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("load", "error"), [(0.3, 0.400), (0.5, 0.355), (0.8, 0.306), (1.0, 0.295), (1.2, 0.232), (1.4, 0.212)])
def test_errors_by_60_hermite_points_are_the_calibrated_ones(load, error):
    assert first_task(load, rule="hermite", points=60, damping=0.5).errors[0] == pytest.approx(error, abs=1e-3)


def test_the_trapezoid_has_converged_where_hermite_has_not():
    fine, usual = first_task(1.2, points=361), first_task(1.2)
    assert usual.errors[0] == pytest.approx(fine.errors[0], abs=1e-3)
    assert usual.residual <= 1e-5
    assert abs(first_task(1.2, rule="hermite", points=60).errors[0] - fine.errors[0]) > 0.008


def test_order_parameters_stand_in_their_order_and_errors_fall_with_the_load():
    found = [first_task(a, points=121) for a in (0.2, 0.6, 1.0)]
    for theory in found:
        assert 0 < theory.r**2 < theory.q < theory.q_d < 1
    assert found[0].errors > found[1].errors > found[2].errors


def test_a_second_task_without_anchor_is_a_first_task_and_forgets_up_to_the_teachers_overlap():
    first, options = first_task(1.0, points=121), {"points": 121, "tolerance": 1e-5}
    alone = first_task(0.5, points=121)
    second = second_task(first, 0.5, overlap=0.4, gamma=0.0, **options)
    assert second.overlaps[1] == pytest.approx(alone.overlaps[0], abs=1e-3)
    assert second.overlaps[0] == pytest.approx(0.4 * alone.overlaps[0], abs=1e-3)


def test_a_second_task_without_patterns_keeps_the_first_and_a_stronger_anchor_keeps_more():
    first, options = first_task(1.5, points=121), {"points": 121, "tolerance": 1e-4}
    idle = second_task(first, 0.0, gamma=5.0, **options)
    assert idle.errors[0] == pytest.approx(first.errors[0], abs=0.02)
    found = [second_task(first, 0.5, gamma=gamma, **options) for gamma in (0.0, 0.1, 1.0)]
    assert found[0].errors[0] > found[1].errors[0] + 0.05 > found[2].errors[0] + 0.1
    assert found[0].errors[1] < found[1].errors[1] < found[2].errors[1]


def test_the_table_of_fields_agrees_with_integration_over_all_of_them():
    from tutelage.evaluate.mean_field.perceptron import averages, tilted
    from tutelage.evaluate.mean_field.second_task import _interpolated

    hats, fields = torch.tensor([30.0, 4.0, 20.0], dtype=torch.float64), torch.linspace(-90, 80, 1001, dtype=torch.float64)
    torch.testing.assert_close(_interpolated(hats, 5.0, fields, 200), averages(tilted(hats, 5.0, fields, 200)), atol=2e-6, rtol=0)


def test_options_out_of_range_are_named():
    with pytest.raises(OptionError, match="load is -1"):
        first_task(-1)
    with pytest.raises(OptionError, match="overlap is 2"):
        second_task(first_task(0.1), 0.5, overlap=2)
    with pytest.raises(OptionError, match="rule is 'simpson'"):
        first_task(0.1, rule="simpson")
