"""Gaussian mixtures with full covariances, fitted for several numbers of components at once.

Windows of a few hundred vectors are too small for one fit to keep a processor busy: a step of EM costs some matrix products of the size of
the window, however many mixtures share them. All candidates are therefore rows of the same products.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tutelage.errors import CheckpointError, OptionError, ShapeError

Array = NDArray[np.float64]
Criterion = Literal["aic", "bic", "aicc"]

_TINY = 10 * np.finfo(np.float64).eps


@dataclass(frozen=True)
class Mixture:
    """A Gaussian mixture of k components in R^d, as it was fitted.

    Args:
        weights: `[k]`.
        means: `[k, d]`.
        covariances: `[k, d, d]`.
        log_likelihood: sum over the data that it was fitted to.
        samples: number of these data.
    """

    weights: Array
    means: Array
    covariances: Array
    log_likelihood: float
    samples: int

    def __len__(self) -> int:
        return len(self.weights)

    @property
    def parameters(self) -> int:
        """Number of free parameters, `k ((d^2 - d) / 2 + 2 d + 1) - 1`."""
        k, d = self.means.shape
        return int(k * ((d * d - d) // 2 + 2 * d + 1) - 1)

    def criterion(self, name: Criterion = "aic") -> float:
        """Return an information criterion; smaller is better.

        Args:
            name: `aic`; `bic`; or `aicc`, which corrects AIC for small samples and is infinite where they are too few.
        """
        m, n = self.parameters, self.samples
        aic = 2 * m - 2 * self.log_likelihood
        if name == "bic":
            return m * math.log(n) - 2 * self.log_likelihood
        if name == "aicc":
            return aic + 2 * m * (m + 1) / (n - m - 1) if n > m + 1 else math.inf
        if name != "aic":
            raise OptionError(f"The criterion is '{name}'; expected aic, bic or aicc.")
        return aic

    def score(self, data: Array) -> float:
        """Return the log-likelihood of data `[n, d]`, summed."""
        shift = self.means.mean(0)
        filter_ = _whiten(self.weights, self.means - shift, self.covariances)
        logs = _log_joint(np.column_stack([np.ones(len(data)), data - shift]), filter_, len(self))
        return float(_log_sum(logs, np.array([0]))[0].sum())

    def draw(self, component: int, generator: np.random.Generator) -> Array:
        """Draw a vector `[d]` from one component."""
        root = np.linalg.cholesky(self.covariances[component])
        drawn: Array = self.means[component] + root @ generator.standard_normal(len(root))
        return drawn

    def state_dict(self) -> dict[str, Any]:
        """Return the parameters as arrays and numbers."""
        return dict(vars(self))

    @classmethod
    def load(cls, state: dict[str, Any]) -> Mixture:
        """Rebuild a mixture from what `state_dict` returned."""
        try:
            arrays = {name: np.asarray(state[name], dtype=np.float64) for name in ("weights", "means", "covariances")}
            return cls(**arrays, log_likelihood=float(state["log_likelihood"]), samples=int(state["samples"]))
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"The checkpoint's mixture is damaged: {error}.") from error


def select(mixtures: Sequence[Mixture], criterion: Criterion = "aic") -> Mixture:
    """Return the mixture with the smallest criterion, the earliest of equals."""
    return min(mixtures, key=lambda mixture: mixture.criterion(criterion))


def fit_mixtures(
    data: Array,
    components: Sequence[int],
    generator: np.random.Generator,
    *,
    restarts: int = 1,
    tolerance: float = 1e-3,
    iterations: int = 100,
    floor: float = 1e-6,
) -> list[Mixture]:
    """Fit mixtures of several sizes by EM, each from k-means of its own.

    Args:
        data: `[n, d]`, n at least the largest number of components.
        components: numbers of components, one mixture each.
        generator: draws the centres that k-means starts from.
        restarts: fits per size, of which the likeliest is kept.
        tolerance: a fit ends when the mean log-likelihood of a sample rises by less.
        iterations: most steps of EM.
        floor: added to the diagonals of covariances, in squared units of the data.

    Returns:
        One mixture per size, in their order.

    Raises:
        ShapeError: if the data are too few or not a table.
        OptionError: if they are not finite, or an option is out of range.

    Source: the same model, start and stopping rule as scikit-learn's `GaussianMixture(covariance_type="full")`.
    """
    data = np.asarray(data, dtype=np.float64)
    if data.ndim != 2 or not components or min(components) < 1 or len(data) < max(components):
        raise ShapeError(f"Mixtures of {list(components)} components got data of the shape {data.shape}; expected [n, d] with n as large.")
    if not np.isfinite(data).all() or restarts < 1 or iterations < 1 or floor <= 0:
        raise OptionError(
            f"Mixtures need finite data, restarts={restarts} and iterations={iterations} of 1 or more, floor={floor} above 0."
        )
    sizes = [k for k in components for _ in range(restarts)]
    shift = data.mean(0)  # second moments are differences: around the mean they lose no digits
    centred = data - shift
    fits = _em(centred, sizes, _kmeans(centred, sizes, generator), tolerance, iterations, floor)
    mixtures = [Mixture(w, m + shift, c, ll, len(data)) for w, m, c, ll in fits]
    groups = [mixtures[i : i + restarts] for i in range(0, len(mixtures), restarts)]
    return [max(group, key=lambda mixture: mixture.log_likelihood) for group in groups]


def _starts(sizes: Sequence[int]) -> NDArray[np.intp]:
    """Where each mixture's components begin when all are in one row."""
    return np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.intp)


