"""How much of the data a selector lets through: a count for every sample."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tutelage.errors import OptionError
from tutelage.targets.ranks import gather_over_ranks


class UseCounter(nn.Module):
    """Counts how often each sample was learned from, over all processes of a distributed run; part of checkpoints.

    Args:
        rows: number of samples, or 1 more than the highest original row where only some are shown.

    Raises:
        OptionError: if there is none.
    """

    uses: Tensor
    shown: Tensor

    def __init__(self, rows: int) -> None:
        super().__init__()
        if rows < 1:
            raise OptionError(f"UseCounter got {rows} rows; expected at least 1.")
        self.register_buffer("uses", torch.zeros(rows, dtype=torch.int64))
        self.register_buffer("shown", torch.zeros(rows, dtype=torch.int64))

    @torch.no_grad()
    def add(self, index: Tensor, weight: Tensor) -> None:
        """Count one batch.

        Args:
            index: original row of each sample, int64 `[N]`.
            weight: `[N]`; a sample is used where it is above 0.
        """
        pairs = gather_over_ranks(torch.stack([index, (weight > 0).to(index)], 1))
        rows, used = pairs.unbind(1)
        self.shown.index_add_(0, rows, torch.ones_like(rows))
        self.uses.index_add_(0, rows, used)

    def summary(self) -> dict[str, float]:
        """Return what was counted.

        Returns:
            `uses` (samples learned from, repeats counted), `used_share` (of those presented, percent), and `distinct_share`: how many of
            the samples that were presented at all were learned from at least once, percent.
        """
        uses, shown = int(self.uses.sum()), int(self.shown.sum())
        known = int((self.shown > 0).sum())
        return {
            "uses": float(uses),
            "used_share": 100.0 * uses / max(shown, 1),
            "distinct_share": 100.0 * int((self.uses > 0).sum()) / max(known, 1),
        }
