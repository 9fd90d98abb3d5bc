"""Distances between feature vectors and the entries of a memory."""

from __future__ import annotations

import torch
from torch import Tensor

from tutelage.errors import ShapeError


def squared_distances(vectors: Tensor, words: Tensor) -> Tensor:
    """Return `||t - v||^2` for each vector t and each entry v, in float32 whatever the precision of the training.

    Args:
        vectors: `[..., C]`.
        words: `[K, C]`.

    Returns:
        `[..., K]`, not negative; float64 where both are.

    Raises:
        ShapeError: if their lengths differ.
    """
    if words.ndim != 2 or vectors.ndim < 1 or vectors.shape[-1] != words.shape[1]:
        raise ShapeError(f"Vectors are {list(vectors.shape)} and words {list(words.shape)}; expected [..., C] and [K, C].")
    kind = torch.promote_types(torch.promote_types(vectors.dtype, words.dtype), torch.float32)
    with torch.autocast(vectors.device.type, enabled=False):
        rows, words = vectors.reshape(-1, words.shape[1]).to(kind), words.to(kind)
        product = torch.addmm(words.square().sum(1), rows, words.T, alpha=-2)
        return (product + rows.square().sum(1, keepdim=True)).clamp_min(0).view(*vectors.shape[:-1], len(words))
