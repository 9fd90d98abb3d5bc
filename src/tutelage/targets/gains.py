"""Gains: a teacher's scores as a graded ranking, which says who comes first and not by how much."""

from __future__ import annotations

import torch
from torch import Tensor

from tutelage.errors import OptionError, ShapeError


@torch.no_grad()
def rank_gains(scores: Tensor, k: int, mask: Tensor | None = None) -> Tensor:
    """Return graded gains of the teacher's best k items: its first gets k, its second k - 1, its k-th 1, all others 0.

    Args:
        scores: the teacher's, float `[..., P]`; of equal scores the earlier item comes first.
        k: number of items with a gain, at least 1.
        mask: bool `[..., P]`, False for padding, which gets 0; `None` if there is none. No score has a meaning of its own: an item of
            score 0, or below, is an item.

    Returns:
        float32 `[..., P]`.

    Raises:
        OptionError: if k is below 1.
        ShapeError: if the mask is of another shape.

    Source: Hofstaetter et al., Intra-Document Cascading, SIGIR 2021, section 3.3.
    """
    if k < 1:
        raise OptionError(f"k is {k}; expected at least 1 item with a gain.")
    if mask is not None and mask.shape != scores.shape:
        raise ShapeError(f"mask of shape {tuple(mask.shape)} does not fit scores of shape {tuple(scores.shape)}.")
    hidden = scores if mask is None else scores.masked_fill(~mask, -torch.inf)
    order = hidden.argsort(dim=-1, descending=True, stable=True)
    places = torch.arange(scores.shape[-1], device=scores.device)
    gains = torch.zeros(scores.shape, device=scores.device).scatter_(-1, order, (k - places).clamp_min(0).float().expand_as(order))
    return gains if mask is None else gains.masked_fill(~mask, 0.0)
