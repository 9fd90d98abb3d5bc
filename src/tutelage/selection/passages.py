"""The k best of each list, gathered: how a cascade spends its expensive model on a few items only."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from tutelage.errors import OptionError, ShapeError


class Picked(NamedTuple):
    """The items that were picked from each list.

    Args:
        place: their positions, int64 `[N, K]`, ascending within a list, with K the smaller of k and P.
        mask: bool `[N, K]`, False where a list has fewer items.
    """

    place: Tensor
    mask: Tensor

    def gather(self, values: Tensor) -> Tensor:
        """Return what a tensor `[N, P, ...]` holds of the picked items, `[N, K, ...]`."""
        place = self.place.reshape(*self.place.shape, *[1] * (values.ndim - 2))
        return values.gather(1, place.expand(*self.place.shape, *values.shape[2:]))

    def weight(self, items: int) -> Tensor:
        """Return the selection as weights, float32 `[N, P]`: 1 for picked items, 0 for the others.

        Args:
            items: P.
        """
        found = torch.zeros(len(self.place), items, device=self.place.device)
        return found.scatter_(1, self.place, self.mask.float())


@torch.no_grad()
def pick(scores: Tensor, k: int, mask: Tensor | None = None) -> Picked:
    """Pick the k items of highest score from each list.

    The items stay in their order, so that with k of at least P everything is picked as it was.

    Args:
        scores: float `[N, P]`; of equal scores the earlier item is picked.
        k: number of items, at least 1; lists with fewer are picked whole.
        mask: bool `[N, P]`, False for padding, which is never picked; `None` if there is none.

    Returns:
        Positions and which of them are real.

    Raises:
        OptionError: if k is below 1.
        ShapeError: if scores or mask are of another shape.
    """
    if k < 1:
        raise OptionError(f"k is {k}; expected at least 1 item to pick.")
    if scores.ndim != 2 or (mask is not None and mask.shape != scores.shape):
        got = None if mask is None else list(mask.shape)
        raise ShapeError(f"Scores of shape {list(scores.shape)} with a mask of shape {got} are no lists; expected [N, P] for both.")
    real = torch.ones_like(scores, dtype=torch.bool) if mask is None else mask
    # Sorted by score, then by whether they are real: an item of score -inf still comes before padding.
    order = scores.argsort(dim=1, descending=True, stable=True)
    order = order.gather(1, real.gather(1, order).float().argsort(dim=1, descending=True, stable=True))
    place = order[:, :k].sort(dim=1).values
    return Picked(place, real.gather(1, place))
