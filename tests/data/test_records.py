from __future__ import annotations

import pytest

from tutelage.data.records import records
from tutelage.errors import DataError


def test_lines_are_numbered_as_in_the_file(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('\n{"prompt": "x"}\n\n{"prompt": "y", "n": 2}\n', encoding="utf-8-sig")
    assert records(path) == [(2, {"prompt": "x"}), (4, {"prompt": "y", "n": 2})]
    table = tmp_path / "a.csv"
    table.write_text('prompt,n\n"two\nlines",1\nlast,\n')
    assert records(table) == [(3, {"prompt": "two\nlines", "n": "1"}), (4, {"prompt": "last", "n": ""})]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", '{"a": 1}\n[1]\n', "Line 2 .* is a list"),
        ("a.jsonl", '{"a": 1}\n{"a": \n', "at line 2"),
        ("a.jsonl", "\n\n", "no rows: expected at least one of its prompts"),
        ("a.csv", "prompt\n", "no rows"),
        ("a.txt", "x", r"expected an existing \.jsonl or \.csv"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, name, content, said):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=said):
        records(tmp_path / name, what="prompts")


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"a": "\xff"}\n')
    with pytest.raises(DataError, match="cannot be read"):
        records(tmp_path / "a.jsonl")
