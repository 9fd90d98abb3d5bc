"""Questions with an answer and an explanation by people: StrategyQA, ECQA, GSM8k, and harmful explanations, as they are published."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from tutelage.errors import DataError

Kind = Literal["yes-no", "options", "number"]
"""What an answer is: yes or no, the number of an option, or a number."""

_ECQA = ("q_text", "q_op1", "q_op2", "q_op3", "q_op4", "q_op5", "q_ans", "taskB")


@dataclass(frozen=True)
class Question:
    """One question.

    Args:
        question: its text.
        answer: the right answer: `yes` or `no`, an option's number counted from 1, or a number; empty where nobody knows.
        explanation: why, in the words of people; empty where there is none.
        options: what there is to choose from, where `kind` is "options".
        kind: what an answer is.
        topic: what it is about; empty where nobody said.
        name: its name in the data set.
        harmful: explanations that lead to a wrong answer.

    Raises:
        DataError: if the text is empty, or options or answer do not fit the kind.
    """

    question: str
    answer: str = ""
    explanation: str = ""
    options: tuple[str, ...] = ()
    kind: Kind = "yes-no"
    topic: str = ""
    name: str = ""
    harmful: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.question.strip():
            raise DataError("A question has no text. Leave it out.")
        if (self.kind == "options") != bool(self.options):
            raise DataError(f"The question {self.question!r} of kind '{self.kind}' has {len(self.options)} options.")
        if not self.answer:
            return
        if self.kind == "number":
            object.__setattr__(self, "answer", number(self.answer))
        elif self.answer not in self.choices:
            raise DataError(f"The question {self.question!r} has the answer {self.answer!r}: expected one of {', '.join(self.choices)}.")

    @property
    def choices(self) -> tuple[str, ...]:
        """What it can be answered with; empty for numbers."""
        if self.kind == "options":
            return tuple(str(place) for place in range(1, len(self.options) + 1))
        return ("yes", "no") if self.kind == "yes-no" else ()


def number(text: str) -> str:
    """Return a number as it is compared: without currency, commas of thousands and zeros at the end.

    Args:
        text: `$1,250.50`, `990.00`, `-3`.

    Raises:
        DataError: if there is no number.
    """
    found = re.fullmatch(r"[^\d.-]*(-?)[^\d.]*([\d,]*)(\.\d*)?[^\d]*", text.strip())
    if found is None or not any(c.isdigit() for c in text):
        raise DataError(f"{text!r} is no number: expected one such as 42 or 1,250.5.")
    whole = found[2].replace(",", "").lstrip("0") or "0"
    value = whole + (found[3] or "").rstrip("0").rstrip(".")
    return value if value == "0" else found[1] + value


def strategyqa(path: str | Path) -> list[Question]:
    """Read StrategyQA: a JSON list of questions answered true or false, explained by facts.

    Args:
        path: `train.json` or `dev.json` of the published archive.

    Returns:
        The questions, in the order of the file; an explanation is its facts, with a space between them.

    Raises:
        DataError: if the file cannot be read, is empty, or an entry lacks something; entries are counted from 0.
    """
    found = []
    for place, entry in _entries(path):
        facts, truth = entry.get("facts"), entry.get("answer")
        if not isinstance(truth, bool) or not isinstance(facts, list) or not all(isinstance(fact, str) for fact in facts):
            raise DataError(f"Entry {place} of '{path}' needs an 'answer' that is true or false and 'facts' that are texts.")
        found.append(_question(path, place, entry, answer="yes" if truth else "no", explanation=" ".join(f.strip() for f in facts)))
    return _filled(found, path)


def ecqa(path: str | Path) -> list[Question]:
    """Read ECQA: CommonsenseQA's questions with five options each, and an explanation in free text.

    Args:
        path: `cqa_data_train.csv`, `cqa_data_val.csv` or `cqa_data_test.csv`.

    Returns:
        The questions, in the order of the file; an answer is the number of its option, from 1 to 5.

    Raises:
        DataError: if the file cannot be read, is empty or lacks a column, or a row's answer is none of its options; it names the line.
    """
    found = []
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            missing = [name for name in _ECQA if name not in (reader.fieldnames or ())]
            if missing:
                raise DataError(f"'{path}' has no column '{missing[0]}': expected {', '.join(_ECQA)}.")
            for row in reader:
                if any(not row[name] for name in _ECQA):
                    raise DataError(f"The row that ends in line {reader.line_num} of '{path}' is incomplete: expected {', '.join(_ECQA)}.")
                options = tuple(row[f"q_op{place}"] for place in range(1, 6))
                answer = str(options.index(row["q_ans"]) + 1) if row["q_ans"] in options else None
                if answer is None:
                    raise DataError(f"Line {reader.line_num} of '{path}': the answer {row['q_ans']!r} is none of {list(options)}.")
                explanation = " ".join(row["taskB"].split())
                topic, name = row.get("q_concept") or "", row.get("q_no") or ""
                found.append(Question(row["q_text"], answer, explanation, options, "options", topic, name))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"'{path}' cannot be read as ECQA's CSV ({error}).") from error
    return _filled(found, path)


def gsm8k(path: str | Path) -> list[Question]:
    """Read GSM8k: JSON lines of word problems, solved step by step, the result after `####`.

    Args:
        path: `train.jsonl` or `test.jsonl`.

    Returns:
        The questions, in the order of the file; an explanation is the steps as sentences, without the calculator's notes `<<...>>`.

    Raises:
        DataError: if the file cannot be read, is empty, or a line is no such problem; it names the line.
    """
    found = []
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"'{path}' cannot be read as JSON lines ({error}).") from error
    for place, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            steps, mark, result = entry["answer"].partition("#### ")
            if not mark:
                raise ValueError("its answer has no result after '#### '")
            sentences = [step.strip() for step in re.sub(r"<<[^<>]*>>", "", steps).splitlines() if step.strip()]
            explanation = " ".join(s if s.endswith(".") else f"{s}." for s in sentences)
            found.append(Question(entry["question"], number(result), explanation, kind="number"))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, DataError) as error:
            raise DataError(f"Line {place} of '{path}' is no problem of GSM8k ({type(error).__name__}: {error}).") from error
    return _filled(found, path)


def harmful_explanations(path: str | Path, questions: Sequence[Question] = ()) -> list[Question]:
    """Read explanations that mislead: a JSON list of questions with two of them each.

    Args:
        path: `harmful_explanations.json` of the published code.
        questions: where given, these are returned, each with the harmful explanations of its name, and those without are left out.

    Returns:
        Questions whose `harmful` has two texts.

    Raises:
        DataError: if the file cannot be read, is empty, or an entry lacks something; entries are counted from 0.
    """
    found = []
    for place, entry in _entries(path):
        texts = entry.get("harmful_explanation")
        if not isinstance(texts, list) or len(texts) != 2 or not all(isinstance(text, str) and text for text in texts):
            raise DataError(f"Entry {place} of '{path}' needs a 'harmful_explanation' of two texts.")
        told = {key: entry.get(key) for key in ("answer", "gold_explanation")}
        if not all(isinstance(value, str) for value in told.values()):
            raise DataError(f"Entry {place} of '{path}' needs an 'answer' and a 'gold_explanation' that are texts.")
        question = _question(path, place, entry, answer=str(told["answer"]), explanation=str(told["gold_explanation"]))
        found.append(replace(question, harmful=tuple(texts)))
    by_name = {question.name: question.harmful for question in _filled(found, path)}
    if not questions:
        return found
    return [replace(question, harmful=by_name[question.name]) for question in questions if question.name in by_name]


def _entries(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Return the objects of a JSON list with their places."""
    try:
        entries = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"'{path}' cannot be read as JSON ({error}).") from error
    if not isinstance(entries, list):
        raise DataError(f"'{path}' holds a {type(entries).__name__}: expected a list of questions.")
    for place, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise DataError(f"Entry {place} of '{path}' is a {type(entry).__name__}: expected an object.")
        yield place, entry


def _question(path: str | Path, place: int, entry: dict[str, Any], *, answer: str, explanation: str) -> Question:
    text, topic, name = entry.get("question"), entry.get("term", ""), entry.get("qid", "")
    if not isinstance(text, str) or not isinstance(topic, str) or not isinstance(name, str):
        raise DataError(f"Entry {place} of '{path}' needs a 'question' that is a text; 'term' and 'qid', where they are, are texts too.")
    try:
        return Question(text, answer, explanation, topic=topic, name=name)
    except DataError as error:
        raise DataError(f"Entry {place} of '{path}': {error}") from None


def _filled(found: list[Question], path: str | Path) -> list[Question]:
    if not found:
        raise DataError(f"'{path}' has no questions: expected at least one.")
    return found
