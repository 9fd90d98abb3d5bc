"""PS: a document's score from those of its best passages."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tutelage.errors import OptionError


class TopScores(nn.Module):
    """`S = sum_{r <= l} W_r s_(r)` over the l highest passage scores, in their order; missing ones count 0.

    Args:
        scores: l. Default 3 (paper). With l = 1 and W = 1 it is the maximum (MaxP).

    Raises:
        OptionError: for l below 1.

    Source: Hofstaetter et al., Intra-Document Cascading, SIGIR 2021, section 3.1; weights start at 1.
    """

    def __init__(self, scores: int = 3) -> None:
        super().__init__()
        if scores < 1:
            raise OptionError(f"A document's score takes at least 1 passage score, got {scores}.")
        self.weight = nn.Parameter(torch.ones(scores))

    def forward(self, scores: Tensor, mask: Tensor) -> Tensor:
        """Return the scores of documents.

        Args:
            scores: of passages, float `[N, P]`.
            mask: bool `[N, P]`, True for passages. A score of exactly 0 is a score.

        Returns:
            float `[N]`.
        """
        count = min(len(self.weight), scores.shape[1])
        best, place = scores.masked_fill(~mask, -torch.inf).topk(count, dim=1)
        best = best.masked_fill(~mask.gather(1, place), 0.0)
        return best @ self.weight[:count]
