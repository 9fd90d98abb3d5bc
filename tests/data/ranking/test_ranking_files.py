from __future__ import annotations

import gzip

import pytest

from tutelage.data.ranking import read_candidates, read_qrels, read_run, read_triples, write_run
from tutelage.errors import DataError

TRIPLES = "what is bm25\tBM25 is a ranking function.\tThe weather is fine.\nwho wrote it\tRobertson wrote it.\tNobody knows.\n"
CANDIDATES = "q1\tD7\twhat is bm25\tBM25 ranks.\nq1\tD9\twhat is bm25\tWeather.\nq2\tD7\twho wrote it\tBM25 ranks.\n"
QRELS = "q1 0 D7 3\nq1 0 D9 0\nq2 0 D8 1\n"
RUN = "q1 Q0 D9 2 7.5 BM25\nq1 Q0 D7 1 9.25 BM25\nq2 Q0 D7 1 3 BM25\n"


def _write(tmp_path, content: str, name: str = "file.tsv"):
    path = tmp_path / name
    path.write_text(content)
    return path


def test_triples_plain_and_gzipped(tmp_path):
    path = tmp_path / "triples.tsv.gz"
    path.write_bytes(gzip.compress(TRIPLES.encode()))
    for found in (read_triples(_write(tmp_path, TRIPLES)), read_triples(path)):
        assert found.queries == ["what is bm25", "who wrote it"]
        assert found.positives[1] == "Robertson wrote it."
        assert found.negatives[0] == "The weather is fine."
        assert found.skipped == ()
    assert len(read_triples(path, limit=1)) == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("only\ttwo", "Line 3 of .* has 2 fields, 0 of them empty; expected query, positive text, negative text separated by tabs"),
        ("q\tp\t ", "Line 3 .* has 3 fields, 1 of them empty"),
        ("q\tsame\tsame", "Line 3 .* same text as positive and as negative"),
        (TRIPLES.splitlines()[0], "Line 3 .* repeats line 1"),
    ],
)
def test_bad_triples_are_named_or_left_out(tmp_path, line, message):
    path = _write(tmp_path, TRIPLES + line + "\n")
    with pytest.raises(DataError, match=message):
        read_triples(path)
    found = read_triples(path, skip_bad=True)
    assert len(found) == 2
    assert len(found.skipped) == 1
    assert found.skipped[0].startswith("Line 3 of ")


def test_a_file_without_a_usable_line_says_so(tmp_path):
    with pytest.raises(DataError, match="has no lines"):
        read_triples(_write(tmp_path, "\n\n"))
    with pytest.raises(DataError, match="no usable triple; the first line that was left out: Line 1"):
        read_triples(_write(tmp_path, "a\tb\n"), skip_bad=True)
    with pytest.raises(DataError, match="cannot be read"):
        read_triples(tmp_path / "absent.tsv")
    damaged = tmp_path / "damaged.tsv.gz"
    damaged.write_bytes(gzip.compress(TRIPLES.encode() * 50)[:60])
    with pytest.raises(DataError, match="cannot be read"):
        read_triples(damaged)


def test_candidates_with_their_relevance(tmp_path):
    found = read_candidates(_write(tmp_path, CANDIDATES), read_qrels(_write(tmp_path, QRELS, "qrels.txt")))
    assert found.queries == ["what is bm25", "who wrote it"]
    assert found.documents == [["BM25 ranks.", "Weather."], ["BM25 ranks."]]
    assert found.relevance == [[3, 0], [0]]
    assert found.run([[1.0, 2.0], [3.0]]) == {"q1": {"D7": 1.0, "D9": 2.0}, "q2": {"D7": 3.0}}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("q1\tD7\twhat is bm25\tagain", "names document 'D7' of query 'q1' a second time"),
        ("q2\tD1\tanother text\tbody", "gives query 'q2' another text"),
        ("q3\tD1\tno body\t", "1 of them empty"),
    ],
)
def test_bad_candidates_are_named_or_left_out(tmp_path, line, message):
    path = _write(tmp_path, CANDIDATES + line + "\n")
    with pytest.raises(DataError, match=message):
        read_candidates(path)
    found = read_candidates(path, skip_bad=True)
    assert sum(map(len, found.documents)) == 3
    assert len(found.skipped) == 1


def test_a_run_is_read_best_first_and_written_back(tmp_path):
    found = read_run(_write(tmp_path, RUN))
    assert list(found["q1"].items()) == [("D7", 9.25), ("D9", 7.5)]
    assert read_run(_write(tmp_path, RUN), limit=1)["q1"] == {"D7": 9.25}
    write_run(tmp_path / "out.trec", found, tag="ours")
    assert (tmp_path / "out.trec").read_text().splitlines()[0] == "q1 Q0 D7 1 9.25 ours"
    assert read_run(tmp_path / "out.trec") == found
    with pytest.raises(DataError, match="separated by spaces"):
        write_run(tmp_path / "out.trec", {"a query": {"d": 1.0}})


@pytest.mark.parametrize(
    ("reader", "content", "line", "message"),
    [
        (read_qrels, QRELS, "q1 0 D7 1", "judges document 'D7' of query 'q1' a second time"),
        (read_qrels, QRELS, "q1 0 D1 high", "relevance 'high', which is no whole number"),
        (read_qrels, QRELS, "q1 0 D1", "Line 4 of .* has 3 fields"),
        (read_run, RUN, "q1 Q0 D7 3 1.0 BM25", "names document 'D7' of query 'q1' a second time"),
        (read_run, RUN, "q1 Q0 D1 3 nan BM25", "score 'nan', which is no finite number"),
        (read_run, RUN, "q1 Q0 D1 3 1.0", "has 5 fields"),
    ],
)
def test_bad_lines_of_trec_files_are_named_or_left_out(tmp_path, reader, content, line, message):
    path = _write(tmp_path, content + line + "\n")
    with pytest.raises(DataError, match=message):
        reader(path)
    assert reader(path, skip_bad=True) == reader(_write(tmp_path, content, "good.txt"))


def test_negative_relevance_marks_spam(tmp_path):
    assert read_qrels(_write(tmp_path, "q 0 d -2\n")) == {"q": {"d": -2}}
