"""The cascade: a cheap student reads every passage of a document, a costly teacher only those that the student picks."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from tutelage.models.ranking import TopScores
from tutelage.selection.passages import pick


class Answer(NamedTuple):
    """What a cascade says about documents.

    Args:
        scores: of documents, float `[N]`.
        passage_scores: the teacher's, of the passages it read, float `[N, K]`; 0 where a document has fewer.
        picked: positions of these passages, int64 `[N, K]`, ascending.
        mask: bool `[N, K]`, False where a document has fewer passages.
    """

    scores: Tensor
    passage_scores: Tensor
    picked: Tensor
    mask: Tensor


class Cascade(nn.Module):
    """ESM, ETM and PS: `S = PS(ETM(top k passages by ESM))`. The ESM's scores select and are in no document's score.

    Args:
        student: ESM, a passage scorer `(query, passages, mask) -> [N, P]`.
        teacher: ETM, another of the same call.
        aggregation: PS, `(scores, mask) -> [N]`.

    Source: Hofstaetter et al., Intra-Document Cascading, SIGIR 2021, section 3.
    """

    def __init__(self, student: nn.Module, teacher: nn.Module, aggregation: TopScores) -> None:
        super().__init__()
        self.student, self.teacher, self.aggregation = student, teacher, aggregation

    @torch.no_grad()
    def forward(self, query: Tensor, passages: Tensor, mask: Tensor, k: int | None = 4) -> Answer:
        """Return the scores of documents.

        Args:
            query: tokens int64 `[N, Q]`, or `[1, Q]` for one query of all documents; 0 for padding.
            passages: windows int64 `[N, P, W]`.
            mask: bool `[N, P]`, True for passages.
            k: passages of a document that the teacher reads. With `None` it reads all and the student none; with k of at least P the
                answer is the same. Default 4.

        Raises:
            OptionError: if k is below 1.
        """
        scores = torch.zeros(mask.shape, device=mask.device) if k is None else self.student(query, passages, mask)
        picked = pick(scores, mask.shape[1] if k is None else k, mask)
        read = self.teacher(query, picked.gather(passages), picked.mask)
        return Answer(self.aggregation(read, picked.mask), read, *picked)
