"""Files of TREC: judgements (qrels) and ranked answers (runs, BM25 candidates among them)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from tutelage.data.ranking.lines import Lines
from tutelage.errors import DataError
from tutelage.files import write_bytes


def read_qrels(path: str | Path, *, skip_bad: bool = False) -> dict[str, dict[str, int]]:
    """Read judgements: `query 0 document relevance` on each line.

    Args:
        path: the file, plain or `.gz`.
        skip_bad: leave bad lines out in place of raising.

    Returns:
        Relevance by query and document; negative ones, by which TREC marks spam, as they are.

    Raises:
        DataError: if the file cannot be read, or a line has another number of fields, a relevance that is no whole number, or a document
            that was judged before.
    """
    lines = Lines(path, ("query", "0", "document", "relevance"), separator=None, skip_bad=skip_bad)
    found: dict[str, dict[str, int]] = {}
    for number, (query, _, document, relevance) in lines.rows():
        if document in found.get(query, {}):
            lines.bad(number, f"judges document '{document}' of query '{query}' a second time")
        elif not relevance.lstrip("-").isdecimal():
            lines.bad(number, f"has the relevance '{relevance}', which is no whole number")
        else:
            found.setdefault(query, {})[document] = int(relevance)
    return found


def read_run(path: str | Path, *, limit: int | None = None, skip_bad: bool = False) -> dict[str, dict[str, float]]:
    """Read ranked answers, such as BM25's first 100: `query Q0 document rank score tag` on each line.

    Args:
        path: the file, plain or `.gz`.
        limit: documents of a query that are kept, by their score; `None` for all.
        skip_bad: leave bad lines out in place of raising.

    Returns:
        Score by query and document, best first.

    Raises:
        DataError: if the file cannot be read, or a line has another number of fields, a score that is no finite number, or a document that
            the query had before.
    """
    lines = Lines(path, ("query", "Q0", "document", "rank", "score", "tag"), separator=None, skip_bad=skip_bad)
    found: dict[str, dict[str, float]] = {}
    for number, (query, _, document, _, score, _) in lines.rows():
        try:
            value = float(score)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            lines.bad(number, f"has the score '{score}', which is no finite number")
        elif document in found.get(query, {}):
            lines.bad(number, f"names document '{document}' of query '{query}' a second time")
        else:
            found.setdefault(query, {})[document] = value
    ranked = {query: sorted(table.items(), key=lambda pair: -pair[1])[:limit] for query, table in found.items()}
    return {query: dict(pairs) for query, pairs in ranked.items()}


def write_run(path: str | Path, run: Mapping[str, Mapping[str, float]], tag: str = "tutelage") -> None:
    """Write ranked answers as TREC's tools read them, best first.

    Args:
        path: the file.
        run: score by query and document.
        tag: name of the run, without spaces.

    Raises:
        DataError: if a name holds white space or is empty.
    """
    for name in (tag, *run, *(document for table in run.values() for document in table)):
        if len(name.split()) != 1:
            raise DataError(f"A run cannot name something {name!r}: fields are separated by spaces.")
    rows = []
    for query, table in run.items():
        ranked = sorted(table.items(), key=lambda pair: -pair[1])
        rows += [f"{query} Q0 {document} {rank} {score:.9g} {tag}" for rank, (document, score) in enumerate(ranked, 1)]
    write_bytes(Path(path), ("\n".join(rows) + "\n").encode())
