"""Questions with their right answers, from files: the form in which sets for reasoning are published."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tutelage.data.arrays import Arrays
from tutelage.data.records import records
from tutelage.data.verifiable.answers import MARKER
from tutelage.errors import DataError

PROMPT = ("prompt", "question", "problem", "messages")
ANSWER = ("answer", "final_answer", "expected_answer")


def questions(path: str | Path, *, answers: bool = True, skip_bad: bool = False) -> tuple[Arrays, list[str]]:
    """Read questions from a file of JSON lines or a CSV file.

    A row's question is its `prompt` (or `question`, or `problem`), a text, or `messages`, a list of `{"role": ..., "content": ...}`; its
    right answer is `answer` (or `final_answer`, or `expected_answer`). So the files of GSM8K, MATH-500, AIME, AMC and OlympiadBench read as
    they are: of an answer that is worked out, as in GSM8K, what stands after the last `####` is the answer and the whole is the solution;
    of a list of one answer, as in OlympiadBench, its only entry.

    A row without a usable question or answer is bad. A question that comes again with the same answer is left out; with another answer, the
    later row is bad.

    Args:
        path: `.jsonl` or `.csv`.
        answers: whether every row needs an answer; a reward of the user's may do without. Default yes.
        skip_bad: leave bad rows out in place of raising. Default no.

    Returns:
        The questions: `input` (texts, or lists of messages), `answer` (texts, empty where there is none) and the other columns that all
        rows have; and what was left out, a line each.

    Raises:
        DataError: for a file that cannot be read, a bad row, whose line is named, or no question at all.
    """
    rows = records(path, what="prompts")
    path = Path(path).expanduser()
    first = rows[0][1]
    asked = next((name for name in PROMPT if name in first), None)
    if asked is None:
        raise DataError(f"'{path}' has the columns {', '.join(map(str, first))}: expected one named {' or '.join(map(repr, PROMPT))}.")
    answered = next((name for name in ANSWER if name in first), None)
    if answers and answered is None:
        raise DataError(
            f"'{path}' has the columns {', '.join(map(str, first))}: expected one named {' or '.join(map(repr, ANSWER))}, "
            "or a reward of your own (--reward python:package.module:function)."
        )
    kept: dict[str, tuple[int, Any, str, dict[str, Any]]] = {}
    left_out: list[str] = []
    for number, row in rows:
        question, answer = row.get(asked), _answer(row.get(answered)) if answered else ""
        problem = _problem(question, asked, answer if answers else "")
        earlier = kept.get(repr(question))
        if problem is None and earlier is not None and earlier[2] != (answer or ""):
            problem = f"asks what line {earlier[0]} asks, with another answer ({answer!r}, not {earlier[2]!r})"
        if problem is not None:
            if not skip_bad:
                raise DataError(
                    f"Line {number} of '{path}' {problem}. Correct it, or leave such lines out with --skip-bad (skip_bad=True)."
                )
            left_out.append(f"line {number} {problem}")
        elif earlier is not None:
            left_out.append(f"line {number} repeats line {earlier[0]}")
        else:
            kept[repr(question)] = (number, question, answer or "", row)
    if not kept:
        raise DataError(f"None of the {len(rows)} rows of '{path}' can be used; the first: {left_out[0]}.")
    return _columns(list(kept.values()), asked, answered, path.stem), left_out


def _columns(kept: list[tuple[int, Any, str, dict[str, Any]]], asked: str, answered: str | None, name: str) -> Arrays:
    columns = {"input": [question for _, question, _, _ in kept], "answer": [answer for _, _, answer, _ in kept]}
    taken = {asked, answered, "input", "answer", "index", "finished"}
    for other in kept[0][3]:
        if other not in taken and all(other in row for *_, row in kept):
            columns[other] = [row[other] for *_, row in kept]
    if answered is not None and "solution" not in columns and any(MARKER in str(row.get(answered)) for *_, row in kept):
        columns["solution"] = [str(row[answered]) for *_, row in kept]
    return Arrays(columns, name=name)


def _answer(given: Any) -> str | None:
    """Return an answer as text, or `None` if there is none."""
    if isinstance(given, list) and len(given) == 1:
        given = given[0]
    if isinstance(given, bool) or not isinstance(given, str | int | float):
        return None
    text = str(given)
    return (text.rpartition(MARKER)[2] if MARKER in text else text).strip() or None


def _problem(question: Any, asked: str, answer: str | None) -> str | None:
    if asked == "messages":
        good = isinstance(question, list) and bool(question) and all(_message(one) for one in question)
    else:
        good = isinstance(question, str) and bool(question.strip())
    if not good:
        return f"has no usable '{asked}'"
    return "has no usable answer" if answer is None else None


def _message(one: Any) -> bool:
    return isinstance(one, dict) and all(isinstance(one.get(key), str) and one[key].strip() for key in ("role", "content"))
