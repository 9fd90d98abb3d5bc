"""How many words bags of words use: one number that falls to 1 when a vocabulary collapses."""

from __future__ import annotations

import torch
from torch import Tensor

from tutelage.errors import ShapeError


def perplexity(probs: Tensor) -> Tensor:
    """Return `exp(-sum p log p)`: the number of equally likely outcomes of the same entropy, from 1 to K.

    Args:
        probs: distributions `[..., K]`.

    Returns:
        `[...]`.
    """
    return torch.exp(-torch.xlogy(probs, probs).sum(-1))


def bag_perplexity(bags: Tensor) -> dict[str, Tensor]:
    """Return how many words one image uses, and how many all images of a batch use together.

    Args:
        bags: one distribution over words per image, `[N, K]`.

    Returns:
        `"perplexity_image"`, the mean over images of their own perplexity, and `"perplexity_batch"`, that of the mean bag; scalars.
        Both near 1 is collapse; the same many for both says that all images look alike.

    Raises:
        ShapeError: if the bags are not `[N, K]` of at least one image.

    Source: the monitor of the authors' code of OBoW, arXiv 2012.11552.
    """
    if bags.ndim != 2 or not len(bags):
        raise ShapeError(f"Bags are {list(bags.shape)}; expected [N, K] of at least one image.")
    return {"perplexity_image": perplexity(bags).mean(), "perplexity_batch": perplexity(bags.mean(0))}
