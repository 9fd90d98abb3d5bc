"""Files of MS MARCO document ranking: training triples, and candidates to re-rank."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tutelage.data.ranking.lines import Lines
from tutelage.errors import DataError


@dataclass(frozen=True)
class Triples:
    """Queries, each with a document that should rank above another.

    Args:
        queries: texts.
        positives: for each query the better document (or passage).
        negatives: for each query the worse one.
        skipped: bad lines that reading left out.
    """

    queries: list[str]
    positives: list[str]
    negatives: list[str]
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.queries)


@dataclass(frozen=True)
class Candidates:
    """Queries, each with documents to rank.

    Args:
        queries: texts.
        documents: for each query the texts of its candidates.
        relevance: for each query the relevance of its candidates, 0 for none.
        query_names: what files call the queries.
        document_names: what files call the candidates.
        skipped: bad lines that reading left out.
    """

    queries: list[str]
    documents: list[list[str]]
    relevance: list[list[int]]
    query_names: list[str]
    document_names: list[list[str]]
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.queries)

    def run(self, scores: Sequence[Sequence[float]]) -> dict[str, dict[str, float]]:
        """Return scores of all candidates by name, as `write_run` and `evaluate.judge` take them.

        Args:
            scores: for each query one score per candidate.
        """
        rows = zip(self.query_names, self.document_names, scores, strict=True)
        return {query: dict(zip(names, map(float, row), strict=True)) for query, names, row in rows}


def read_triples(path: str | Path, *, limit: int | None = None, skip_bad: bool = False) -> Triples:
    """Read training triples: `query<TAB>positive text<TAB>negative text` on each line.

    Args:
        path: the file, plain or `.gz`.
        limit: read this many lines at most; published files have hundreds of thousands.
        skip_bad: leave bad lines out, and name them in `skipped`, in place of raising.

    Returns:
        The triples.

    Raises:
        DataError: if the file cannot be read, has no good line, or a line has another number of fields, an empty one, the same text twice,
            or was there before.
    """
    lines = Lines(path, ("query", "positive text", "negative text"), skip_bad=skip_bad)
    found: list[list[str]] = []
    first: dict[bytes, int] = {}
    for number, values in lines.rows(limit):
        digest = hashlib.sha256("\t".join(values).encode()).digest()
        if values[1] == values[2]:
            lines.bad(number, "has the same text as positive and as negative")
        elif first.setdefault(digest, number) != number:
            lines.bad(number, f"repeats line {first[digest]}")
        else:
            found.append(values)
    if not found:
        raise DataError(f"'{path}' has no usable triple; the first line that was left out: {lines.skipped[0]}.")
    queries, positives, negatives = (list(column) for column in zip(*found, strict=True))
    return Triples(queries, positives, negatives, tuple(lines.skipped))


def read_candidates(path: str | Path, qrels: Mapping[str, Mapping[str, int]] | None = None, *, skip_bad: bool = False) -> Candidates:
    """Read candidates to re-rank: `query id<TAB>document id<TAB>query<TAB>document` on each line, as BM25 found them.

    Args:
        path: the file, plain or `.gz`.
        qrels: relevance by query and document, from `read_qrels`; documents without an entry, and all if `None`, have 0.
        skip_bad: leave bad lines out, and name them in `skipped`, in place of raising.

    Returns:
        Queries and candidates in the order of the file.

    Raises:
        DataError: if the file cannot be read, has no good line, or a line has another number of fields, an empty one, a candidate that the
            query had before, or another text for a query than before.
    """
    lines = Lines(path, ("query id", "document id", "query", "document"), skip_bad=skip_bad)
    texts: dict[str, str] = {}
    found: dict[str, dict[str, str]] = {}
    for number, (query, document, text, body) in lines.rows():
        if texts.setdefault(query, text) != text:
            lines.bad(number, f"gives query '{query}' another text than before")
        elif document in found.setdefault(query, {}):
            lines.bad(number, f"names document '{document}' of query '{query}' a second time")
        else:
            found[query][document] = body
    found = {query: table for query, table in found.items() if table}
    if not found:
        raise DataError(f"'{path}' has no usable candidate; the first line that was left out: {lines.skipped[0]}.")
    judged = qrels or {}
    return Candidates(
        [texts[query] for query in found],
        [list(table.values()) for table in found.values()],
        [[judged.get(query, {}).get(document, 0) for document in table] for query, table in found.items()],
        list(found),
        [list(table) for table in found.values()],
        tuple(lines.skipped),
    )
