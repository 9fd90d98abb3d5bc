"""Real text with known passage relevance: a post's first words are a query, and a later passage of it is planted into a document.

A document is a sequence of passages from different threads of one newsgroup; it is relevant if one of them is from the query's post. Posts
of the query's thread, which begin with the same words, are never used against it.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tutelage.data.ranking.bm25 import BM25
from tutelage.data.ranking.marco import Candidates, Triples
from tutelage.data.words import words
from tutelage.errors import DataError, OptionError


@dataclass(frozen=True)
class Post:
    """A post: its words without a leading "re", its group, and its thread (the first words, by which replies are recognised)."""

    words: tuple[str, ...]
    group: int
    thread: tuple[str, ...]


def posts(texts: Sequence[str], groups: Sequence[int], *, least: int = 68, thread: int = 3) -> list[Post]:
    """Return the posts that are long enough for a query and a passage.

    Args:
        texts: posts, their subject first.
        groups: newsgroup of each.
        least: words that a post must have.
        thread: number of first words that replies share.

    Raises:
        DataError: if none is long enough.
    """
    found = []
    for text, group in zip(texts, groups, strict=True):
        split = words(text)
        while split and split[0] == "re":
            split = split[1:]
        if len(split) >= least:
            found.append(Post(tuple(split), int(group), tuple(split[:thread])))
    if not found:
        raise DataError(f"None of {len(texts)} posts has {least} words.")
    return found


class Planting:
    """Makes queries, passages and documents of posts, from one seed.

    Args:
        found: the posts.
        seed: seed of all choices.
        query: fewest and most words of a query, the first ones of its post.
        passage: fewest and most words of a passage, from behind the query's.
        passages: fewest and most passages of a document.
        tries: passages of a post that are drawn, of which the one that shares most with the post's first words is taken (rare words count
            more). With 1 most passages share nothing with their query, and no ranker is much better than chance.

    Raises:
        OptionError: for ranges that are empty, or do not fit the posts.
        DataError: if a group has too few threads for a document.
    """

    def __init__(
        self,
        found: Sequence[Post],
        seed: int,
        *,
        query: tuple[int, int] = (6, 8),
        passage: tuple[int, int] = (40, 60),
        passages: tuple[int, int] = (12, 20),
        tries: int = 8,
    ) -> None:
        if any(not 1 <= low <= high for low, high in (query, passage, passages, (tries, tries))):
            raise OptionError(
                f"Ranges of at least 1 are expected, got query={query}, passage={passage}, passages={passages}, tries={tries}."
            )
        if any(len(post.words) < query[1] + passage[1] for post in found):
            raise OptionError(f"A post is shorter than a query of {query[1]} and a passage of {passage[1]} words.")
        self.query, self.passage, self.passages, self.tries = query, passage, passages, tries
        self.random = np.random.default_rng(np.random.SeedSequence((seed, 0x1DC3)))
        self.posts = list(found)
        holding = Counter(word for post in self.posts for word in set(post.words))
        self._rarity = {word: math.log(1 + len(self.posts) / times) for word, times in holding.items()}
        self.threads: dict[int, dict[tuple[str, ...], list[int]]] = defaultdict(lambda: defaultdict(list))
        for place, post in enumerate(self.posts):
            self.threads[post.group][post.thread].append(place)
        small = {group: len(threads) for group, threads in self.threads.items() if len(threads) <= passages[1]}
        if small:
            raise DataError(f"Groups have too few threads for documents of {passages[1]} passages: {small}; expected more than that.")

    def passage_triples(self, count: int, *, hard: float = 0.5, drawn: int = 30) -> Triples:
        """Return queries with a passage of their post and one of another post of the group.

        Args:
            count: how many.
            hard: share whose negative is the best by BM25 among some that are drawn; the others are drawn at random.
            drawn: number of passages among which the best is sought.
        """
        rows = []
        for place in self._drawn(count):
            others = [self._passage(other) for other in self._others(place, drawn if self.random.random() < hard else 1)]
            query = self._query(place)
            best = int(BM25(others).scores(query).argmax()) if len(others) > 1 else 0
            rows.append((query, self._passage(place), others[best]))
        queries, positives, negatives = (list(column) for column in zip(*rows, strict=True))
        return Triples(queries, positives, negatives)

    def candidates(self, count: int, *, negatives: int = 19, pool: int = 50) -> Candidates:
        """Return queries with one relevant document among others of the group that BM25 finds most alike, at a random place.

        Args:
            count: how many queries.
            negatives: documents without a passage of the query's thread.
            pool: documents of a group among which they are sought; where too few lack the thread, some are made for the query.
        """
        pools: dict[int, list[tuple[str, set[tuple[str, ...]]]]] = {}
        index: dict[int, BM25] = {}
        queries, documents, relevance = [], [], []
        for place in self._drawn(count):
            post, query = self.posts[place], self._query(place)
            if post.group not in pools:
                pools[post.group] = [self._document(post.group) for _ in range(pool)]
                index[post.group] = BM25([text for text, _ in pools[post.group]])
            own = [n for n, (_, threads) in enumerate(pools[post.group]) if post.thread in threads]
            texts = [pools[post.group][n][0] for n in index[post.group].top(query, negatives, without=own)]
            texts += [self._document(post.group, without=post.thread)[0] for _ in range(negatives - len(texts))]
            at = int(self.random.integers(negatives + 1))
            planted, _ = self._document(post.group, without=post.thread, planted=place)
            documents.append([*texts[:at], planted, *texts[at:]])
            relevance.append([int(n == at) for n in range(negatives + 1)])
            queries.append(query)
        names = [[f"d{n}-{c}" for c in range(negatives + 1)] for n in range(count)]
        return Candidates(queries, documents, relevance, [f"q{n}" for n in range(count)], names)

    def document_triples(self, count: int, *, negatives: int = 19, pool: int = 50) -> Triples:
        """Return queries with their relevant document and one of the others that `candidates` finds, drawn at random.

        Args:
            count: how many.
            negatives: documents among which the negative is drawn.
            pool: documents of a group among which these are sought.
        """
        found = self.candidates(count, negatives=negatives, pool=pool)
        positives, others = [], []
        for texts, relevance in zip(found.documents, found.relevance, strict=True):
            at = relevance.index(1)
            positives.append(texts[at])
            others.append([text for n, text in enumerate(texts) if n != at][int(self.random.integers(negatives))])
        return Triples(found.queries, positives, others)

    def _drawn(self, count: int) -> list[int]:
        """Posts in random order, each as often as any other within one."""
        rounds = [self.random.permutation(len(self.posts)) for _ in range(-(-count // len(self.posts)))]
        return [int(place) for place in np.concatenate(rounds)[:count]]

    def _query(self, place: int) -> str:
        return " ".join(self.posts[place].words[: int(self.random.integers(self.query[0], self.query[1] + 1))])

    def _passage(self, place: int) -> str:
        text, length = self.posts[place].words, int(self.random.integers(self.passage[0], self.passage[1] + 1))
        starts = self.random.integers(self.query[1], len(text) - length + 1, self.tries).tolist()
        subject = set(text[: self.query[1]])
        # fsum: a sum in the order of a set would differ from process to process, and with it which of two alike is taken.
        shared = [math.fsum(self._rarity[word] for word in subject.intersection(text[start : start + length])) for start in starts]
        start = starts[shared.index(max(shared))]
        return " ".join(text[start : start + length])

    def _others(self, place: int, count: int) -> list[int]:
        """Posts of as many other threads of the same group (of all, where there are fewer)."""
        post = self.posts[place]
        return [self._of(post.group, thread) for thread in self._threads(post.group, count, without=post.thread)]

    def _threads(self, group: int, count: int, without: tuple[str, ...] | None = None) -> list[tuple[str, ...]]:
        threads = [thread for thread in self.threads[group] if thread != without]
        return [threads[int(n)] for n in self.random.choice(len(threads), min(count, len(threads)), replace=False)]

    def _of(self, group: int, thread: tuple[str, ...]) -> int:
        """A post of a thread."""
        return int(self.random.choice(self.threads[group][thread]))

    def _document(
        self, group: int, *, without: tuple[str, ...] | None = None, planted: int | None = None
    ) -> tuple[str, set[tuple[str, ...]]]:
        """A document of one passage of each of some threads, in place of one of them a planted post's, and the threads."""
        count = int(self.random.integers(self.passages[0], self.passages[1] + 1))
        places = [self._of(group, thread) for thread in self._threads(group, count, without)]
        if planted is not None:
            places[int(self.random.integers(count))] = planted
        return " ".join(self._passage(place) for place in places), {self.posts[place].thread for place in places}
