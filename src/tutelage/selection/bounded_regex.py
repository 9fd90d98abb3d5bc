"""Regular expressions that a model wrote, matched in time that is linear in the text whatever the expression is.

Python's own `re` backtracks: an expression such as `(a+)+$` can keep it busy for years, and nothing can interrupt it. Here an expression of
limited length is turned into an automaton of limited size, and a text of limited length is read once, all states at a time.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, field

LONGEST_PATTERN = 200
"""Most characters of an expression."""
LONGEST_TEXT = 4000
"""Characters of a text that are looked at."""
MOST_STATES = 400
"""Most states of the automaton; counted repeats such as `a{30}` are copied."""

Test = Callable[[str], bool]
_MATCH, _READ, _SPLIT, _ASSERT = range(4)
_CLASSES: dict[str, Test] = {"d": str.isdecimal, "s": str.isspace, "w": lambda c: c.isalnum() or c == "_"}
_CLASSES |= {kind.upper(): functools.partial(lambda test, c: not test(c), test) for kind, test in _CLASSES.items()}
_CHARACTERS = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v"}
_COUNTS = re.compile(r"\{(\d*)(,?)(\d*)\}")
_GROUP = re.compile(r"\?(?::|P<[A-Za-z_]\w*>)")

Tree = tuple[object, ...]
"""A node of a parsed expression: its kind and its parts."""


class PatternError(ValueError):
    """An expression that is not understood, or too large."""


class _Parser:
    """Reads the common part of Python's syntax: characters, classes, groups, alternatives, repeats, anchors and word ends."""

    def __init__(self, pattern: str) -> None:
        self.pattern, self.place, self.depth = pattern, 0, 0

    def whole(self) -> Tree:
        tree = self._either()
        if self.place < len(self.pattern):
            raise PatternError(f"unbalanced ')' at {self.place}")
        return tree

    def _next(self) -> str:
        return self.pattern[self.place : self.place + 1]

    def _take(self) -> str:
        character = self._next()
        if not character:
            raise PatternError("it ends too early")
        self.place += 1
        return character

    def _either(self) -> Tree:
        branches = [self._sequence()]
        while self._next() == "|":
            self.place += 1
            branches.append(self._sequence())
        return branches[0] if len(branches) == 1 else ("either", *branches)

    def _sequence(self) -> Tree:
        parts: list[Tree] = []
        while self._next() not in ("", "|", ")"):
            parts.append(self._repeat(self._atom()))
        return ("sequence", *parts)

    def _repeat(self, atom: Tree) -> Tree:
        counts = _COUNTS.match(self.pattern, self.place)
        if self._next() in ("*", "+", "?"):
            low, high = {"*": (0, None), "+": (1, None), "?": (0, 1)}[self._take()]
        elif counts and (counts[1] or counts[2]):
            self.place = counts.end()
            low = int(counts[1] or 0)
            high = (int(counts[3]) if counts[3] else None) if counts[2] else low
        else:
            return atom
        if (high is not None and not low <= high <= MOST_STATES) or low > MOST_STATES:
            raise PatternError(f"a repeat of {low} to {high}")
        if self._next() == "?":  # lazy: it finds the same texts
            self.place += 1
        if atom[0] == "assert" or self._next() in ("*", "+", "?"):
            raise PatternError(f"nothing to repeat at {self.place}")
        return ("repeat", atom, low, high)

    def _atom(self) -> Tree:
        character = self._take()
        if character == "(":
            return self._group()
        if character == "[":
            return self._set()
        if character == "\\":
            return self._escape(self._take())
        if character == ".":
            return ("read", lambda c: c != "\n")
        if character in "^$":
            return ("assert", character)
        if character in "*+?":
            raise PatternError(f"nothing to repeat at {self.place - 1}")
        return ("read", _same(character))

    def _group(self) -> Tree:
        self.depth += 1
        if self.depth > 20:
            raise PatternError("groups in groups in groups")
        if self._next() == "?":
            found = _GROUP.match(self.pattern, self.place)
            if not found:
                raise PatternError(f"a group '(?{self.pattern[self.place + 1 : self.place + 3]}' (look-around, flags, conditions)")
            self.place = found.end()
        tree = self._either()
        if self._take() != ")":
            raise PatternError("a missing ')'")
        self.depth -= 1
        return tree

    def _escape(self, kind: str) -> Tree:
        if kind in _CLASSES:
            return ("read", _CLASSES[kind])
        if kind in "bBAZ":
            return ("assert", kind)
        return ("read", _same(self._escaped(kind)))

    def _escaped(self, kind: str) -> str:
        if kind in _CHARACTERS:
            return _CHARACTERS[kind]
        if kind in "xu":
            digits = self.pattern[self.place : self.place + (2 if kind == "x" else 4)]
            if not re.fullmatch(r"[0-9a-fA-F]{2}|[0-9a-fA-F]{4}", digits) or len(digits) != (2 if kind == "x" else 4):
                raise PatternError(f"an incomplete escape '\\{kind}'")
            self.place += len(digits)
            return chr(int(digits, 16))
        if kind.isalnum():
            raise PatternError(f"the escape '\\{kind}' (back-references and others)")
        return kind

    def _set(self) -> Tree:
        negative = self._next() == "^"
        self.place += negative
        tests: list[Test] = []
        while (character := self._take()) != "]" or not tests:
            if character == "\\" and self._next() in _CLASSES:
                tests.append(_CLASSES[self._take()])
                continue
            first = self._member(character)
            if self._next() == "-" and self.pattern[self.place + 1 : self.place + 2] not in ("]", ""):
                self.place += 1
                last = self._member(self._take())
                if last < first:
                    raise PatternError(f"the range '{first}-{last}'")
                tests.append(functools.partial(_between, first, last))
            else:
                tests.append(_same(first))
        return ("read", lambda c: any(test(c) for test in tests) != negative)

    def _member(self, character: str) -> str:
        if character != "\\":
            return character
        kind = self._take()
        return "\b" if kind == "b" else self._escaped(kind)


