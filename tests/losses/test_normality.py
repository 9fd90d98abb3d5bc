from __future__ import annotations

import math

import pytest
import torch

from tutelage.losses import normality
from tutelage.losses.normality import TESTS

scipy_stats = pytest.importorskip("scipy.stats")


def sample(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_cramer_von_mises_is_scipys():
    x = sample(30, 4) * 1.3 + 0.2
    expected = [scipy_stats.cramervonmises(x[:, i].numpy(), "norm").statistic for i in range(4)]
    assert normality.cramer_von_mises(x).tolist() == pytest.approx(expected)


def test_anderson_darling_is_the_integral_against_the_known_normal():
    x = sample(15, 1) * 1.2
    ordered = x[:, 0].sort().values
    p = torch.special.ndtr(ordered)
    i = torch.arange(1, 16)
    expected = -15 - ((2 * i - 1) * (p.log() + (1 - p.flip(0)).log())).sum() / 15
    assert normality.anderson_darling(x).item() == pytest.approx(expected.item())
    assert torch.isfinite(normality.anderson_darling(torch.tensor([[-40.0], [0.0], [40.0]]))).all()


def test_watson_takes_the_shift_of_the_distribution_function_off():
    x = sample(20, 3) + 0.5
    mean = torch.special.ndtr(x).mean(0)
    torch.testing.assert_close(normality.watson(x), normality.cramer_von_mises(x) - 20 * (mean - 0.5) ** 2)


def test_extended_jarque_bera_is_scipys_where_mean_and_variance_are_right():
    x = sample(40, 2).exp()
    x = (x - x.mean(0)) / x.std(0, correction=0)
    expected = [scipy_stats.jarque_bera(x[:, i].numpy()).statistic for i in range(2)]
    assert normality.jarque_bera(x).tolist() == pytest.approx(expected)
    moved = normality.jarque_bera(x + 0.3) - normality.jarque_bera(x)
    assert moved.tolist() == pytest.approx([40 * 0.09] * 2)
    scaled = normality.jarque_bera(2 * x) - normality.jarque_bera(x)
    assert scaled.tolist() == pytest.approx([39 * 9 / 2] * 2)


def test_moments_vanish_for_whitened_data_that_is_not_normal():
    x = torch.tensor([[-1.0], [1.0]]).repeat(50, 1)
    assert normality.moments(x).item() == pytest.approx(0, abs=1e-12)
    assert normality.epps_pulley(x).item() > 5
    assert normality.moments(2 * x + 3).item() == pytest.approx(9 + 1)


@pytest.mark.parametrize(
    ("name", "expected"), [("cramer-von-mises", 1 / 6), ("anderson-darling", 1.0), ("watson", 1 / 12), ("epps-pulley", 1.05246)]
)
def test_expectations_for_normal_samples(name, expected):
    values = TESTS[name](sample(100, 4000))
    assert float(values.mean()) == pytest.approx(expected, abs=5 * float(values.std()) / math.sqrt(4000))


@pytest.mark.parametrize("name", TESTS)
def test_constant_samples_have_finite_values_and_gradients(name):
    x = torch.zeros(8, 3, requires_grad=True)
    value = TESTS[name](x)
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("name", TESTS)
def test_leading_axes_are_tested_each_by_itself(name):
    x = sample(2, 3, 12, 4)
    found = TESTS[name](x)
    assert found.shape == (2, 3, 4)
    torch.testing.assert_close(found[1, 2], TESTS[name](x[1, 2]))


@pytest.mark.parametrize("name", TESTS)
def test_the_order_of_samples_does_not_matter(name):
    x = sample(12, 4)
    torch.testing.assert_close(TESTS[name](x), TESTS[name](x[torch.randperm(12)]))
