"""The persistent memory of what was taught: pamphlets, entries with their impact, and sessions, kept by learning key."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tutelage.errors import StoreError
from tutelage.selection.gates import Gated, Predicates, gate
from tutelage.selection.impact import Impact, Pruning
from tutelage.store.memory import Memory
from tutelage.targets.learning_history import LearningHistory, learning_history
from tutelage.targets.playbook import PAMPHLET, Entry, Proposal, cut

PLAYBOOK, SESSION, BLOCKED, DROPPED, FAILURE, USAGE = "playbook", "session", "blocked", "dropped", "failure", "usage"
"""Kinds of records (the first), counters (the last) and events in the memory."""


@dataclass(frozen=True)
class Playbook:
    """What is known under a learning key.

    Args:
        student: pamphlet for the student.
        teacher: pamphlet for the teacher.
        entries: every entry that ever was, with its status.
        impacts: what was seen of each, by the entry's id.
    """

    student: str = ""
    teacher: str = ""
    entries: tuple[Entry, ...] = ()
    impacts: Mapping[str, Impact] = field(default_factory=dict)

    @property
    def active(self) -> tuple[Entry, ...]:
        """The entries in use."""
        return tuple(entry for entry in self.entries if entry.active)

    def to_json(self) -> dict[str, Any]:
        """Return values that JSON can hold."""
        return {
            "student": self.student,
            "teacher": self.teacher,
            "entries": [entry.to_json() for entry in self.entries],
            "impacts": {name: impact.to_json() for name, impact in self.impacts.items()},
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Playbook:
        """Return the playbook that `to_json` took apart.

        Raises:
            KeyError: or TypeError or ValueError, if it is something else.
        """
        impacts = {str(name): Impact.from_json(impact) for name, impact in values["impacts"].items()}
        return cls(values["student"], values["teacher"], tuple(Entry.from_json(entry) for entry in values["entries"]), impacts)


class LearningMemory:
    """Playbooks and sessions in a `Memory`; every change is one transaction, on what the file holds at that moment.

    Args:
        memory: the file.
        pruning: when entries are dropped; `None` drops none.
        generality: see `gate`; off.
        predicates: functions of the user that cues may name.
        pamphlet: most characters of a pamphlet; 1,000.
    """

    def __init__(
        self,
        memory: Memory,
        *,
        pruning: Pruning | None = Pruning(),  # noqa: B008  frozen
        generality: bool = False,
        predicates: Predicates | None = None,
        pamphlet: int = PAMPHLET,
    ) -> None:
        self.memory, self.pruning, self.generality = memory, pruning, generality
        self.predicates, self.pamphlet = dict(predicates or {}), pamphlet

    def load(self, key: str) -> Playbook:
        """Return the playbook of a key; an empty one where there is none.

        Raises:
            StoreError: if what is there is no playbook.
        """
        found = self.memory.get(PLAYBOOK, key)
        try:
            return Playbook() if found is None else Playbook.from_json(found)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StoreError(f"The playbook '{key}' in '{self.memory.path}' is damaged ({type(error).__name__}: {error}).") from error

    def history(self, key: str, **options: Any) -> LearningHistory:
        """Return how the last sessions of a key went.

        Args:
            key: the learning key.
            **options: of `learning_history`.
        """
        rows = [event.value for event in self.memory.events(SESSION, key=key, last=options.get("last", 10))]
        return learning_history([row.get("reward") for row in rows], [str(row.get("teacher_note", "")) for row in rows], **options)

    def observe(
        self,
        key: str,
        session: Mapping[str, Any],
        *,
        reward: float | None,
        hits: Mapping[str, bool],
        adopted: Sequence[str] = (),
        family: str = "",
        usage: Mapping[str, Mapping[str, float]] | None = None,
    ) -> tuple[Entry, ...]:
        """Write a session down, update the impact of the entries, and prune.

        Args:
            key: the learning key.
            session: what is kept of it.
            reward: its reward; without one no statistics change.
            hits: for the entries that were in use, whether their cue was found, by id.
            adopted: ids of those whose tool was used with success.
            family: of the task.
            usage: what every role used, to be added to the counters.

        Returns:
            The entries that were dropped.
        """
        with self.memory.transaction():
            book = self.load(key)
            self.memory.append(SESSION, dict(session), key=key)
            for role, amounts in (usage or {}).items():
                self.memory.add(USAGE, role, **amounts)
            impacts = dict(book.impacts)
            if reward is not None:
                for name, found in hits.items():
                    seen = impacts.get(name, Impact())
                    impacts[name] = seen.seen(reward, hit=found, adopted=name in adopted, family=family)
            entries, dropped = self._prune(book.entries, impacts)
            self.memory.put(PLAYBOOK, key, dataclasses.replace(book, entries=entries, impacts=impacts).to_json())
            for entry in dropped:
                self.memory.append(DROPPED, {"entry": entry.to_json(), "impact": impacts[entry.id].to_json()}, key=key)
        return dropped

    def _prune(self, entries: Sequence[Entry], impacts: Mapping[str, Impact]) -> tuple[tuple[Entry, ...], tuple[Entry, ...]]:
        kept, dropped = [], []
        for entry in entries:
            why = self.pruning.verdict(impacts.get(entry.id, Impact())) if self.pruning is not None and entry.active else ""
            kept.append(dataclasses.replace(entry, status="dropped", why=why) if why else entry)
            if why:
                dropped.append(kept[-1])
        return tuple(kept), tuple(dropped)

    def revise(
        self, key: str, proposal: Proposal, *, shown: Sequence[Entry] = (), tools: Sequence[str] = (), prefixes: Sequence[str] = ()
    ) -> Gated:
        """Let a proposal in: pamphlets and entries, or nothing of it.

        Entries that were shown to the synthesizer and not proposed again become deprecated; one that was dropped and is proposed again
        begins anew.

        Args:
            key: the learning key.
            proposal: what the synthesizer proposed.
            shown: entries that it was shown.
            tools: the tools that exist.
            prefixes: beginnings of further tools' names.

        Returns:
            What the gates let in; faults where the proposal is blocked, which is written down and leaves the pamphlets as they were.
        """
        gated = gate(proposal.entries, tools=tools, prefixes=prefixes, predicates=self.predicates, generality=self.generality)
        with self.memory.transaction():
            if gated.faults:
                self.memory.append(BLOCKED, {"faults": list(gated.faults)}, key=key)
                return gated
            book = self.load(key)
            born = self.memory.count(SESSION, key=key)
            known, impacts = {entry.id: entry for entry in book.entries}, dict(book.impacts)
            new = {entry.id: entry for entry in gated.entries}
            for entry in shown:
                if entry.id not in new and entry.id in known and known[entry.id].active:
                    known[entry.id] = dataclasses.replace(known[entry.id], status="deprecated", why="not proposed again")
            for name, entry in new.items():
                old = known.get(name)
                if old is None or old.status == "dropped":
                    impacts.pop(name, None)
                    known.pop(name, None)
                    known[name] = dataclasses.replace(entry, born=born)
                else:
                    known[name] = dataclasses.replace(entry, born=old.born)
            student, teacher = cut(proposal.student, self.pamphlet), cut(proposal.teacher, self.pamphlet)
            self.memory.put(PLAYBOOK, key, Playbook(student, teacher, tuple(known.values()), impacts).to_json())
        return gated

    def fail(self, key: str, what: str) -> None:
        """Write down that something could not be done."""
        self.memory.append(FAILURE, {"what": what[:2000]}, key=key)
