"""Supervision of a student at inference time, as closely as a lane says."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from tutelage.errors import OptionError, nearest
from tutelage.models.chat.agent import Attempt, Tool, ToolAgent
from tutelage.teachers.reviewer import Reviewer

REFUSED = "The teacher did not accept this answer. Try another way."
"""Guidance where a teacher refuses and says nothing else."""
MOST_STEPS = 20
"""Most steps of a plan in the lane stepwise."""


@dataclass
class Work:
    """What student and teacher did about one task.

    Args:
        attempt: the student's last attempt.
        plan: its plan, in the lanes that ask for one.
        guidance: what the teacher said, in order.
        attempts: how often the student worked on the task, or on its steps.
        valid: whether the teacher accepted what it checked last; `None` where it checked nothing.
        faults: what the teacher could not do.
    """

    attempt: Attempt = dataclasses.field(default_factory=lambda: Attempt(""))
    plan: str = ""
    guidance: list[str] = dataclasses.field(default_factory=list)
    attempts: int = 0
    valid: bool | None = None
    faults: list[str] = dataclasses.field(default_factory=list)


class Supervisor:
    """A student and a teacher beside it.

    Args:
        student: works.
        teacher: reviews; `None` for a student that only works alone.
        retries: guided attempts after a refused one; the last is not checked. 1.

    Raises:
        OptionError: for a negative number of retries.
    """

    def __init__(self, student: ToolAgent, teacher: Reviewer | None, *, retries: int = 1) -> None:
        if retries < 0:
            raise OptionError(f"retries is {retries}; expected at least 0.")
        self.student, self.teacher, self.retries = student, teacher, retries

    def work(
        self,
        lane: str,
        task: str,
        *,
        student_pamphlet: str = "",
        teacher_pamphlet: str = "",
        tools: Mapping[str, Tool] | None = None,
    ) -> Work:
        """Work on a task.

        Args:
            lane: `auto` (the student alone), `paired` (its answer is checked), `coach` (its plan is reviewed, its answer checked) or
                `stepwise` (its plan is reviewed, and every step checked; the last step's output is the answer).
            task: what is asked.
            student_pamphlet: what the student should know from earlier tasks.
            teacher_pamphlet: what the teacher should know.
            tools: the student's tools for this task; its own by default.

        Returns:
            What was done.

        Raises:
            ChatError: if the student cannot be reached.
            OptionError: for an unknown lane, or one that needs a teacher where there is none.
        """
        lanes = {"auto": _auto, "paired": _paired, "coach": _coach, "stepwise": _stepwise}
        if lane not in lanes:
            raise OptionError(f"No lane is called '{lane}'.{nearest(lane, lanes)}")
        if lane != "auto" and self.teacher is None:
            raise OptionError(f"The lane '{lane}' needs a teacher, and there is none.")
        job = _Job(self.student, self.teacher, self.retries, task, student_pamphlet, teacher_pamphlet, tools)
        lanes[lane](job)
        return job.done


@dataclass
class _Job:
    """One task with all that it needs."""

    student: ToolAgent
    teacher: Reviewer | None
    retries: int
    task: str
    student_pamphlet: str
    teacher_pamphlet: str
    tools: Mapping[str, Tool] | None
    done: Work = dataclasses.field(default_factory=Work)

    def attempt(self, *, step: str = "", context: str = "") -> Attempt:
        """Let the student work."""
        self.done.attempts += 1
        return self.student.solve(
            self.task,
            pamphlet=self.student_pamphlet,
            guidance=self.done.guidance,
            plan=self.done.plan,
            step=step,
            context=context,
            tools=self.tools,
        )

    def plan(self) -> None:
        """Let the student plan and the teacher review the plan."""
        assert self.teacher is not None
        self.done.plan = self.student.plan(self.task, pamphlet=self.student_pamphlet, tools=self.tools)
        review = self.teacher.review_plan(self.task, self.done.plan, pamphlet=self.teacher_pamphlet)
        if not (review.reached and review.readable):
            self.done.faults.append("The teacher could not review the plan, which passed.")
        if review.guidance:
            self.done.guidance.append(review.guidance)

    def accepted(self, step: str, attempt: Attempt, context: str) -> bool:
        """Let the teacher check an output; what it cannot check passes."""
        assert self.teacher is not None
        told = "\n".join(self.done.guidance)
        review = self.teacher.validate(step, attempt.answer, context=context, guidance=told, pamphlet=self.teacher_pamphlet)
        if not (review.reached and review.readable):
            self.done.faults.append("The teacher could not check the answer, which passed.")
            return True
        self.done.valid = review.valid
        if not review.valid:
            self.done.guidance.append(review.guidance or REFUSED)
        return review.valid


def _auto(job: _Job) -> None:
    job.done.attempt = job.attempt()


def _paired(job: _Job) -> None:
    """Attempt, validation, at most `retries` guided attempts; the last is accepted as it is."""
    attempt = job.done.attempt = job.attempt()
    for _ in range(job.retries):
        if job.accepted(job.task, attempt, attempt.trace):
            return
        attempt = job.done.attempt = job.attempt(context=attempt.trace)


def _coach(job: _Job) -> None:
    job.plan()
    _paired(job)


def _stepwise(job: _Job) -> None:
    job.plan()
    before: list[str] = []
    attempts: list[Attempt] = []
    steps = [line.strip() for line in job.done.plan.splitlines() if line.strip()] or [job.task]
    if len(steps) > MOST_STEPS:
        job.done.faults.append(f"The plan has {len(steps)} steps, of which the first {MOST_STEPS} were done.")
    for step in steps[:MOST_STEPS]:
        attempt = job.attempt(step=step, context="\n".join(before))
        for _ in range(job.retries):
            if job.accepted(step, attempt, "\n".join([f"Task: {job.task}", *before, attempt.trace])):
                break
            attempt = job.attempt(step=step, context="\n".join(before))
        before.append(f"{step}: {attempt.answer}")
        attempts.append(attempt)
    used = tuple(step for attempt in attempts for step in attempt.steps)
    job.done.attempt = Attempt(attempts[-1].answer, used, sum(attempt.unparsable for attempt in attempts), attempts[-1].ended)