def _kmeans(data: Array, sizes: Sequence[int], generator: np.random.Generator, iterations: int = 300) -> Array:
    """Return which centre each sample belongs to, as responsibilities `[n, sum of sizes]` of 0 and 1."""
    centres = np.concatenate([_plus_plus(data, k, generator) for k in sizes])
    starts, squares = _starts(sizes), (data**2).sum(1)[:, None]
    owner = np.repeat(np.arange(len(sizes)), sizes)
    belongs = np.zeros((len(data), len(centres)))
    while True:
        away = squares - 2 * data @ centres.T + (centres**2).sum(1)
        nearest = away == np.minimum.reduceat(away, starts, axis=1)[:, owner]
        earlier = nearest.cumsum(1)
        first = earlier - np.where(starts == 0, 0, earlier[:, starts - 1])[:, owner] == 1  # the first of equally near centres
        new = (nearest & first).astype(np.float64)
        iterations -= 1
        if np.array_equal(new, belongs) or not iterations:
            found: Array = new
            return found
        belongs, counts = new, new.sum(0)
        centres = np.where(counts[:, None] > 0, (belongs.T @ data) / np.maximum(counts, 1)[:, None], centres)


def _plus_plus(data: Array, count: int, generator: np.random.Generator) -> Array:
    """Draw centres far from each other: each the best of a few draws in proportion to squared distance."""
    trials = 2 + int(math.log(count))
    chosen = [data[generator.integers(len(data))]]
    away = ((data - chosen[0]) ** 2).sum(1)
    for _ in range(count - 1):
        sums = away.cumsum()
        tried = np.minimum(np.searchsorted(sums, generator.random(trials) * sums[-1]), len(data) - 1)
        left = np.minimum(away, ((data - data[tried][:, None]) ** 2).sum(-1))
        best = int(left.sum(1).argmin())
        chosen.append(data[tried[best]])
        away = left[best]
    return np.array(chosen)


