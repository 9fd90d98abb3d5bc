"""Entry gates: what a synthesizer proposed is let into a playbook only if it can be acted on and found again; and how good it is."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tutelage.errors import OptionError
from tutelage.selection.bounded_regex import LONGEST_TEXT, PatternError, compile_pattern
from tutelage.targets.playbook import CUE_KINDS, Cue, Entry

Predicates = Mapping[str, Callable[[str], bool]]
"""Functions of the user that a cue may name; a model never brings one."""

HOOKABILITY = {"regex": 1.0, "predicate": 0.6, "keyword": 0.4}
"""How well a cue is found again, by its kind."""
CONCISE = 420
"""Characters up to which an entry is concise."""
_PARTICULAR = re.compile(
    r"\b(?:incident|ticket|case|postmortem)s?\b"
    r"|\b(?:inc|cve|tkt)-?\d{2,}|#\d{2,}"
    r"|\b\d{4}-\d{2}-\d{2}\b|\b\d{1,2}/\d{1,2}/\d{2,4}\b"
    r"|(?:^|\s)(?:[a-z]:\\|\.{0,2}/)[\w.-]+[/\\]",
    re.IGNORECASE,
)


def cue_fault(cue: Cue, predicates: Predicates | None = None) -> str:
    """Return what is wrong with a cue; empty where nothing is.

    Args:
        cue: the cue.
        predicates: functions that a cue may name; `None` takes any name that is not empty.
    """
    if cue.kind not in CUE_KINDS:
        return f"a cue of the kind {cue.kind!r}"
    if not cue.pattern.strip():
        return "an empty cue"
    if cue.kind == "regex":
        try:
            compile_pattern(cue.pattern)
        except PatternError as error:
            return f"a cue that does not compile: {error}"
    if cue.kind == "predicate" and predicates is not None and cue.pattern not in predicates:
        return f"a predicate {cue.pattern!r} that does not exist"
    return ""


def action_fault(entry: Entry, tools: Sequence[str], prefixes: Sequence[str] = ()) -> str:
    """Return what keeps an entry from being acted on; empty where nothing does.

    Args:
        entry: the entry.
        tools: the tools that exist; where there are none, and no prefixes, no handle is asked for.
        prefixes: beginnings of further tools' names.
    """
    if not entry.imperative.strip():
        return "no imperative"
    known = entry.handle in tools or any(entry.handle.startswith(prefix) for prefix in prefixes if entry.handle)
    return "" if known or not (tools or prefixes) else f"a handle {entry.handle!r} that is no tool"


def particulars(entry: Entry) -> str:
    """Return what an entry names that belongs to one case: incidents, tickets, dates, file paths; empty where there is nothing."""
    found = _PARTICULAR.search(f"{entry.cue.pattern[:LONGEST_TEXT]}\n{entry.imperative[:LONGEST_TEXT]}")
    return found[0].strip() if found else ""


@dataclass(frozen=True)
class Gated:
    """What the gates made of a set of candidates.

    Args:
        entries: the candidates, marked validated or provisional; none where the set is blocked.
        faults: why it is blocked, one sentence per fault.
    """

    entries: tuple[Entry, ...]
    faults: tuple[str, ...] = ()


def gate(
    candidates: Iterable[Entry],
    *,
    tools: Sequence[str] = (),
    prefixes: Sequence[str] = (),
    predicates: Predicates | None = None,
    generality: bool = False,
) -> Gated:
    """Let candidates in, or block the whole set.

    Args:
        candidates: what was proposed.
        tools: the tools that exist.
        prefixes: beginnings of further tools' names.
        predicates: functions that a cue may name.
        generality: mark entries that name particulars as provisional; off, because pruning finds them out (as in the published code).

    Returns:
        The marked entries; nothing, and the faults, if one of them cannot be acted on or found again.
    """
    entries, faults = [], []
    for place, entry in enumerate(candidates):
        for fault in (action_fault(entry, tools, prefixes), cue_fault(entry.cue, predicates)):
            if fault:
                faults.append(f"Entry {place} has {fault}.")
        named = particulars(entry) if generality else ""
        marked = dataclasses.replace(entry, status="provisional" if named else "validated", why=f"names '{named}'" if named else "")
        entries.append(marked)
    return Gated((), tuple(faults)) if faults else Gated(tuple(entries))


def rubric(entry: Entry, tools: Sequence[str] = (), prefixes: Sequence[str] = (), predicates: Predicates | None = None) -> float:
    """Return how good an entry is, in [0, 1].

    Args:
        entry: the entry.
        tools: the tools that exist.
        prefixes: beginnings of further tools' names.
        predicates: functions that a cue may name.

    Returns:
        0.4 actionability + 0.3 generality + 0.2 hookability + 0.1 concision. Concision is 1 up to 420 characters of imperative and cue,
        then it falls by the overflow divided by 420, not below 0.

    Source: the published code of arXiv 2511.01093.
    """
    actionable = not action_fault(entry, tools, prefixes)
    hookability = 0.0 if cue_fault(entry.cue, predicates) else HOOKABILITY[entry.cue.kind]
    length = len(entry.imperative) + len(entry.cue.pattern)
    concision = max(0.0, 1.0 - max(0, length - CONCISE) / CONCISE)
    return 0.4 * actionable + 0.3 * (not particulars(entry)) + 0.2 * hookability + 0.1 * concision


def hit(cue: Cue, text: str, predicates: Predicates | None = None) -> bool:
    """Return whether a cue is found in a text; one that is faulty is not.

    Args:
        cue: the cue.
        text: task and steps; the first 4,000 characters are looked at.
        predicates: functions that a cue may name.

    Raises:
        OptionError: if a predicate of the user fails.
    """
    if cue_fault(cue, predicates or {}):
        return False
    text = text[:LONGEST_TEXT]
    if cue.kind == "regex":
        return compile_pattern(cue.pattern).found(text)
    if cue.kind == "keyword":
        return cue.pattern.casefold() in text.casefold()
    try:
        return bool((predicates or {})[cue.pattern](text))
    except Exception as error:
        raise OptionError(f"The predicate '{cue.pattern}' failed ({type(error).__name__}: {error}).") from error