def _same(character: str) -> Test:
    lower, upper = character.lower(), character.upper()
    return lambda c: c in (character, lower, upper)


def _between(first: str, last: str, c: str) -> bool:
    return any(first <= form <= last for form in {c, c.lower(), c.upper()} if len(form) == 1)


def _word(character: str) -> bool:
    return character.isalnum() or character == "_"


def _holds(kind: str, before: str, after: str, ends: bool) -> bool:
    if kind in "^A":
        return not before
    if kind == "Z":
        return not after
    if kind == "$":
        return ends
    at_word_end = (bool(before) and _word(before)) != (bool(after) and _word(after))
    return at_word_end == (kind == "b")


@dataclass
class BoundedRegex:
    """A regular expression without regard to case, found anywhere in a text; `compile_pattern` makes it.

    Args:
        program: states: what each reads or asserts, and where it leads.
        start: the first state.
    """

    program: list[tuple[int, object, tuple[int, ...]]]
    start: int
    _known: dict[tuple[frozenset[int], str, str, bool], tuple[frozenset[int], bool]] = field(default_factory=dict, repr=False)

    def found(self, text: str) -> bool:
        """Return whether the expression is found in the first 4,000 characters of a text."""
        text = text[:LONGEST_TEXT]
        states: frozenset[int] = frozenset()
        before = ""
        for place in range(len(text) + 1):
            after = text[place : place + 1]
            key = (states, before, after, not after or (after == "\n" and place == len(text) - 1))
            if key not in self._known:
                if len(self._known) > 5000:
                    self._known.clear()
                self._known[key] = self._move(*key)
            states, matched = self._known[key]
            if matched:
                return True
            before = after
        return False

    def _move(self, states: frozenset[int], before: str, after: str, ends: bool) -> tuple[frozenset[int], bool]:
        """Follow everything that needs no character, then read one; say whether the end was reached before that."""
        todo, seen, onward = [self.start, *states], set[int](), set[int]()
        while todo:
            state = todo.pop()
            if state in seen:
                continue
            seen.add(state)
            kind, what, leads = self.program[state]
            if kind == _MATCH:
                return frozenset(), True
            if kind == _SPLIT or (kind == _ASSERT and _holds(str(what), before, after, ends)):
                todo.extend(leads)
            elif kind == _READ and after and what(after):  # type: ignore[operator]
                onward.update(leads)
        return frozenset(onward), False


class _Builder:
    """Turns a tree into states, from the last to the first."""

    def __init__(self) -> None:
        self.program: list[tuple[int, object, tuple[int, ...]]] = []
        self.parts = 0

    def state(self, kind: int, what: object, *leads: int) -> int:
        if len(self.program) >= MOST_STATES:
            raise PatternError(f"more than {MOST_STATES} states")
        self.program.append((kind, what, leads))
        return len(self.program) - 1

    def build(self, tree: Tree, after: int) -> int:
        kind, *parts = tree
        self.parts += 1
        if self.parts > 10 * MOST_STATES:  # repeats of nothing make no states
            raise PatternError("too many repeats")
        if kind == "read":
            return self.state(_READ, parts[0], after)
        if kind == "assert":
            return self.state(_ASSERT, parts[0], after)
        if kind == "sequence":
            for part in reversed(parts):
                after = self.build(part, after)  # type: ignore[arg-type]
            return after
        if kind == "either":
            return self.state(_SPLIT, None, *(self.build(part, after) for part in parts))  # type: ignore[arg-type]
        atom, low, high = parts
        if high is None:
            again = self.state(_SPLIT, None, after)
            self.program[again] = (_SPLIT, None, (self.build(atom, again), after))  # type: ignore[arg-type]
            after = again
        else:
            last = after
            for _ in range(high - low):  # type: ignore[operator]
                after = self.state(_SPLIT, None, self.build(atom, after), last)  # type: ignore[arg-type]
        for _ in range(low):  # type: ignore[call-overload]
            after = self.build(atom, after)  # type: ignore[arg-type]
        return after


@functools.lru_cache(maxsize=1024)
def compile_pattern(pattern: str) -> BoundedRegex:
    r"""Turn a regular expression into an automaton.

    Characters, `.`, `[classes]`, `\d \w \s \b` and their opposites, groups (also `(?:...)` and named ones), `|`, `* + ?` and `{m,n}`
    (lazy or not), `^`, `$`, `\A`, `\Z` are understood as by Python's `re` with case ignored. Back-references, look-around, flags and
    possessive repeats are refused.

    Args:
        pattern: the expression, at most 200 characters.

    Returns:
        The automaton, at most 400 states.

    Raises:
        PatternError: if it is empty, too long or not understood.
    """
    if not pattern.strip() or len(pattern) > LONGEST_PATTERN:
        raise PatternError(f"an expression of {len(pattern)} characters; expected 1 to {LONGEST_PATTERN}")
    builder = _Builder()
    try:
        start = builder.build(_Parser(pattern).whole(), builder.state(_MATCH, None))
    except PatternError as error:
        raise PatternError(f"{error} is not understood in the expression {pattern!r}") from None
    return BoundedRegex(builder.program, start)
