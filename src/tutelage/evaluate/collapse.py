"""Whether features have collapsed: how far they spread, and over how many directions."""

from __future__ import annotations

import torch
from torch import Tensor

from tutelage.errors import ShapeError


def feature_std(features: Tensor) -> float:
    """Return the standard deviation of features over samples, averaged over dimensions; 0 when all samples look alike.

    Args:
        features: `[N, D]`, N at least 2.
    """
    _check(features)
    return float(features.float().std(0).mean())


def effective_rank(features: Tensor) -> float:
    """Return the exponential of the entropy of the normalised singular values of centred features, from 1 to D.

    Args:
        features: `[N, D]`, N at least 2.

    Source: Roy and Vetterli, The effective rank, EUSIPCO 2007, eq. 4.
    """
    _check(features)
    return _spread(features.double() - features.double().mean(0))


def rank_me(features: Tensor) -> float:
    """Return RankMe, the effective rank of features as they are, not centred.

    Args:
        features: `[N, D]`, N at least 2.

    Source: Garrido et al., RankMe, ICML 2023, eq. 1.
    """
    _check(features)
    return _spread(features.double())


def collapse(features: Tensor) -> dict[str, float]:
    """Return `feature_std` and `effective_rank` by name, for a metrics row."""
    return {"feature_std": feature_std(features), "effective_rank": effective_rank(features)}


def _spread(features: Tensor) -> float:
    values = torch.linalg.svdvals(features)
    shares = values / values.sum().clamp_min(torch.finfo(values.dtype).tiny)
    return float(torch.exp(-torch.xlogy(shares, shares).sum()))


def _check(features: Tensor) -> None:
    if features.ndim != 2 or len(features) < 2:
        raise ShapeError(f"Features are {list(features.shape)}; expected [N, D] of at least two samples.")
