"""What a teacher at inference time taught, when, at what cost, and whether it helped."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tutelage.errors import OptionError

if TYPE_CHECKING:
    from tutelage.models.chat.meter import Usage
    from tutelage.report.report import Report

_SHOWN = 20  # lessons that a report tells one by one


@dataclass(frozen=True)
class Taught:
    """One item and what became of it.

    Args:
        question: its text.
        gold: the right answer; empty where nobody knows.
        answer: the student's answer in the end; `None` where it could not be read.
        alone: what the student answered alone; `None` where that could not be read, or it was not asked.
        taught: whether it was given the explanation.
        explanation: the teacher's; empty where it was not asked for one.
        expected: what the mental model expected of the student, alone and taught; `None` where it was not asked.
        time: when the answer was there, in seconds since 1970.
    """

    question: str
    gold: str
    answer: str | None
    alone: str | None
    taught: bool
    explanation: str = ""
    expected: tuple[float | None, float | None] = (None, None)
    time: float = field(default_factory=time.time)


@dataclass(frozen=True)
class Lesson:
    """A whole lesson.

    Args:
        items: what became of every item, in their order.
        budget: share of the items that could be taught.
        usage: what every role (student, teacher, mental) used.
        measured: whether the student was also asked alone where it was taught.
        again: how often the student was asked again because no answer could be read.
        name: what the report is called.
    """

    items: Sequence[Taught]
    budget: float
    usage: Mapping[str, Usage]
    measured: bool = True
    again: int = 0
    name: str = "lesson"

    @property
    def answers(self) -> list[str | None]:
        """The student's answers in the end."""
        return [item.answer for item in self.items]

    def counts(self) -> dict[str, float]:
        """Return what was taught and what it changed.

        Returns:
            `taught`, `unread` (answers that could not be read), `again` (asked a second time for that); where the student was also asked
            alone, `changed`; and, where right answers are known, `accuracy` in percent, beside `accuracy_alone` with the numbers of items
            that an explanation `helped` (wrong to right) and `harmed` (right to wrong).
        """
        found = {
            "taught": float(sum(item.taught for item in self.items)),
            "unread": float(sum(item.answer is None for item in self.items)),
            "again": float(self.again),
        }
        if self.measured:
            found["changed"] = float(sum(item.taught and item.answer != item.alone for item in self.items))
        if all(item.gold for item in self.items):
            right = [item.answer == item.gold for item in self.items]
            found["accuracy"] = 100.0 * sum(right) / len(right)
            if self.measured:
                before = [item.alone == item.gold for item in self.items]
                found["accuracy_alone"] = 100.0 * sum(before) / len(before)
                found["helped"] = float(sum(now and not then for now, then in zip(right, before, strict=True)))
                found["harmed"] = float(sum(then and not now for now, then in zip(right, before, strict=True)))
        return found

    def report(self, title: str = "What was taught, and whether it helped") -> Report:
        """Return the lesson as a report: accuracies, costs of every role, a claim that it helped, and the first lessons in words.

        Args:
            title: its heading.

        Raises:
            OptionError: if there is no item.
        """
        from tutelage.models.chat.text import printable
        from tutelage.report.report import Report

        if not self.items:
            raise OptionError("A lesson without items has no report.")
        report, counts = Report(self.name, title, (0,), config={"budget": self.budget}), self.counts()
        if "accuracy_alone" in counts:
            report.add("student alone", 0, accuracy=counts["accuracy_alone"])
        report.add("student taught", 0, **{name: value for name, value in counts.items() if name != "accuracy_alone"})
        for role, used in self.usage.items():
            amounts = {"calls": used.calls, "prompt_tokens": used.prompt_tokens, "completion_tokens": used.completion_tokens}
            report.add(role, 0, **amounts, cost=used.cost)
        if "accuracy_alone" in counts:
            gain = counts["accuracy"] - counts["accuracy_alone"]
            report.check(f"Explanations of {counts['taught']:.0f} items help the student (points of accuracy).", [gain], at_least=1e-6)
        else:
            report.note("Whether it helped is not known: the right answers, or the student's own answers, are missing.")
        taught = [item for item in self.items if item.taught]
        for item in taught[:_SHOWN]:
            report.note(printable(_sentence(item), 600))
        if len(taught) > _SHOWN:
            report.note(f"{len(taught) - _SHOWN} more lessons are in `items`, and in the memory if there is one.")
        return report

    def rows(self) -> list[dict[str, Any]]:
        """Return all items as rows that JSON can hold, for a memory or a table."""
        return [
            {
                "question": item.question,
                "gold": item.gold,
                "answer": item.answer,
                "alone": item.alone,
                "taught": item.taught,
                "explanation": item.explanation,
                "expected_alone": item.expected[0],
                "expected_taught": item.expected[1],
                "time": item.time,
            }
            for item in self.items
        ]


def _sentence(item: Taught) -> str:
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(item.time))
    became = f"{item.alone or 'nothing readable'} became {item.answer or 'nothing readable'}"
    verdict = "" if not item.gold else " (right)" if item.answer == item.gold else " (wrong)"
    return f"{when} UTC. {item.question} Taught: {item.explanation} The answer {became}{verdict}."
