"""Working out a written sum of a model without evaluating it as code: four operations, parentheses and whole numbers, within limits."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

_TOKEN = re.compile(r" *(?:([0-9]{1,12})|([-+*/()]))")
_LONGEST = 200
_DEEPEST = 20


def work_out(text: str) -> tuple[Fraction, list[int]] | None:
    """Return the value of an arithmetic expression and the numbers written in it.

    Args:
        text: whole numbers, `+ - * /`, parentheses and spaces; at most 200 characters and 20 parentheses deep.

    Returns:
        The exact value and the numbers in their order; `None` for anything else, a division by zero included.
    """
    tokens = _tokens(text)
    if tokens is None:
        return None
    reader = _Reader(tokens)
    try:
        result = reader.sum(0)
    except (_Unreadable, ZeroDivisionError):
        return None
    return (result, [t for t in tokens if isinstance(t, int)]) if reader.done else None


def reaches(text: str, numbers: Sequence[int], target: int) -> bool:
    """Return whether an expression uses exactly the given numbers, each once, and equals the target.

    Args:
        text: the expression, without an equals sign.
        numbers: what may be used.
        target: what it must come to.
    """
    found = work_out(text)
    return found is not None and found[0] == target and Counter(found[1]) == Counter(numbers)


class _Unreadable(Exception):
    """What stands there is no expression."""


class _Reader:
    """Reads tokens from left to right: sums of products of numbers, parentheses and signs."""

    def __init__(self, tokens: list[int | str]) -> None:
        self.tokens, self.place = tokens, 0

    @property
    def done(self) -> bool:
        return self.place == len(self.tokens)

    def take(self, among: str) -> str | None:
        if self.done or not isinstance(self.tokens[self.place], str) or str(self.tokens[self.place]) not in among:
            return None
        self.place += 1
        return str(self.tokens[self.place - 1])

    def sum(self, depth: int) -> Fraction:
        total = self.product(depth)
        while sign := self.take("+-"):
            term = self.product(depth)
            total = total + term if sign == "+" else total - term
        return total

    def product(self, depth: int) -> Fraction:
        total = self.factor(depth)
        while sign := self.take("*/"):
            factor = self.factor(depth)
            total = total * factor if sign == "*" else total / factor
        return total

    def factor(self, depth: int) -> Fraction:
        if depth > _DEEPEST or self.done:
            raise _Unreadable
        if self.take("-"):
            return -self.factor(depth + 1)
        if self.take("("):
            inner = self.sum(depth + 1)
            if not self.take(")"):
                raise _Unreadable
            return inner
        token = self.tokens[self.place]
        if not isinstance(token, int):
            raise _Unreadable
        self.place += 1
        return Fraction(token)


def _tokens(text: str) -> list[int | str] | None:
    if len(text) > _LONGEST:
        return None
    found: list[int | str] = []
    place, text = 0, text.strip(" ")
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            return None
        # Two numbers in a row, as in 12 digits and more, are no expression: the reader refuses them.
        found.append(int(match[1]) if match[1] else match[2])
        place = match.end()
    return found or None
