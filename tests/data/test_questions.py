from __future__ import annotations

import json

import pytest

from tutelage.data.questions import questions
from tutelage.errors import DataError

# One row each in the form in which the set is published, with contents of our own.
GSM8K = {"question": "Ann has 3 bags of 4 nuts. How many nuts?", "answer": "3 bags of 4 are <<3*4=12>>12 nuts.\n#### 12"}
MATH500 = {
    "problem": "What is $1/2+1/4$?",
    "solution": "It is $\\boxed{\\frac{3}{4}}$.",
    "answer": "\\frac{3}{4}",
    "subject": "Prealgebra",
    "level": 1,
    "unique_id": "test/prealgebra/1.json",
}
AIME = {"id": 60, "problem": "Find $n$.", "solution": "...", "answer": "204", "url": "", "year": "2024"}
AMC = {"id": 0, "problem": "Find $m$.", "answer": 27.0, "url": ""}
OLYMPIAD = {"question": "Find $k$.", "final_answer": ["2"], "answer_type": "Numerical", "is_multiple_answer": False}


def written(tmp_path, *rows) -> str:
    path = tmp_path / "set.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    return str(path)


@pytest.mark.parametrize(
    ("row", "prompt", "answer"),
    [
        (GSM8K, "Ann has 3 bags of 4 nuts. How many nuts?", "12"),
        (MATH500, "What is $1/2+1/4$?", "\\frac{3}{4}"),
        (AIME, "Find $n$.", "204"),
        (AMC, "Find $m$.", "27.0"),
        (OLYMPIAD, "Find $k$.", "2"),
    ],
)
def test_published_sets_read_as_they_are(tmp_path, row, prompt, answer):
    made, left_out = questions(written(tmp_path, row))
    assert (made.column("input"), made.column("answer"), left_out) == ([prompt], [answer], [])


def test_worked_answers_become_solutions_and_other_columns_stay(tmp_path):
    made, _ = questions(written(tmp_path, GSM8K))
    assert made.column("solution") == [GSM8K["answer"]]
    made, _ = questions(written(tmp_path, MATH500))
    assert made.column("solution") == [MATH500["solution"]]
    assert made.column("level") == [1]


def test_csv_reads_too(tmp_path):
    path = tmp_path / "set.csv"
    path.write_text('prompt,answer\n"2,5 + 1?",3.5\n')
    made, _ = questions(path)
    assert made.column("input") == ["2,5 + 1?"]
    assert made.column("answer") == ["3.5"]


def test_answers_may_be_missing_where_the_reward_does_without(tmp_path):
    made, _ = questions(written(tmp_path, {"prompt": "Write a poem."}), answers=False)
    assert made.column("answer") == [""]


def test_conversations_are_kept(tmp_path):
    said = [{"role": "user", "content": "hello"}]
    made, _ = questions(written(tmp_path, {"messages": said, "answer": "hi"}))
    assert made.column("input") == [said]
    with pytest.raises(DataError, match=r"Line 1 .* no usable 'messages'"):
        questions(written(tmp_path, {"messages": [{"role": "user"}], "answer": "hi"}))


def test_what_is_left_out_is_told(tmp_path):
    lines = [AIME, AIME, {**AIME, "answer": "205"}, {**AIME, "problem": "Find $p$.", "answer": ["1", "2"]}]
    path = written(tmp_path, *lines)
    with pytest.raises(DataError, match=r"Line 3 .* what line 1 asks, with another answer"):
        questions(path)
    made, left_out = questions(path, skip_bad=True)
    assert len(made) == 1
    assert [text.split()[1] for text in left_out] == ["2", "3", "4"]


def test_nothing_left_is_refused(tmp_path):
    with pytest.raises(DataError, match="None of the 1 rows"):
        questions(written(tmp_path, {"prompt": "", "answer": "1"}), skip_bad=True)
    with pytest.raises(DataError, match=r"no file of prompts"):
        questions(tmp_path / "absent.jsonl")
