"""Sums in steps: questions made here, each with its trace and the one right answer."""

from __future__ import annotations

import numpy as np

from tutelage.data.arrays import Arrays
from tutelage.errors import OptionError

MARKER = "#"
"""What stands before the final answer of a trace."""
CHARACTERS = "0123456789+-*=,#"
"""All characters of prompts and traces."""


def chain_sums(
    count: int,
    *,
    terms: int = 3,
    digits: int = 2,
    modulus: int | None = 100,
    operators: str = "+",
    padded: bool = False,
    brief: bool = False,
    seed: int = 0,
) -> Arrays:
    """Make different sums, such as `37+85+46=` with the trace `37+85=22,22+46=68#68` for modulus 100.

    Args:
        count: questions.
        terms: numbers in a sum, at least 2.
        digits: of the largest number, at least 1.
        modulus: each step's result is taken modulo this; `None` for plain integers.
        operators: of which one is drawn for each step, among "+-*"; steps are worked out from the left.
        padded: write every number with all its digits (`07`), zeros in front. Default no.
        brief: write only the result of each step into the trace: `22,68#68`. Default no.
        seed: of the questions, at least 0.

    Returns:
        Columns `input` (the prompt), `answer` and `solution` (a trace that ends in the answer, for learning from), in random order.

    Raises:
        OptionError: for options out of range, or more questions than there are.
    """
    if count < 1 or terms < 2 or digits < 1 or (modulus is not None and modulus < 2) or not operators or set(operators) - set("+-*"):
        raise OptionError(
            f"count={count}, terms={terms}, digits={digits}, modulus={modulus}, operators={operators!r}: expected a count of at least 1, "
            "two terms, one digit, a modulus of at least 2 or none, and operators among '+-*'"
        )
    possible = 10 ** (digits * terms) * len(set(operators)) ** (terms - 1)
    if count > possible:
        raise OptionError(f"count is {count}, but there are only {possible} different sums of {terms} numbers with {digits} digits")
    random = np.random.default_rng(np.random.SeedSequence((seed, terms, digits)))
    width = digits if padded else 1
    found: dict[str, tuple[str, str]] = {}
    while len(found) < count:
        numbers = random.integers(0, 10**digits, terms).tolist()
        signs = [operators[i] for i in random.integers(0, len(operators), terms - 1)]
        prompt = f"{numbers[0]:0{width}d}" + "".join(f"{s}{n:0{width}d}" for s, n in zip(signs, numbers[1:], strict=True)) + "="
        found.setdefault(prompt, _solved(numbers, signs, modulus, width, brief))
    answers, traces = zip(*found.values(), strict=True)
    return Arrays({"input": list(found), "answer": list(answers), "solution": list(traces)}, name="chain-sums")


def _solved(numbers: list[int], signs: list[str], modulus: int | None, width: int, brief: bool) -> tuple[str, str]:
    """Return the answer and the trace."""
    total, steps = numbers[0], []
    for sign, number in zip(signs, numbers[1:], strict=True):
        result = total + number if sign == "+" else total - number if sign == "-" else total * number
        result = result if modulus is None else result % modulus
        written = f"{result:0{width}d}"
        steps.append(written if brief else f"{total:0{width}d}{sign}{number:0{width}d}={written}")
        total = result
    return f"{total:0{width}d}", ",".join(steps) + f"{MARKER}{total:0{width}d}"