def _em(
    data: Array, sizes: Sequence[int], belongs: Array, tolerance: float, iterations: int, floor: float
) -> list[tuple[Array, Array, Array, float]]:
    """Run EM on all mixtures at once; those that are done leave the products."""
    n, d = data.shape
    rows, columns = np.triu_indices(d)
    linear = np.column_stack([np.ones(n), data])
    moments = np.column_stack([linear, data[:, rows] * data[:, columns]])
    done: dict[int, tuple[Array, Array, Array, float]] = {}
    active, before = list(range(len(sizes))), np.full(len(sizes), -math.inf)
    weights, means, covariances = _maximise(moments, belongs, d, floor)
    for left in reversed(range(iterations)):
        current = [sizes[i] for i in active]
        starts, owner = _starts(current), np.repeat(np.arange(len(active)), current)
        logs = _log_joint(linear, _whiten(weights, means, covariances), len(weights))
        total, shares = _log_sum(logs, starts, owner)
        reached = total.mean(0)
        # The parameters of the step are those after maximisation, as scikit-learn's are: a fit that ends here takes one more.
        weights, means, covariances = _maximise(moments, shares, d, floor)
        ended = (np.abs(reached - before) < tolerance) | (left == 0)
        if ended.any():
            for place in np.flatnonzero(ended):
                part = slice(starts[place], starts[place] + current[place])
                done[active[place]] = weights[part], means[part], covariances[part], 0.0
            stay = ~ended[owner]
            weights, means, covariances = weights[stay], means[stay], covariances[stay]
            active = [i for i, over in zip(active, ended, strict=True) if not over]
            reached = reached[~ended]
        if not active:
            break
        before = reached
    return _with_likelihoods(linear, [done[i] for i in range(len(sizes))], sizes)


def _with_likelihoods(
    linear: Array, fits: list[tuple[Array, Array, Array, float]], sizes: Sequence[int]
) -> list[tuple[Array, Array, Array, float]]:
    weights, means, covariances = (np.concatenate([fit[i] for fit in fits]) for i in range(3))
    logs = _log_joint(linear, _whiten(weights, means, covariances), len(weights))
    totals = _log_sum(logs, _starts(sizes))[0].sum(0)
    return [(w, m, c, float(total)) for (w, m, c, _), total in zip(fits, totals, strict=True)]


def _maximise(moments: Array, shares: Array, d: int, floor: float) -> tuple[Array, Array, Array]:
    """Return weights, means and covariances of components that own samples in the given shares `[n, components]`."""
    sums = shares.T @ moments
    counts = sums[:, 0] + _TINY
    scaled = sums / counts[:, None]
    means = scaled[:, 1 : d + 1]
    rows, columns = np.triu_indices(d)
    covariances = np.empty((len(means), d, d))
    covariances[:, rows, columns] = scaled[:, d + 1 :] - means[:, rows] * means[:, columns]
    covariances[:, columns, rows] = covariances[:, rows, columns]
    diagonal = np.arange(d)
    covariances[:, diagonal, diagonal] = np.maximum(covariances[:, diagonal, diagonal], 0) + floor
    return counts / len(moments), means, covariances


def _whiten(weights: Array, means: Array, covariances: Array) -> tuple[Array, Array]:
    """Return what turns `[1, x]` into whitened residuals of all components, and each component's constant."""
    k, d = means.shape
    roots = np.linalg.cholesky(covariances)
    inverse = np.linalg.solve(roots, np.broadcast_to(np.eye(d), (k, d, d))).transpose(0, 2, 1)
    offsets = -(means[:, None] @ inverse)[:, 0]
    matrix = np.concatenate([offsets[:, None], inverse], 1).transpose(1, 0, 2).reshape(d + 1, k * d)
    logs = np.log(weights) - np.log(roots[:, np.arange(d), np.arange(d)]).sum(1) - 0.5 * d * math.log(2 * math.pi)
    return matrix, logs


def _log_joint(linear: Array, filter_: tuple[Array, Array], k: int) -> Array:
    """Return the log of weight times density `[n, components]`."""
    residuals = linear @ filter_[0]
    residuals *= residuals
    found: Array = filter_[1] - 0.5 * residuals.reshape(len(linear), k, -1).sum(-1)
    return found


def _log_sum(logs: Array, starts: NDArray[np.intp], owner: NDArray[np.intp] | None = None) -> tuple[Array, Array]:
    """Return the log-likelihood of every sample under every mixture `[n, mixtures]`, and with `owner` each component's share."""
    highest = np.maximum.reduceat(logs, starts, axis=1)
    owner = np.repeat(np.arange(len(starts)), np.diff([*starts, logs.shape[1]])) if owner is None else owner
    shares = np.exp(logs - highest[:, owner])
    sums = np.add.reduceat(shares, starts, axis=1)
    shares /= sums[:, owner]
    return np.log(sums) + highest, shares
