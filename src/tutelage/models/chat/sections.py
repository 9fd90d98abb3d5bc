"""Prompts made of named sections, and JSON found in replies: how programs and models talk without being taken in by what they quote."""

from __future__ import annotations

import json
import re
from typing import Any

LONGEST = 100_000
"""Characters of a reply that are looked at."""
_HEADING = re.compile(r"^(\\*)## ", re.MULTILINE)
_ESCAPED = re.compile(r"^\\(\\*## )", re.MULTILINE)


def assemble(**sections: str) -> str:
    """Return a prompt of sections under headings; empty ones are left out.

    Lines of a section that look like a heading are escaped with a backslash, so that a quoted text cannot begin a section.

    Args:
        **sections: text by name; underscores become blanks in the heading.
    """
    parts = [f"## {name.replace('_', ' ')}\n{_HEADING.sub(_escape, text)}" for name, text in sections.items() if text]
    return "\n\n".join(parts)


def _escape(heading: re.Match[str]) -> str:
    return f"\\{heading[0]}"


def sections(prompt: str) -> dict[str, str]:
    """Take a prompt apart that `assemble` made.

    Args:
        prompt: the prompt; what stands before the first heading is left out.

    Returns:
        Text by name, with underscores for blanks.
    """
    found: dict[str, str] = {}
    for part in re.split(r"(?:^|\n\n)(?=## )", prompt):
        name, newline, text = part.removeprefix("## ").partition("\n")
        if part.startswith("## ") and newline:
            found[name.replace(" ", "_")] = _ESCAPED.sub(r"\1", text)
    return found


def first_object(reply: str, *, having: str | None = None) -> dict[str, Any] | None:
    """Return the first JSON object in a reply, wherever it stands: alone, in a fence, or between words.

    Args:
        reply: what a model said; only the first 100,000 characters are looked at, and at most 200 places in them.
        having: a key that the object must have.

    Returns:
        The object, or `None` where there is none. It is data of unknown shape: check every value.
    """
    reply = reply[:LONGEST]
    decoder = json.JSONDecoder(parse_constant=_refuse)
    place, tries = reply.find("{"), 0
    while place >= 0 and tries < 200:
        try:
            value, end = decoder.raw_decode(reply, place)
        except (ValueError, RecursionError):
            end = place + 1
        else:
            if isinstance(value, dict) and (having is None or having in value):
                return value
            end = place + 1
        place, tries = reply.find("{", end), tries + 1
    return None


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no JSON")


def number(value: Any, low: float, high: float) -> float | None:
    """Return a value of JSON as a number within bounds, or `None` where it is none: no text, no truth value, not out of range."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        return None
    return float(value)


def text(value: Any, longest: int) -> str:
    """Return a value of JSON as a text of at most so many characters; empty where it is no text."""
    return value.strip()[:longest] if isinstance(value, str) else ""
