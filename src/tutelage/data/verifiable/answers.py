"""Verifying a final answer in a stated format, so that only a right answer earns the reward."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, get_args

from tutelage.errors import OptionError

Kind = Literal["auto", "integer", "number", "choice", "text"]
BOXED = "\\boxed"
MARKER = "####"
"""What stands before a final answer unless it is said otherwise, as in GSM8K."""
_SPACE = " \t\r\n"
_INTEGER = re.compile(r"[+-]?[0-9]+")
_DECIMAL = re.compile(r"([+-]?)(?:([0-9]+)|([0-9]{1,3}(?:,[0-9]{3})+))(?:\.([0-9]+))?")
_RATIO = re.compile(r"([+-]?)(?:([0-9]+)/([0-9]+)|\\[dt]?frac\{([0-9]+)\}\{([0-9]+)\})")
_CHOICE = re.compile(r"\(?([A-Za-z])\)?")


@dataclass(frozen=True)
class FinalAnswer:
    r"""A reward of 1 for a response that ends in the right answer, else 0.

    What follows the last marker, up to the end of the response, is the answer: it is one answer of the stated kind and nothing else. So a
    list of candidates, an answer followed by another, or talk after the answer earn nothing, and neither does the prompt said again. A
    response that the length limit cut off has no final answer. Numbers are compared exactly, as fractions; only ASCII digits are digits.
    Nothing of a response is ever evaluated, and no response makes this raise.

    Args:
        marker: text before the final answer; `"\boxed"` for the LaTeX form `\boxed{...}`; empty if the whole response is the answer.
        kind: "integer"; "number" for integers, decimals (thousands may have commas), `a/b` and `\frac{a}{b}`; "choice" for one letter,
            which may stand in parentheses; "text" for the same characters, spaces aside; "auto" for a number where the right answer is one,
            else text. Default "auto".
        longest: characters of an answer; a longer one is none. Default 200.

    Raises:
        OptionError: for an unknown kind, or a limit below 1.
    """

    marker: str = MARKER
    kind: Kind = "auto"
    longest: int = 200

    def __post_init__(self) -> None:
        """Refuse what no answer could fulfil."""
        if self.kind not in get_args(Kind):
            raise OptionError(f"kind is {self.kind!r}; expected one of {', '.join(get_args(Kind))}")
        if self.longest < 1:
            raise OptionError(f"longest is {self.longest}; expected at least 1 character")

    def __call__(self, response: str, row: Mapping[str, Any]) -> float:
        """Return the reward of a response.

        Args:
            response: what the model wrote, without its prompt.
            row: `answer`, and where they are known `prompt` and `finished` (false if the length limit cut the response off).

        Returns:
            1 or 0.
        """
        said = self.read(response, row)
        return float(said is not None and same(said, str(row["answer"]), self.kind))

    def read(self, response: str, row: Mapping[str, Any] | None = None) -> str | None:
        """Return the final answer that a response gives, or `None` if it gives none in the stated format.

        Args:
            response: what the model wrote.
            row: as for a call.
        """
        row = row or {}
        if not row.get("finished", True):
            return None
        prompt = row.get("prompt")
        if isinstance(prompt, str) and prompt:
            response = response.rpartition(prompt)[2]
        said = self._marked(response)
        if said is None or not 0 < len(said) <= self.longest:
            return None
        return said if value(said, self._kind_for(row)) is not None else None

    def _marked(self, response: str) -> str | None:
        if not self.marker:
            return response.strip(_SPACE)
        _, found, after = response.rpartition(self.marker)
        if not found:
            return None
        after = after.strip(_SPACE)
        return _braced(after) if self.marker == BOXED else after

    def _kind_for(self, row: Mapping[str, Any]) -> Kind:
        if self.kind != "auto":
            return self.kind
        return "number" if "answer" in row and value(str(row["answer"]), "number") is not None else "text"


def same(said: str, right: str, kind: Kind = "auto") -> bool:
    """Return whether two answers are the same one.

    Args:
        said: an answer.
        right: the right answer.
        kind: as for `FinalAnswer`; "auto" compares as numbers if `right` is one.
    """
    if kind == "auto":
        kind = "number" if value(right, "number") is not None else "text"
    expected = value(right, kind)
    return expected is not None and value(said, kind) == expected


def value(text: str, kind: Kind) -> Fraction | str | None:
    """Return what an answer means, or `None` if it is not of this kind.

    Args:
        text: an answer alone.
        kind: "integer", "number", "choice" or "text".
    """
    text = text.strip(_SPACE).removesuffix(".")
    if kind == "integer":
        return Fraction(int(text)) if _INTEGER.fullmatch(text) and len(text) <= 1000 else None
    if kind == "number":
        return _number(text)
    if kind == "choice":
        letter = _CHOICE.fullmatch(text)
        return letter[1].upper() if letter else None
    return re.sub(f"[{_SPACE}]+", " ", text) or None


def _number(text: str) -> Fraction | None:
    text = text.removeprefix("$").removesuffix("$").strip(_SPACE)
    if len(text) > 1000:
        return None
    found = _DECIMAL.fullmatch(text)
    if found:
        sign, plain, grouped, digits = found.groups()
        whole = plain or grouped.replace(",", "")
        number = Fraction(int(whole + (digits or "")), 10 ** len(digits or ""))
        return -number if sign == "-" else number
    found = _RATIO.fullmatch(text)
    if found is None:
        return None
    above, below = int(found[2] or found[4]), int(found[3] or found[5])
    if below == 0:
        return None
    return Fraction(-above if found[1] == "-" else above, below)


def _braced(text: str) -> str | None:
    """Return what stands between `{` at the start and its `}`, after which only a dollar sign and a full stop may come."""
    if not text.startswith("{"):
        return None
    depth = 0
    for position, character in enumerate(text):
        depth += (character == "{") - (character == "}")
        if depth == 0:
            rest = text[position + 1 :].strip(_SPACE)
            return text[1:position].strip(_SPACE) if rest in ("", ".", "$", "$.", ".$", "\\)", "\\).", "\\]") else None
    return None
