"""Templates that make prompts of rows, and the rule that makes classes of replies."""

from __future__ import annotations

import re
import string
from collections.abc import Mapping, Sequence
from typing import Any

from tutelage.errors import OptionError, nearest


def names_in(template: str) -> list[str]:
    """Return the names between braces in a template.

    Args:
        template: text with `{name}` for a column; `{{` and `}}` are braces.

    Returns:
        The names, in their order.

    Raises:
        OptionError: if anything but a plain name stands between braces: what a template says is never evaluated.
    """
    try:
        fields = list(string.Formatter().parse(template))
    except ValueError as error:
        raise OptionError(f"The prompt template {template!r} does not read ({error}). Write a brace itself twice: {{{{ or }}}}.") from None
    for _, name, spec, conversion in fields:
        if name is not None and (not name.isidentifier() or spec or conversion):
            raise OptionError(f"The prompt template has '{{{name}}}': expected a plain name such as {{input}}. Write a brace itself twice.")
    return [name for _, name, _, _ in fields if name is not None]


def fill(template: str, values: Mapping[str, Any]) -> str:
    """Put values into a template; what stands in a value is text, also if it has braces.

    Args:
        template: see `names_in`.
        values: name to value.

    Returns:
        The text.

    Raises:
        OptionError: for a template that does not read, or a name without a value.
    """
    for name in names_in(template):
        if name not in values:
            raise OptionError(f"The prompt template asks for '{{{name}}}', which is no column of the data.{nearest(name, values)}")
    return "".join(text + ("" if name is None else str(values[name])) for text, name, _, _ in string.Formatter().parse(template))


def match(text: str, choices: Sequence[str]) -> int | None:
    """Return which choice a reply names.

    The last line that names any choice counts, as whole words, whatever their case; a name inside a longer name that is also there
    does not count by itself. If that line names one choice it is meant; if it names several, or no line names any, there is none. So ask
    for the name alone: "not spam" names "spam", unless "not spam" is a choice too.

    Args:
        text: the reply.
        choices: names of the classes.

    Returns:
        Position of the choice, or `None`.
    """
    order = sorted(range(len(choices)), key=lambda i: -len(choices[i]))
    words = {i: re.compile(rf"(?<!\w){_loose(choices[i])}(?!\w)", re.IGNORECASE) for i in order}
    for line in reversed(text.splitlines()):
        named, rest = set(), line
        for i in order:
            rest, count = words[i].subn("\0", rest)
            named |= {i} if count else set()
        if named:
            return named.pop() if len(named) == 1 else None
    return None


def different(choices: Sequence[str]) -> bool:
    """Return whether there are two or more names, none empty, that `match` can tell apart."""
    patterns = {_loose(choice).casefold() for choice in choices}
    return 1 < len(patterns) == len(choices) and "" not in choices


def _loose(name: str) -> str:
    """Return a pattern of a name in which spaces, underscores and hyphens stand for each other."""
    return r"[\s_-]+".join(re.escape(part) for part in re.split(r"[\s_-]+", name))


class Row(str):
    """A text that remembers the other columns of its row; everywhere else it is the text."""

    columns: Mapping[str, Any]

    @classmethod
    def of(cls, text: str, columns: Mapping[str, Any]) -> Row:
        """Return the text with its columns."""
        row = cls(text)
        row.columns = columns
        return row
