"""Making text that a model said safe to show."""

from __future__ import annotations

import unicodedata

_UNSAFE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Unicode categories that can move the cursor, reorder or hide what stands beside them, or cannot be encoded."""


def printable(text: str, limit: int | None = None) -> str:
    r"""Return text with everything that could steer a terminal written out.

    Control characters (also escape sequences and the C1 set), marks that reverse or hide text, lone surrogates and unassigned
    characters become `\x1b` or `\u202e`; line ends and tabs stay. Rich's markup is another matter: print with `markup=False`.

    Args:
        text: anything a model or a server said.
        limit: longest result in characters; what is longer is cut and ends in `…`. `None` cuts nothing.

    Returns:
        The text, safe to print.
    """
    shown = "".join(c if c in "\n\t" or unicodedata.category(c) not in _UNSAFE else _written(c) for c in text[: limit and 4 * limit])
    return shown if limit is None or (len(shown) <= limit and len(text) <= 4 * limit) else shown[: max(limit - 1, 0)] + "…"


def _written(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
