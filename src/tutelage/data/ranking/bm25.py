"""BM25: a score of documents by the words they share with a query, from an inverted index."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence

import numpy as np

from tutelage.data.words import words
from tutelage.errors import DataError, OptionError


class BM25:
    """Scores documents for queries: `sum_t idf(t) f (k1 + 1) / (f + k1 (1 - b + b |d| / avg))`, `idf = log(1 + (N - n + .5) / (n + .5))`.

    Args:
        documents: the texts.
        k1: how fast repeated words saturate, at least 0. Default 0.9.
        b: how much long documents are discounted, 0 to 1. Default 0.4.

    Raises:
        DataError: if there is no document.
        OptionError: for k1 or b out of range.

    Source: Robertson and Zaragoza, The Probabilistic Relevance Framework, 2009; k1 and b as usual on MS MARCO.
    """

    def __init__(self, documents: Sequence[str], *, k1: float = 0.9, b: float = 0.4) -> None:
        if not documents:
            raise DataError("BM25 was given no document to search.")
        if k1 < 0 or not 0 <= b <= 1:
            raise OptionError(f"BM25 takes k1 of at least 0 and b from 0 to 1, got {k1} and {b}.")
        counts = [Counter(words(text)) for text in documents]
        length = np.array([sum(count.values()) for count in counts], float)
        self._k1, self._scale = k1, k1 * (1 - b + b * length / max(length.mean(), 1.0))
        self._listed: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for place, count in enumerate(counts):
            for word, times in count.items():
                self._listed[word].append((place, times))
        self._size = len(documents)
        self._index: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def scores(self, query: str) -> np.ndarray:
        """Return the score of every document, float64 `[N]`; 0 where no word is shared."""
        found = np.zeros(self._size)
        for word in words(query):
            if word in self._listed:
                if word not in self._index:
                    self._index[word] = self._weigh(word)
                places, weights = self._index[word]
                found[places] += weights
        return found

    def _weigh(self, word: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the documents that have a word, and what it adds to their scores; computed when a query first has the word."""
        entries = self._listed[word]
        places, times = np.array(entries).T
        idf = math.log(1 + (self._size - len(entries) + 0.5) / (len(entries) + 0.5))
        return places, idf * times * (self._k1 + 1) / (times + self._scale[places])

    def top(self, query: str, count: int, *, without: Collection[int] = ()) -> list[int]:
        """Return the documents of highest score, best first; of equal scores the earlier one.

        Args:
            query: the words to search.
            count: how many.
            without: positions that are not candidates.
        """
        left_out = set(without)
        order = np.argsort(-self.scores(query), kind="stable").tolist()
        return [place for place in order if place not in left_out][:count]
