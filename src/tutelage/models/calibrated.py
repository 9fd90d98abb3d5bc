"""Temperature scaling: one number that makes a classifier's confidence mean what it says."""

from __future__ import annotations

import torch
from torch import Tensor

from tutelage.errors import ShapeError

LEAST, MOST = 1e-3, 1e3
"""Range of temperatures: labels that a classifier always gets right (or never) would drive it without end."""


@torch.no_grad()
def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """Return the temperature by which logits must be divided to have the least negative log-likelihood on held-out samples.

    In `b = 1 / T` the likelihood is concave; its slope `mean_i (sum_c p_ic z_ic - z_i,y)` has one zero, which is found by bisection.

    Args:
        logits: of samples that the classifier was not fitted on, `[N, C]`.
        labels: int64 `[N]`.

    Returns:
        T, from 0.001 to 1000.

    Raises:
        ShapeError: if logits and labels do not fit, or there is none.

    Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017, section 4.2.
    """
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or not len(labels):
        raise ShapeError(f"fit_temperature got logits {list(logits.shape)} and labels {list(labels.shape)}; expected [N, C] and [N].")
    z = logits.double() - logits.double().amax(1, keepdim=True)
    right = z.gather(1, labels.unsqueeze(1)).squeeze(1)

    def slope(b: float) -> float:
        return float(((z * b).softmax(1).mul(z).sum(1) - right).mean())

    low, high = 1 / MOST, 1 / LEAST
    for _ in range(100):
        middle = (low * high) ** 0.5
        low, high = (low, middle) if slope(middle) > 0 else (middle, high)
    best: float = 1 / (low * high) ** 0.5
    return best
