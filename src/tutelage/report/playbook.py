"""The report of a student under supervision: what was taught, when, at what cost, and whether it helped."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from tutelage.errors import OptionError
from tutelage.models.chat.text import printable
from tutelage.report.report import Report
from tutelage.selection.impact import Impact
from tutelage.selection.learning_memory import BLOCKED, DROPPED, FAILURE, SESSION, USAGE

if TYPE_CHECKING:
    from tutelage.selection.learning_memory import LearningMemory
    from tutelage.store.memory import Event
    from tutelage.targets.playbook import Entry

_WINDOW = 10  # sessions of a moving mean
_SHOWN = 40  # entries that are told one by one


def playbook_report(memory: LearningMemory, key: str) -> Report:
    """Return the report of one learning key.

    Lanes are arms with their sessions, mean reward and tokens; curves follow reward, tokens and lanes over the sessions; a note per entry
    says when it was written, what it says, how often it was found and used, and what rewards were with and without it.

    Args:
        memory: the memory.
        key: the learning key.

    Returns:
        The report. Tokens per session are those of student, teacher, probe and judges; the synthesizer's are in the arm of its role. The
        arms of roles count all keys of the file together.

    Raises:
        OptionError: if there is no session under this key.
    """
    events = memory.memory.events(SESSION, key=key)
    if not events:
        raise OptionError(f"The memory '{memory.memory.path}' has no session under the key '{key}'.")
    rows = [event.value for event in events]
    report = Report("atlas", f"What was taught under '{printable(key, 60)}', and whether it helped", (0,))
    for lane in sorted({row["lane"] for row in rows}):
        some = [row for row in rows if row["lane"] == lane]
        report.add(f"lane {lane}", 0, sessions=len(some), **{name: value for name, value in _means(some).items() if value is not None})
    for role, amounts in memory.memory.counters(USAGE).items():
        report.add(role, 0, calls=amounts["calls"], tokens=amounts["prompt_tokens"] + amounts["completion_tokens"], cost=amounts["cost"])
    _curves(report, rows)
    _checks(report, rows)
    _taught(report, memory, key, events)
    return report


def tokens_of(row: dict[str, Any]) -> float:
    """Return the tokens of one session."""
    return float(sum(row["tokens"].values()))


def _means(rows: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    rewards = [row["reward"] for row in rows if row["reward"] is not None]
    return {
        "mean reward": fmean(rewards) if rewards else None,
        "tokens per session": fmean(map(tokens_of, rows)),
        "cost per session": fmean(row["cost"] for row in rows),
    }


def _curves(report: Report, rows: Sequence[dict[str, Any]]) -> None:
    places = range(1, len(rows) + 1)

    def moving(values: Sequence[float | None]) -> list[float]:
        found, last = [], 0.0
        for end in places:
            known = [value for value in values[max(0, end - _WINDOW) : end] if value is not None]
            last = fmean(known) if known else last
            found.append(last)
        return found

    report.curve("Reward", places, {"reward": moving([row["reward"] for row in rows])}, "session", f"mean of the last {_WINDOW}")
    report.curve(
        "Tokens per session", places, {"tokens": moving([tokens_of(row) for row in rows])}, "session", f"mean of the last {_WINDOW}"
    )
    lanes = sorted({row["lane"] for row in rows})
    report.curve("Lanes", places, {lane: moving([float(row["lane"] == lane) for row in rows]) for lane in lanes}, "session", "share")


def _checks(report: Report, rows: Sequence[dict[str, Any]]) -> None:
    third = len(rows) // 3
    if third < 3:
        report.note("Fewer than nine sessions: too few to say whether it helped.")
        return
    first, last = _means(rows[:third]), _means(rows[-third:])
    then, now = first["mean reward"], last["mean reward"]
    if then is not None and now is not None:
        report.check(f"Rewards of the last {third} sessions are higher than those of the first (difference).", [now - then], at_least=1e-9)
    before, after = first["tokens per session"] or 0.0, last["tokens per session"] or 0.0
    if before > 0:
        report.check(f"The last {third} sessions take fewer tokens than the first (share saved).", [1 - after / before], at_least=1e-9)


def _taught(report: Report, memory: LearningMemory, key: str, events: Sequence[Event]) -> None:
    book = memory.load(key)
    for entry in book.entries[-_SHOWN:]:
        report.note(sentence(entry, book.impacts.get(entry.id, Impact()), events))
    if len(book.entries) > _SHOWN:
        report.note(f"{len(book.entries) - _SHOWN} older entries are in the memory.")
    if book.student:
        report.note(f"The student's pamphlet: {printable(book.student)}")
    blocked, failed = memory.memory.count(BLOCKED, key=key), memory.memory.count(FAILURE, key=key)
    dropped = memory.memory.count(DROPPED, key=key)
    report.note(f"Proposals blocked by the gates: {blocked}. Entries dropped: {dropped}. Failures written down: {failed}.")


def sentence(entry: Entry, impact: Impact, events: Sequence[Event] = ()) -> str:
    """Return what there is to say of one entry, safe to print.

    Args:
        entry: the entry.
        impact: what was seen of it.
        events: the sessions of its key, for the date on which it was written; none to leave the date out.
    """
    place = entry.born - 1
    when = f", {time.strftime('%Y-%m-%d %H:%M', time.gmtime(events[place].time))} UTC" if 0 <= place < len(events) else ""
    handle = f" with {entry.handle}" if entry.handle else ""
    words = f"After session {entry.born}{when}: '{entry.imperative}'{handle}, when {entry.cue.kind} '{entry.cue.pattern}' is found."
    seen = f" Found in {impact.hits} of {impact.sessions} sessions, used with success in {impact.adoptions}."
    without = impact.sessions - impact.hits
    parts = [f"{impact.reward_with / impact.hits:.2f} with it"] if impact.hits else []
    parts += [f"{impact.reward_without / without:.2f} without"] if without else []
    rewards = f" Mean reward {', '.join(parts)}." if parts else ""
    status = f" {entry.status.capitalize()}{f': {entry.why}' if entry.why else ''}."
    return printable(words + seen + rewards + status, 1000)
