"""A ranker: a cascade with its tokens, which takes raw texts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from tutelage.data.ranking import pad
from tutelage.deploy.ranking.cascade import Answer, Cascade
from tutelage.errors import DataError, OptionError
from tutelage.views.passages import Passages, windows


class Tokens(Protocol):
    """What turns texts into token numbers from 1: a `HashedVocabulary`, or `PretrainedTokens`."""

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of each text."""
        ...

    def save(self, directory: Path) -> None:
        """Write what is needed to encode again into a folder."""
        ...


@dataclass(frozen=True)
class Windows:
    """How texts are cut.

    Args:
        query: most tokens of a query. Default 30 (paper).
        document: most tokens of a document. Default 2,000 (paper).
        core: tokens that belong to one window alone. Default 50 (paper).
        overlap: tokens on each side that the neighbours have too. Default 7 (paper).
    """

    query: int = 30
    document: int = 2000
    core: int = 50
    overlap: int = 7

    def __post_init__(self) -> None:
        if min(self.query, self.document, self.core) < 1 or self.overlap < 0:
            raise OptionError(f"Texts cannot be cut by {self}: expected an overlap of at least 0, all else at least 1.")

    def cut(self, documents: Tensor) -> Passages:
        """Return the windows of documents, tokens int64 `[N, L]`."""
        return windows(documents, core=self.core, overlap=self.overlap, limit=self.document)


@dataclass(frozen=True)
class Ranking:
    """Documents in their order, and what it took.

    Args:
        order: positions of the documents, best first; those of equal score as they were given.
        scores: score of each document, in the order in which they were given.
        picked: for each document the positions of the passages that the teacher read.
        passages: number of passages of each document.
        truncated: positions of the documents that had more tokens than are read.
        query_truncated: whether the query had.
        milliseconds: how long it took, tokens included.
    """

    order: list[int]
    scores: list[float]
    picked: list[list[int]]
    passages: list[int]
    truncated: list[int]
    query_truncated: bool
    milliseconds: float

    @property
    def teacher_calls(self) -> int:
        """Passages that the teacher read."""
        return sum(len(places) for places in self.picked)

    def __str__(self) -> str:
        read = f"the teacher read {self.teacher_calls} of {sum(self.passages)} passages"
        text = f"{len(self.order)} documents in {self.milliseconds:.1f} ms; {read}"
        return text + (f"; {len(self.truncated)} documents were cut" if self.truncated else "")


class Question(NamedTuple):
    """A query and its documents as tokens.

    Args:
        query: int64 `[1, Q]`.
        passages: windows `[N, P, W]` and their mask.
        lengths: tokens of the query and of each document, before they were cut.
    """

    query: Tensor
    passages: Passages
    lengths: list[int]


class Ranker:
    """Ranks texts for a query by a cascade.

    Args:
        cascade: student, teacher and aggregation.
        tokens: makes tokens of texts.
        k: passages of a document that the teacher reads, at least 1. It changes nothing that was learned.
        cut: how texts are cut.

    Raises:
        OptionError: for k below 1.
    """

    def __init__(self, cascade: Cascade, tokens: Tokens, *, k: int = 4, cut: Windows | None = None) -> None:
        self.cascade, self.tokens, self.k, self.cut = cascade.eval(), tokens, k, cut or Windows()
        self.passages_read(k)

    def rank(self, query: str, documents: Sequence[str], *, k: int | None = None) -> Ranking:
        """Rank documents for a query.

        Args:
            query: its text; tokens beyond the most of a query are left out, and `query_truncated` says so.
            documents: their texts; longer ones than are read are cut, and named in `truncated`.
            k: passages of a document that the teacher reads (all of one that has fewer); the ranker's own if `None`.

        Raises:
            OptionError: for k below 1.
            DataError: for no document, or a query or document without a word.
        """
        k = self.passages_read(k)
        started = time.perf_counter()
        question = self.question(query, documents)
        answer = self.answer(question, k)
        places, masks = answer.picked.tolist(), answer.mask.tolist()
        return Ranking(
            answer.scores.argsort(descending=True, stable=True).tolist(),
            answer.scores.tolist(),
            [[p for p, real in zip(row, mask, strict=True) if real] for row, mask in zip(places, masks, strict=True)],
            question.passages.mask.sum(1).tolist(),
            [place for place, length in enumerate(question.lengths[1:]) if length > self.cut.document],
            question.lengths[0] > self.cut.query,
            1000 * (time.perf_counter() - started),
        )

    def passages_read(self, k: int | None) -> int:
        """Return k, the ranker's own if `None`; refuse one below 1."""
        k = self.k if k is None else k
        if k < 1:
            raise OptionError(f"k is {k}; expected at least 1 passage of a document for the teacher to read.")
        return k

    def question(self, query: str, documents: Sequence[str]) -> Question:
        """Return a query and documents as tokens.

        Raises:
            DataError: for no document, or a query or document without a word.
        """
        if isinstance(documents, str) or not documents:
            raise DataError(f"documents is {documents!r}; expected a sequence of at least one text.")
        encoded = self.tokens.encode([query, *documents])
        if not encoded[0]:
            raise DataError(f"The query {query!r} has no word.")
        empty = [place for place, tokens in enumerate(encoded[1:]) if not tokens]
        if empty:
            raise DataError(f"{len(empty)} of {len(documents)} documents have no word, the first at position {empty[0]}: leave them out.")
        device = next(self.cascade.parameters()).device
        asked, read = pad(encoded[:1], self.cut.query), pad(encoded[1:], self.cut.document)
        return Question(asked.to(device), self.cut.cut(read.to(device)), [len(tokens) for tokens in encoded])

    @torch.inference_mode()
    def answer(self, question: Question, k: int | None) -> Answer:
        """Return what the cascade says; with k `None` the teacher reads every passage and the student none."""
        found: Answer = self.cascade(question.query, *question.passages, k)
        return found
