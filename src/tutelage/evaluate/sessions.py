"""Sessions: one task each, what a student under supervision made of it, what it was worth and what it cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tutelage.evaluate.judges import Judgement
from tutelage.models.chat.meter import Usage
from tutelage.selection.lanes import Route


@dataclass(frozen=True)
class Session:
    """One task and what became of it.

    Args:
        task: its text.
        key: the learning key.
        family: family of the task.
        route: the lane and why it was chosen.
        answer: the student's answer; empty where it has none.
        plan: its plan, in the lanes that ask for one.
        trace: the tools that it used in its last attempt.
        attempts: how often it worked on the task, or on its steps.
        guidance: what the teacher said.
        valid: whether the teacher accepted the last answer that it checked; `None` where it checked none.
        reward: in [0, 1]; `None` where nobody could judge.
        judgement: what the judges said, where they were asked.
        hits: ids of entries whose cue was found.
        adopted: ids of those whose tool was used with success.
        usage: tokens and cost by role.
        faults: what went wrong beside the work: an unreachable teacher, a blocked or unreadable proposal.
    """

    task: str
    key: str
    family: str
    route: Route
    answer: str
    plan: str = ""
    trace: str = ""
    attempts: int = 1
    guidance: tuple[str, ...] = ()
    valid: bool | None = None
    reward: float | None = None
    judgement: Judgement | None = None
    hits: tuple[str, ...] = ()
    adopted: tuple[str, ...] = ()
    usage: Mapping[str, Usage] = dataclasses.field(default_factory=dict)
    faults: tuple[str, ...] = ()

    @property
    def tokens(self) -> int:
        """Tokens of all roles."""
        return sum(used.tokens for used in self.usage.values())

    @property
    def cost(self) -> float:
        """What all roles cost, in the currency of their prices."""
        return sum(used.cost for used in self.usage.values())

    def row(self) -> dict[str, Any]:
        """Return what the memory keeps of it."""
        return {
            "task": self.task,
            "family": self.family,
            "lane": self.route.lane,
            "why": self.route.why,
            "confidence": self.route.confidence,
            "reward": self.reward,
            "answer": self.answer,
            "student_note": self.trace,
            "teacher_note": "\n".join(self.guidance),
            "attempts": self.attempts,
            "escalated": self.judgement is not None and self.judgement.escalated,
            "hits": list(self.hits),
            "tokens": {role: used.tokens for role, used in self.usage.items()},
            "cost": self.cost,
            "faults": list(self.faults),
        }
