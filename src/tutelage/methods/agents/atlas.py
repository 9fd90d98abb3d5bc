"""ATLAS: a teacher reviews a student's work as closely as it needs, and what helped is written into a playbook for the next tasks.

All weights are frozen. A router chooses from the last rewards whether the student works alone, has its answer checked, or its plan too;
judges score the session; a synthesizer writes short pamphlets, and entries with cues that must pass gates and are pruned if of no help.

Reference: "Continual Learning, Not Training: Online Adaptation For Agents." 2025. arXiv 2511.01093.
Tags: agents, language models, chat, continual learning, memory, tools, gradient-free, inference time, routing, judges
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tutelage.errors import ChatError, DataError, OptionError
from tutelage.evaluate.judges import TEMPERATURES, Judge, JudgeEnsemble, Judgement
from tutelage.evaluate.sessions import Session
from tutelage.models.chat import Chat
from tutelage.models.chat.agent import Tool, ToolAgent
from tutelage.models.chat.meter import Meter, Usage
from tutelage.models.chat.sections import assemble
from tutelage.models.chat.transcript import Transcript
from tutelage.selection.gates import Predicates, hit
from tutelage.selection.impact import Pruning
from tutelage.selection.lanes import LANES, ChatProbe, Lane, Probe, Route, Router, rule_probe
from tutelage.selection.learning_memory import USAGE, LearningMemory, Playbook
from tutelage.store.memory import Memory
from tutelage.targets.learning_history import HIGH, LAST, LOW, NOTE, LearningHistory, learning_history
from tutelage.targets.playbook import PAMPHLET, ChatSynthesizer, Proposal
from tutelage.teachers.reviewer import Reviewer
from tutelage.teachers.supervision import Supervisor, Work

if TYPE_CHECKING:
    from tutelage.report import Report


class Atlas:
    """A student with a teacher beside it and a memory behind it.

    1. The playbook and the last rewards of the learning key are loaded; a router chooses the lane.
    2. `auto`: the student alone. `paired`: its answer is checked, and tried again with guidance if refused. `coach`: its plan is reviewed
       first. `stepwise`: it plans, and every step is checked.
    3. Judges score the session.
    4. Entries whose cue was found are counted, with their rewards; those that do not help are dropped.
    5. The synthesizer proposes new pamphlets and entries; what passes the gates is kept.

    Batch: none; tasks come one by one.

    With two models, in five lines:

        from tutelage.methods.agents.atlas import Atlas
        from tutelage.models.chat import from_spec
        atlas = Atlas(from_spec("chat:small-model"), from_spec("chat:large-model"), memory="playbook.sqlite")
        answers = [atlas.solve(question).answer for question in questions]
        atlas.report().save("lessons")

    A model that cannot be reached or read costs no work: a teacher that says nothing usable lets the answer pass, a probe leads to the lane
    `fallback`, judges to no reward, a synthesizer to the playbook as it was; the session's `faults` (a probe's: its `route`) say so. Only a
    student that cannot be reached raises, after what happened is written down. What models say is data: cues are matched by bounded
    automata, values are bound, nothing is run.

    Args:
        student: a chat model, or a `ToolAgent` with its tools.
        teacher: a chat model that reviews plans and answers; also judges and writes where nobody else is named. `None` for a student alone.
        memory: the SQLite file, a `Memory`, or `None` to remember nothing.
        judge: a chat model that is asked at several temperatures, or a function from evidence to `Judgement`; the teacher by default.
        arbiter: a chat model that decides where judges disagree; the teacher by default, with a teacher or a judging chat model.
        synthesizer: a chat model or a function like `ChatSynthesizer`; the teacher by default.
        probe: estimates the supervision that is needed: a chat model or a function; a rule on the last rewards by default, `None` for none.
        reward: a function `(task, answer)` to a reward in [0, 1] in place of judges, or `None`.
        lane: always this lane, without a router; `None`.
        key: learning key of tasks that name none: all share one playbook; "default".
        update_enabled: whether the memory changes; without, not a byte of it does (frozen transfer).
        retries: guided attempts after a refused one, the last of which is not checked; 1.
        auto: confidence from which the student works alone; 0.85.
        paired: confidence from which only its answer is checked; 0.65.
        first: lane of a task without history; paired.
        fallback: lane where the probe says nothing; paired.
        escalate: lane stepwise after so many low rewards in succession; `None` for never.
        temperatures: of the judge's samples; 0.2, 0.5, 0.8.
        spread: standard deviation of scores above which the arbiter is asked; 0.15.
        doubt: uncertainty above which it is asked; 0.3.
        generality: mark entries that name incidents, dates or files as provisional; off.
        pruning: when entries are dropped; `None` for never.
        pamphlet: most characters of a pamphlet; 1,000.
        threshold: reward from which a session is a success; 0.5 (ours).
        last: sessions in the history; 10.
        note: most characters of a note in it; 1,024.
        high: rewards of a high streak; 0.8.
        low: rewards of a low streak; 0.4.
        tools: names of tools that entries may name; those of the student by default.
        prefixes: beginnings of further tools' names.
        predicates: functions that cues may name.
        transcript: file to which every conversation of every role is appended, or `None`.

    Raises:
        OptionError: for an option out of range, or roles that do not fit.
        StoreError: if the memory is damaged or something else.

    Source: arXiv 2511.01093 and the code published with it, which is newer in places.
    """

    def __init__(
        self,
        student: Chat | ToolAgent,
        teacher: Chat | None,
        *,
        memory: str | Path | Memory | None = None,
        judge: Chat | Judge | None = None,
        arbiter: Chat | None = None,
        synthesizer: Chat | Callable[..., Proposal] | None = None,
        probe: Probe | Chat | None = rule_probe,
        reward: Callable[[str, str], float] | None = None,
        lane: Lane | None = None,
        key: str = "default",
        update_enabled: bool = True,
        retries: int = 1,
        auto: float = 0.85,
        paired: float = 0.65,
        first: Lane = "paired",
        fallback: Lane = "paired",
        escalate: int | None = None,
        temperatures: Sequence[float] = TEMPERATURES,
        spread: float = 0.15,
        doubt: float = 0.3,
        generality: bool = False,
        pruning: Pruning | None = Pruning(),  # noqa: B008  frozen
        pamphlet: int = PAMPHLET,
        threshold: float = 0.5,
        last: int = LAST,
        note: int = NOTE,
        high: float = HIGH,
        low: float = LOW,
        tools: Sequence[str] | None = None,
        prefixes: Sequence[str] = (),
        predicates: Predicates | None = None,
        transcript: str | Path | None = None,
    ) -> None:
        if lane is not None and lane not in LANES:
            raise OptionError(f"lane is '{lane}'; expected one of {', '.join(LANES)}, or None.")
        if teacher is None and lane != "auto":
            raise OptionError("Without a teacher the student works alone: give lane='auto', or a teacher.")
        self.meter = Meter(None if transcript is None else Transcript(transcript))
        agent = student if isinstance(student, ToolAgent) else ToolAgent(student)
        metered = ToolAgent(self.meter.of(agent.chat, "student"), agent.tools, max_steps=agent.max_steps, sampling=agent.sampling)
        reviewer = None if teacher is None else Reviewer(self.meter.of(teacher, "teacher"))
        self.supervisor = Supervisor(metered, reviewer, retries=retries)
        self.reward, self.lane, self.key, self.update_enabled = reward, lane, key, update_enabled
        self.threshold, self.prefixes = threshold, tuple(prefixes)
        self.tools = tuple(agent.tools) if tools is None else tuple(tools)
        self.predicates = dict(predicates or {})
        self._history: dict[str, Any] = {"last": last, "longest": note, "high": high, "low": low}
        self.router = Router(
            ChatProbe(self.meter.of(probe, "probe")) if isinstance(probe, Chat) else probe,
            first=first,
            auto=auto,
            paired=paired,
            fallback=fallback,
            escalate=escalate,
        )
        self.judge = self._judge(judge or teacher, arbiter or teacher, temperatures, spread, doubt) if reward is None else None
        writer = synthesizer or teacher
        self.synthesizer = ChatSynthesizer(self.meter.of(writer, "synthesizer")) if isinstance(writer, Chat) else writer
        opened = Memory(memory, read_only=not update_enabled) if isinstance(memory, str | Path) else memory
        self.memory = (
            None
            if opened is None
            else LearningMemory(opened, pruning=pruning, generality=generality, predicates=predicates, pamphlet=pamphlet)
        )

    def _judge(
        self, judge: Chat | Judge | None, arbiter: Chat | None, temperatures: Sequence[float], spread: float, doubt: float
    ) -> Judge | None:
        if not isinstance(judge, Chat):
            return judge
        metered = None if arbiter is None else self.meter.of(arbiter, "arbiter")
        return JudgeEnsemble(self.meter.of(judge, "judge"), metered, temperatures=temperatures, spread=spread, doubt=doubt)

    def solve(self, task: str, *, family: str = "", key: str | None = None, tools: Mapping[str, Tool] | None = None) -> Session:
        """Work on one task, and learn from it.

        Args:
            task: what is asked.
            family: family of the task, by which pruning sees whether an entry is of general use.
            key: learning key; that of the constructor by default.
            tools: the student's tools for this task; those it was built with by default.

        Returns:
            The session.

        Raises:
            ChatError: if the student cannot be reached; what was used until then is written down.
            StoreError: if the memory cannot be used.
        """
        key, before = self.key if key is None else key, self.meter.snapshot()
        book, history = self.recall(key)
        route = Route(self.lane, None, "always") if self.lane is not None else self.router(task, history)
        try:
            work = self.supervisor.work(route.lane, task, student_pamphlet=book.student, teacher_pamphlet=book.teacher, tools=tools)
        except ChatError as error:
            self._count(self.meter.since(before), key, f"The student cannot be reached: {error}")
            raise
        session = self._session(task, key, family, route, work, book)
        session = dataclasses.replace(session, usage=self.meter.since(before))
        if self.memory is None or not self.update_enabled:
            return session
        return self._learn(session, book, before, tuple(tools) if tools else self.tools)

    def recall(self, key: str) -> tuple[Playbook, LearningHistory]:
        """Return the playbook and the history of a learning key."""
        if self.memory is None:
            return Playbook(), learning_history(())
        return self.memory.load(key), self.memory.history(key, **self._history)

    def _session(self, task: str, key: str, family: str, route: Route, work: Work, book: Playbook) -> Session:
        """Judge the work and look for cues."""
        reward, judgement = self._judged(task, route, work)
        steps = work.attempt.steps
        text = "\n".join([task, *(f"{step.tool}: {step.input}" for step in steps)])
        found = [entry for entry in book.active if hit(entry.cue, text, self.predicates)]
        used, success = {step.tool for step in steps}, reward is not None and reward >= self.threshold
        return Session(
            task,
            key,
            family,
            route,
            work.attempt.answer,
            work.plan,
            work.attempt.trace,
            work.attempts,
            tuple(work.guidance),
            work.valid,
            reward,
            judgement,
            tuple(entry.id for entry in found),
            tuple(entry.id for entry in found if success and entry.handle in used),
            faults=tuple(work.faults),
        )

    def _judged(self, task: str, route: Route, work: Work) -> tuple[float | None, Judgement | None]:
        if self.reward is not None:
            reward = float(self.reward(task, work.attempt.answer))
            if not 0 <= reward <= 1:
                raise OptionError(f"The reward of an answer is {reward}; expected a number in [0, 1].")
            return reward, None
        if self.judge is None:
            return None, None
        evidence = assemble(
            Task=task,
            Lane=route.lane,
            Plan=work.plan,
            Trace=work.attempt.trace,
            Answer=work.attempt.answer or "(none)",
            Teacher_intervened="yes" if work.guidance else "no",
        )
        judgement = self.judge(evidence)
        lost = judgement.failed or (f"{judgement.unparsable} unreadable replies" if judgement.unparsable else "")
        if lost:
            work.faults.append(f"{'No judge' if judgement.reward is None else 'Not every judge'} could be used: {lost}")
        return judgement.reward, judgement

    def _learn(self, session: Session, book: Playbook, before: Mapping[str, Usage], tools: Sequence[str]) -> Session:
        """Write the session down, then let the synthesizer rewrite the playbook."""
        assert self.memory is not None
        self.memory.observe(
            session.key,
            session.row(),
            reward=session.reward,
            hits={entry.id: entry.id in session.hits for entry in book.active},
            adopted=session.adopted,
            family=session.family,
            usage={role: dataclasses.asdict(used) for role, used in session.usage.items()},
        )
        if self.synthesizer is None:
            return session
        seen = self.meter.snapshot()
        fault = self._rewrite(session, tools)
        self._count(self.meter.since(seen), session.key, fault)
        return dataclasses.replace(session, usage=self.meter.since(before), faults=(*session.faults, fault) if fault else session.faults)

    def _rewrite(self, session: Session, tools: Sequence[str]) -> str:
        """Ask for the next playbook and let it in; return what went wrong."""
        assert self.memory is not None
        assert self.synthesizer is not None
        book = self.memory.load(session.key)
        latest = assemble(
            Task=session.task,
            Lane=session.route.lane,
            Reward="not judged" if session.reward is None else f"{session.reward:.3f}",
            Trace=session.trace,
            Answer=session.answer,
            Guidance="\n".join(session.guidance),
        )
        try:
            proposal = self.synthesizer(
                student=book.student,
                teacher=book.teacher,
                session=latest,
                entries=book.active,
                dropped=[entry for entry in book.entries if entry.status == "dropped"][-20:],
                history=self.memory.history(session.key, **self._history).text,
                tools=tools,
            )
        except (ChatError, DataError) as error:
            return f"The playbook stays as it was: {error}"
        gated = self.memory.revise(session.key, proposal, shown=book.active, tools=tools, prefixes=self.prefixes)
        return f"The proposal was blocked: {' '.join(gated.faults)}" if gated.faults else ""

    def _count(self, usage: Mapping[str, Usage], key: str, fault: str) -> None:
        """Add to what all sessions used, and write a failure down."""
        if self.memory is None or not self.update_enabled:
            return
        with self.memory.memory.transaction():
            for role, used in usage.items():
                self.memory.memory.add(USAGE, role, **dataclasses.asdict(used))
            if fault:
                self.memory.fail(key, fault)

    def report(self, *, key: str | None = None) -> Report:
        """Return what was taught, when, at what cost, and whether it helped.

        Args:
            key: learning key; that of the constructor by default.

        Raises:
            OptionError: if nothing is remembered.
        """
        from tutelage.report.playbook import playbook_report

        if self.memory is None:
            raise OptionError("Without a memory there is nothing to report: give memory=PATH.")
        return playbook_report(self.memory, self.key if key is None else key)
