"""What each role sees of a question: a student with and without an explanation, a teacher that explains, a mental model of the student.

Every view is a text of demonstrations and then the question, which ends where the reply is to go on. What is put in is text and stays text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tutelage.data.explained_questions import Question

SIMULATE = "Simulate the answer that an AI model gives to the last question."
"""What a mental model is told to do."""


@dataclass(frozen=True)
class Demo:
    """A question that somebody answered.

    Args:
        question: the question.
        answer: what was answered; of a mental model's demonstrations, by the student.
        explanation: the explanation before it; empty where there was none.
    """

    question: Question
    answer: str
    explanation: str = ""


def gold(question: Question) -> Demo:
    """Return a question answered and explained by people."""
    return Demo(question, question.answer, question.explanation)


def explain_first(question: Question, demos: Sequence[Demo] = ()) -> str:
    """Return the view of somebody who explains, then answers (chain of thought): a student alone, or a teacher.

    Args:
        question: what to answer.
        demos: demonstrations, explained where they have an explanation.

    Returns:
        The text; it ends in `A:`.
    """
    return _joined([_asked(d.question) + "\nA: " + told(d) for d in demos], _asked(question) + "\nA:")


def answer_only(question: Question, demos: Sequence[Demo] = ()) -> str:
    """Return the view of a student that answers without explaining.

    Args:
        question: what to answer.
        demos: demonstrations, whose explanations are left out.

    Returns:
        The text; it ends in `The answer is`.
    """
    lead = _marker(question).replace("So the", "The")
    return _joined([f"{_asked(d.question)}\nA: {lead} {d.answer}" for d in demos], f"{_asked(question)}\nA: {lead}")


def explained(question: Question, explanation: str, demos: Sequence[Demo] = ()) -> str:
    """Return the view of a student that is given an explanation in place of its own.

    Args:
        question: what to answer.
        explanation: the teacher's; of a `number` question only the first sentence is shown, from which the student goes on itself.
        demos: demonstrations.

    Returns:
        The text; it ends in `So the answer is`, or after the first sentence.
    """
    shown = [_asked(d.question) + "\nA: " + told(d) for d in demos]
    if question.kind == "number":
        return _joined(shown, f"{_asked(question)}\nA: {first_sentence(explanation)}")
    return own(question, explanation, demos)


def own(question: Question, explanation: str, demos: Sequence[Demo] = ()) -> str:
    """Return the view of somebody who explained and is now asked for the answer: all of the explanation, then `So the answer is`."""
    shown = [_asked(d.question) + "\nA: " + told(d) for d in demos]
    return _joined(shown, f"{_asked(question)}\nA: {_spaced(explanation)}{_marker(question)}")


def answer_first(question: Question, demos: Sequence[Demo] = ()) -> str:
    """Return the view of a teacher that rationalises: it answers, then says because of what.

    Args:
        question: what to answer.
        demos: demonstrations with explanations.

    Returns:
        The text; it ends in `A:`.
    """
    return _joined([f"{_asked(d.question)}\nA: {d.answer} because {d.explanation}" for d in demos], _asked(question) + "\nA:")


def simulate(question: Question, reference: str = "", demos: Sequence[Demo] = (), explanation: str | None = None) -> str:
    """Return the view of a mental model, which foretells what a student will answer.

    Args:
        question: what the student is asked.
        reference: the right answer, or what the teacher takes for it; empty to leave it out, as of the demonstrations.
        demos: what the student answered before; with explanations where it was given them.
        explanation: what the student is given; `None` for nothing.

    Returns:
        The text; it ends before the student's answer.
    """

    def lines(asked: Question, right: str, why: str | None) -> str:
        correct = f"\nCorrect answer: {right}" if reference else ""
        help_ = "" if why is None else f" {_spaced(why)}{_marker(asked)}"
        return f"{_asked(asked)}{correct}\nAI's answer:{help_}"

    shown = [f"{lines(d.question, d.question.answer, None if explanation is None else d.explanation)} {d.answer}" for d in demos]
    return _joined([SIMULATE, *shown], lines(question, reference, explanation))


def told(demo: Demo) -> str:
    """Return what a demonstration says after `A:`."""
    if demo.explanation:
        return f"{demo.explanation} {_marker(demo.question)} {demo.answer}"
    return f"{_marker(demo.question).replace('So the', 'The')} {demo.answer}"


def first_sentence(text: str) -> str:
    """Return a text up to and including its first full stop; a point within a number is none.

    Args:
        text: an explanation.

    Returns:
        All of it where it has no full stop.
    """
    found = re.search(r"\.(?!\d)", text)
    return text[: found.end()] if found else text


def _asked(question: Question) -> str:
    lines = [f"Q: {question.question}"]
    if question.options:
        lines += ["Answer choices:", *(f"Choice {place}: {option}" for place, option in enumerate(question.options, 1))]
    return "\n".join(lines)


def _marker(question: Question) -> str:
    return "So the correct choice is" if question.kind == "options" else "So the answer is"


def _spaced(text: str) -> str:
    return f"{text} " if text else ""


def _joined(shown: Sequence[str], last: str) -> str:
    return "\n\n".join([*shown, last])
