"""What every passage scorer is: it takes a query and the windows of its documents, and spends nothing on padding."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PassageScorer(nn.Module):
    """Scores passages for queries. A subclass writes `pairs`.

    Attributes:
        table: the embeddings of its tokens, on which a student may build.
        batch: pairs at once outside training, which bounds memory.
    """

    table: nn.Embedding
    batch: int = 1024

    def pairs(self, query: Tensor, passage: Tensor) -> Tensor:
        """Return the score of each pair, `[M]`.

        Args:
            query: tokens int64 `[M, Q]`, 0 for padding.
            passage: tokens int64 `[M, W]`, 0 for padding.
        """
        raise TypeError(f"{type(self).__name__} must define pairs(query, passage)")

    def forward(self, query: Tensor, passages: Tensor, mask: Tensor) -> Tensor:
        """Return the score of each passage for its query.

        Args:
            query: tokens int64 `[N, Q]`, or `[1, Q]` for one query of all rows.
            passages: tokens int64 `[N, P, W]`.
            mask: bool `[N, P]`, True for passages; the others are not computed.

        Returns:
            float `[N, P]`, 0 where there is no passage.
        """
        chosen = passages[mask]
        row = mask.nonzero()[:, 0] if len(query) > 1 else torch.zeros(len(chosen), dtype=torch.int64, device=query.device)
        scores = [self.pairs(query[row[s : s + self._size]], chosen[s : s + self._size]) for s in range(0, len(chosen), self._size)]
        found = torch.cat(scores) if scores else query.new_zeros(0, dtype=self.table.weight.dtype)
        return found.new_zeros(mask.shape).masked_scatter(mask, found)

    @property
    def _size(self) -> int:
        return 1 << 30 if torch.is_grad_enabled() and self.training else self.batch
