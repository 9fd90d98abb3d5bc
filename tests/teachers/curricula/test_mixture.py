from __future__ import annotations

import numpy as np
import pytest
from sklearn.mixture import GaussianMixture

from tutelage.errors import OptionError, ShapeError
from tutelage.teachers.curricula.mixture import Mixture, _em, fit_mixtures, select


def window(seed):
    """Tasks and progress as a teacher sees them: some clusters, much of the progress exactly zero."""
    rng = np.random.default_rng(seed)
    centres = rng.random((4, 2))
    tasks = np.concatenate([centre + 0.08 * rng.standard_normal((55, 2)) for centre in centres] + [rng.random((30, 2))]).clip(0, 1)
    return np.column_stack([tasks, np.where(rng.random(250) < 0.3, 0.2 * rng.random(250) * tasks[:, 0], 0)])


@pytest.mark.parametrize("dimension", [1, 3, 13])
def test_em_is_that_of_scikit_learn_from_the_same_start(dimension):
    rng = np.random.default_rng(dimension)
    data = rng.standard_normal((250, dimension)) + 3 * rng.integers(0, 3, (250, 1))
    data -= data.mean(0)
    sizes = [2, 3, 5]
    starts = []
    for k in sizes:
        belongs = np.zeros((250, k))
        belongs[np.arange(250), rng.integers(0, k, 250)] = 1
        starts.append(belongs)
    fits = _em(data, sizes, np.concatenate(starts, 1), 1e-3, 100, 1e-6)
    for k, belongs, (weights, means, covariances, total) in zip(sizes, starts, fits, strict=True):
        theirs = GaussianMixture(k, covariance_type="full")
        theirs._initialize_parameters = lambda X, random_state, belongs=belongs, theirs=theirs, **_: theirs._initialize(X, belongs)
        theirs.fit(data)
        assert theirs.converged_
        np.testing.assert_allclose(weights, theirs.weights_, rtol=1e-7)
        np.testing.assert_allclose(means, theirs.means_, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(covariances, theirs.covariances_, rtol=1e-6, atol=1e-9)
        assert total == pytest.approx(250 * theirs.score(data))
        assert Mixture(weights, means, covariances, total, 250).criterion("aic") == pytest.approx(theirs.aic(data))
        assert Mixture(weights, means, covariances, total, 250).criterion("bic") == pytest.approx(theirs.bic(data))


def test_fits_are_as_good_as_scikit_learns():
    ours, theirs = [], []
    for seed in range(12):
        data = window(seed)
        sizes = range(2, 8)
        ours.append(select(fit_mixtures(data, sizes, np.random.default_rng(seed))).criterion())
        theirs.append(min(GaussianMixture(k, random_state=seed).fit(data).aic(data) for k in sizes))
    spread = np.std(np.array(ours) - theirs) / np.sqrt(12)
    assert np.mean(ours) <= np.mean(theirs) + 2 * spread + 5


def test_aic_finds_two_separated_gaussians_and_the_smallest_value():
    rng = np.random.default_rng(0)
    data = np.concatenate([rng.standard_normal((125, 2)), rng.standard_normal((125, 2)) + 12])
    fits = fit_mixtures(data, range(2, 11), rng)
    chosen = select(fits)
    assert len(chosen) in (2, 3)
    assert all(chosen.criterion() <= other.criterion() for other in fits)
    np.testing.assert_allclose(sorted(fits[0].means[:, 0]), [data[:125, 0].mean(), data[125:, 0].mean()], atol=0.01)


def test_parameters_and_corrected_criterion():
    fit = fit_mixtures(window(0), [4], np.random.default_rng(0))[0]
    k, d, n = 4, 3, 250
    m = k * ((d * d - d) // 2 + 2 * d + 1) - 1
    assert fit.parameters == m == 39
    assert fit.criterion("aicc") == pytest.approx(fit.criterion() + 2 * m * (m + 1) / (n - m - 1))
    assert fit.score(window(0)) == pytest.approx(fit.log_likelihood)
    with pytest.raises(OptionError, match="'aix'"):
        fit.criterion("aix")


def test_degenerate_windows_are_fitted():
    for data in (np.zeros((250, 3)), np.column_stack([np.repeat([0.0, 1.0], 125), np.full(250, 1e3)])):
        for fit in fit_mixtures(data, range(2, 6), np.random.default_rng(0)):
            assert np.isfinite(fit.log_likelihood)
            assert np.linalg.eigvalsh(fit.covariances).min() > 0


def test_restarts_never_hurt():
    data = window(3)
    once = fit_mixtures(data, [5], np.random.default_rng(1))[0]
    often = fit_mixtures(data, [5], np.random.default_rng(1), restarts=6)[0]
    assert often.log_likelihood >= once.log_likelihood - 1e-6


def test_draws_follow_a_component():
    rng = np.random.default_rng(0)
    covariance = np.array([[[2.0, 0.8], [0.8, 0.5]]])
    drawn = np.array([Mixture(np.ones(1), np.array([[1.0, -1.0]]), covariance, 0.0, 1).draw(0, rng) for _ in range(4000)])
    np.testing.assert_allclose(np.cov(drawn.T), covariance[0], atol=0.1)
    np.testing.assert_allclose(drawn.mean(0), [1, -1], atol=0.08)


def test_bad_data_are_refused():
    with pytest.raises(ShapeError):
        fit_mixtures(np.zeros((3, 2)), [4], np.random.default_rng(0))
    with pytest.raises(OptionError, match="finite"):
        fit_mixtures(np.array([[np.nan], [1.0]]), [2], np.random.default_rng(0))
