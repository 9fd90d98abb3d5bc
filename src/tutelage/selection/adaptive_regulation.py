"""Belief by certainty: a smooth weight from a teacher's confidence and its spread over several passes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tutelage.errors import ShapeError


@torch.no_grad()
def adaptive_regulation(top: Tensor, spread: Tensor, *, sharpness: float = 20.0) -> Tensor:
    """Return how much a pseudo-label is believed: `2 sigmoid(exp(p) - e) (2 sigmoid(1 / (k s)) - 1)`.

    It rises with the confidence p and falls with the spread s; no threshold cuts anything off.

    Args:
        top: probability of the pseudo-label's class, in [0, 1], `[...]`.
        spread: standard deviation of that probability over passes, 0 or more, `[...]`.
        sharpness: k. Default 20 (SeFAR).

    Returns:
        Weights in (0, 1], float32 `[...]`; 1 for p = 1 and s = 0.

    Raises:
        ShapeError: if the shapes differ.

    Source: Adaptive Regulation of SeFAR, arXiv 2501.01245.
    """
    if top.shape != spread.shape:
        raise ShapeError(
            f"Confidences {list(top.shape)} and spreads {list(spread.shape)} differ in shape: expected one of each per element."
        )
    confident = 2 * torch.sigmoid(top.float().exp() - math.e)
    # tanh(x / 2) is 2 sigmoid(x) - 1 without loss of digits where it is small.
    return confident * torch.tanh(0.5 / (sharpness * spread.float()))
