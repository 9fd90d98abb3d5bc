"""The cascade beside the teacher that reads every passage: latency and quality on the same queries."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from tutelage.deploy.ranking.ranker import Ranker
from tutelage.errors import DataError
from tutelage.evaluate.latency import latencies
from tutelage.evaluate.retrieval import overlap, retrieval


@dataclass(frozen=True)
class Comparison:
    """What a cascade saves and what it costs.

    Args:
        k: passages of a document that the teacher reads in the cascade.
        milliseconds: median latency of a query, without making tokens.
        all_milliseconds: the same where the teacher reads all.
        teacher_calls: passages of a document that the teacher reads, on average.
        all_teacher_calls: the same where it reads all.
        found: share of the teacher's best k passages that are read.
        same_first: share of the first 10 documents that both orders have.
        quality: nDCG@10, MRR@10 and MAP, if relevance was given.
        all_quality: the same where the teacher reads all.
    """

    k: int
    milliseconds: float
    all_milliseconds: float
    teacher_calls: float
    all_teacher_calls: float
    found: float
    same_first: float
    quality: dict[str, float] | None
    all_quality: dict[str, float] | None

    @property
    def speed_up(self) -> float:
        """How many times lower the latency of the cascade is."""
        return self.all_milliseconds / self.milliseconds

    def __str__(self) -> str:
        lines = [
            f"latency: {self.milliseconds:.1f} ms a query with k = {self.k}, {self.all_milliseconds:.1f} ms when the teacher reads all "
            f"passages ({self.speed_up:.1f} times as long)",
            f"the teacher reads {self.teacher_calls:.2f} of {self.all_teacher_calls:.2f} passages of a document, among them "
            f"{100 * self.found:.1f}% of its best {self.k}",
            f"the first 10 documents are {100 * self.same_first:.1f}% the same",
        ]
        if self.quality is not None and self.all_quality is not None:
            lines += [f"{name}: {value:.3f}, and {self.all_quality[name]:.3f} with all passages" for name, value in self.quality.items()]
        return "\n".join(lines)


def compare(
    ranker: Ranker,
    queries: Sequence[str],
    documents: Sequence[Sequence[str]],
    relevance: Sequence[Sequence[int]] | None = None,
    *,
    k: int | None = None,
    rounds: int = 3,
) -> Comparison:
    """Measure a ranker beside its own teacher that reads every passage; they take turns, on one thread.

    Args:
        ranker: the ranker.
        queries: texts.
        documents: for each query the texts to rank.
        relevance: for each query the relevance of its documents; `None` where it is not known.
        k: passages of a document that the teacher reads; the ranker's own if `None`.
        rounds: times that each query is timed.

    Raises:
        OptionError: for k below 1.
        DataError: if lists differ in length, there is no query, or a query or document has no word.
    """
    k = ranker.passages_read(k)
    if not queries or len(queries) != len(documents):
        raise DataError(f"{len(queries)} queries came with {len(documents)} lists of documents; expected one list for each query.")
    if relevance is not None and [len(row) for row in relevance] != [len(row) for row in documents]:
        raise DataError("relevance has other lengths than documents; expected one number for each document of each query.")
    asked = [ranker.question(query, texts) for query, texts in zip(queries, documents, strict=True)]
    times = latencies(
        {"k": lambda n: ranker.answer(asked[n], k), "all": lambda n: ranker.answer(asked[n], None)}, len(asked), rounds=rounds
    )
    found, same, calls, every, scores = [], [], [], [], []
    for question in asked:
        ours, whole = ranker.answer(question, k), ranker.answer(question, None)
        best = overlap(_spread(ours.picked, ours.mask.float(), question.passages.mask), whole.passage_scores, k, question.passages.mask)
        found.append(float(best.mean()))
        same.append(float(overlap(ours.scores[None], whole.scores[None], 10)))
        calls.append(float(ours.mask.sum(1).float().mean()))
        every.append(float(question.passages.mask.sum(1).float().mean()))
        scores.append((ours.scores.cpu(), whole.scores.cpu()))
    ours_quality, whole_quality = None, None
    if relevance is not None:
        judged = pad_sequence([torch.as_tensor(row) for row in relevance], batch_first=True)
        mask = pad_sequence([torch.ones(len(row), dtype=torch.bool) for row in relevance], batch_first=True)
        ours_quality, whole_quality = (
            retrieval(pad_sequence(list(side), batch_first=True), judged, mask=mask) for side in zip(*scores, strict=True)
        )
    return Comparison(
        k,
        milliseconds=statistics.median(times["k"]),
        all_milliseconds=statistics.median(times["all"]),
        teacher_calls=statistics.fmean(calls),
        all_teacher_calls=statistics.fmean(every),
        found=statistics.fmean(found),
        same_first=statistics.fmean(same),
        quality=ours_quality,
        all_quality=whole_quality,
    )


def _spread(place: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    """Values `[N, K]` at their places among all passages, `[N, P]`, 0 elsewhere."""
    return torch.zeros(mask.shape, device=mask.device).scatter_add_(1, place, values)
