"""Scripted agents over the synthetic security database: programs that talk as language models would, and err by stated chances."""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tutelage.environments.security_logs import FAMILIES, QUERIES, SKILLS, Query, SecurityLogs, SecurityTask, Skill
from tutelage.models.chat import Message, Reply
from tutelage.models.chat.agent import PLAN
from tutelage.models.chat.sections import sections
from tutelage.selection.bounded_regex import PatternError, compile_pattern

if TYPE_CHECKING:
    from tutelage.recipes.agents.atlas import WorldOptions

_LINE = re.compile(r"^- when /(.+)/: use (\w+)$", re.MULTILINE)
_USE = re.compile(r"\buse (\w+)")
_KEEP = re.compile(r"\bkeep ([\w, ]+);")
_TRACE = re.compile(r"^USE (\w+): ", re.MULTILINE)
WRITTEN = "- when /{cue}/: use {handle}"


class Agents:
    """Student, teacher, judges and synthesizer of one stream.

    Args:
        logs: the database.
        tasks: the stream, by which the programs recognise what they are asked.
        world: how they err.
        seed: seed of all their draws; each role has its own generator.
    """

    def __init__(self, logs: SecurityLogs, tasks: Sequence[SecurityTask], world: WorldOptions, *, seed: int) -> None:
        self.logs, self.world = logs, world
        self.tasks = {task.text: task for task in tasks}
        self.draw = {role: random.Random(f"{role} {seed}") for role in ("student", "teacher", "judge", "arbiter", "synthesizer")}

    def student(self, messages: tuple[Message, ...]) -> str | Reply:
        """Plan, or choose the next query by a softmax over scores, or answer with the value that was reached."""
        said = sections(messages[0].content)
        task = self.tasks[said["Task"]]
        if said["Instruction"] == PLAN:
            return "\n".join(query.name for query in self._intended(task, said))
        if said.get("Step") in QUERIES:
            return self._one_step(task, said, messages)
        value, kind, links, tried = task.entity, FAMILIES[task.family].takes, 0, set[str]()
        for turn, output in zip(messages[1::2], messages[2::2], strict=True):
            name = turn.content.removeprefix("USE ").partition(":")[0]
            if output.content in ("(no rows)", "(nothing)"):
                tried.add(name)
            else:
                value, kind, links = output.content.split("\n", 1)[0], QUERIES[name].gives, links + 1
        if kind == task.chain[-1].right.gives:
            return f"ANSWER: {value}"
        query = self._choose(task, kind, said, tried)
        return f"ANSWER: {value}" if query is None else f"USE {query.name}: {value}"

    def _one_step(self, task: SecurityTask, said: Mapping[str, str], messages: tuple[Message, ...]) -> str:
        """Do one step of a plan: its query, or the one that the teacher names for it."""
        if len(messages) > 1:
            return f"ANSWER: {messages[2].content.split(chr(10), 1)[0]}"
        done = [line.partition(": ") for line in said.get("Context", "").splitlines()]
        value = done[-1][2] if done else task.entity
        kind = QUERIES[said["Step"]].takes
        told = [name for name in _USE.findall(said.get("Guidance", "")) if QUERIES[name].takes == kind]
        return f"USE {told[-1] if told else said['Step']}: {value}"

    def _intended(self, task: SecurityTask, said: Mapping[str, str]) -> list[Query]:
        kind, plan = FAMILIES[task.family].takes, list[Query]()
        while kind != task.chain[-1].right.gives and (query := self._choose(task, kind, said, set())) is not None:
            plan.append(query)
            kind = query.gives
        return plan

    def _choose(self, task: SecurityTask, kind: str, said: Mapping[str, str], tried: set[str]) -> Query | None:
        """Draw a query that takes the value at hand; a query that somebody named gets a bonus, once."""
        usable = [query for query in QUERIES.values() if query.takes == kind and query.name not in tried]
        if not usable:
            return None
        link = next((skill for skill in task.chain if skill.right.takes == kind), None)
        named = self._named(task.text, said)
        weights = [math.exp(self._score(query, link) + self.world.bonus * (query.name in named)) for query in usable]
        return self.draw["student"].choices(usable, weights)[0]

    def _score(self, query: Query, link: Skill | None) -> float:
        if link is None or query.name not in (link.right.name, link.wrong.name):
            return self.world.other
        return self.world.right if query.name == link.right.name else self.world.wrong

    @staticmethod
    def _named(text: str, said: Mapping[str, str]) -> set[str]:
        """Return the queries that pamphlet, plan and guidance name; where there is guidance the plan does not count."""
        guidance = said.get("Guidance", "")
        named = set(_USE.findall(guidance)) | {name.strip() for kept in _KEEP.findall(guidance) for name in kept.split(",")}
        if not guidance:
            named |= set(said.get("Plan", "").split())
        for cue, name in _LINE.findall(said.get("Pamphlet", "")):
            try:
                named |= {name} if compile_pattern(cue).found(text) else set()
            except PatternError:
                continue
        return named

    def teacher(self, messages: tuple[Message, ...]) -> str:
        """Review a plan, or check an output by following the right queries, and name the first wrong one's right one."""
        said = sections(messages[0].content)
        if "Plan" in said:
            task = self.tasks[said["Task"]]
            return json.dumps({"guidance": self._guidance(task, said["Plan"].split())})
        trace = said.get("Trace", "")
        quoted = trace.partition("\n")[0].removeprefix("Task: ")
        task = self.tasks[said["Step"] if said["Step"] in self.tasks else quoted]
        used = _TRACE.findall(trace)
        valid = said["Output"] == task.answer if said["Step"] in self.tasks else said["Output"] in task.values
        if self.draw["teacher"].random() < self.world.teacher_error:
            wrong = self.draw["teacher"].choice(task.chain).wrong.name
            return json.dumps({"valid": not valid, "guidance": f"use {wrong}" if valid else ""})
        return json.dumps({"valid": valid, "guidance": "" if valid else self._guidance(task, used, said["Step"])})

    @staticmethod
    def _guidance(task: SecurityTask, used: Sequence[str], step: str = "") -> str:
        right = [skill.right.name for skill in task.chain]
        if step in QUERIES:
            return next((f"use {name}" for name in right if QUERIES[name].takes == QUERIES[step].takes), "")
        good = next((i for i, name in enumerate(right) if i >= len(used) or used[i] != name), len(right))
        if good == len(right):
            return ""
        return (f"keep {', '.join(right[:good])}; " if good else "") + f"use {right[good]}"

    def judge(self, messages: tuple[Message, ...], role: str = "judge") -> str:
        """Score a session: high for the right answer, else by how far the queries were right, with noise."""
        said = sections(messages[0].content)
        task = self.tasks[said["Task"]]
        right = [skill.right.name for skill in task.chain]
        used = _TRACE.findall(said.get("Trace", ""))
        good = next((i for i, name in enumerate(right) if i >= len(used) or used[i] != name), len(right))
        score = 0.9 if said["Answer"] == task.answer else 0.1 + 0.3 * good / len(right)
        noise = self.draw[role].gauss(0.0, self.world.arbiter_noise if role == "arbiter" else self.world.judge_noise)
        said_score = min(1.0, max(0.0, score + noise))
        principles = [{"name": "right answer", "weight": 0.75}, {"name": "sound way", "weight": 0.25}]
        return json.dumps({"score": round(said_score, 3), "uncertainty": round(min(1.0, 0.05 + abs(noise)), 3), "principles": principles})

    def arbiter(self, messages: tuple[Message, ...]) -> str:
        """Score a session with less noise."""
        return self.judge(messages, "arbiter")

    def synthesizer(self, messages: tuple[Message, ...]) -> str:
        """Keep all entries, and write down the guidance that led to success; now and then something bad in its place."""
        said = sections(messages[0].content)
        session = sections(said["Session"])
        entries = [{key: entry[key] for key in ("cue", "imperative", "handle")} for entry in json.loads(said.get("Entries", "[]"))]
        told = [name for name in _USE.findall(session.get("Guidance", "")) if name in QUERIES]
        if told and session["Reward"] != "not judged" and float(session["Reward"]) >= 0.5:
            new = self._entry(told[-1], session["Task"])
            if self.world.rewrites:
                entries = [entry for entry in entries if entry["cue"] != new["cue"]]
            if new not in entries:
                entries.append(new)
        lines = [WRITTEN.format(cue=entry["cue"]["pattern"], handle=entry["handle"]) for entry in entries]
        return json.dumps({"student": "\n".join(lines), "teacher": "Check every query of the chain.", "entries": entries})

    def _entry(self, name: str, text: str) -> dict[str, object]:
        skill = next(skill for skill in SKILLS.values() if name in (skill.right.name, skill.wrong.name))
        cue, handle, draw = skill.phrase.replace(" ", r"\s+"), name, self.draw["synthesizer"]
        if draw.random() < self.world.bad_entry:
            kind = draw.choice(("particular", "harmful", "malformed"))
            if kind == "particular":
                cue = f"{text.partition('.')[0]}.*{cue}"
            elif kind == "harmful":
                handle = skill.wrong.name
            else:
                cue = f"({cue}"
        return {"cue": {"kind": "regex", "pattern": cue}, "imperative": f"use {handle}", "handle": handle}
