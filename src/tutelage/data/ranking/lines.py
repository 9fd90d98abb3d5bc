"""Lines of text files with a fixed number of fields; what is wrong is named by its line, or left out when asked to."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from tutelage.errors import DataError


class Lines:
    """Reads a file line by line, plain or `.gz`.

    Args:
        path: the file.
        fields: names of the fields of a line, for messages; their number is checked.
        separator: what separates them; `None` for any white space.
        skip_bad: leave bad lines out, and keep their names in `skipped`, in place of raising.
    """

    def __init__(self, path: str | Path, fields: tuple[str, ...], *, separator: str | None = "\t", skip_bad: bool = False) -> None:
        self.path, self.fields, self.separator, self.skip_bad = Path(path), fields, separator, skip_bad
        self.skipped: list[str] = []

    def rows(self, limit: int | None = None) -> Iterator[tuple[int, list[str]]]:
        """Yield the number of each line, from 1, and its fields, stripped and none of them empty; blank lines are passed over.

        Args:
            limit: read this many lines at most.

        Raises:
            DataError: if the file cannot be read, is empty, or has a bad line.
        """
        seen = False
        try:
            with gzip.open(self.path, "rt", encoding="utf-8") if self.path.suffix == ".gz" else self.path.open(encoding="utf-8") as file:
                for number, line in enumerate(islice(file, limit), 1):
                    if not line.strip():
                        continue
                    seen = True
                    values = [value.strip() for value in line.rstrip("\r\n").split(self.separator)]
                    if len(values) == len(self.fields) and all(values):
                        yield number, values
                    else:
                        self.bad(number, f"has {len(values)} fields, {sum(not v for v in values)} of them empty")
        except (OSError, EOFError, UnicodeDecodeError) as error:
            raise DataError(f"'{self.path}' cannot be read ({error}). Expected UTF-8 text, plain or gzipped.") from error
        if not seen:
            raise DataError(f"'{self.path}' has no lines. Expected {self._expected} on each.")

    def bad(self, number: int, what: str) -> None:
        """Say what is wrong with a line: raise, or keep it in `skipped`.

        Args:
            number: of the line.
            what: follows "Line 3 of 'FILE'".
        """
        text = f"Line {number} of '{self.path}' {what}"
        if not self.skip_bad:
            raise DataError(f"{text}; expected {self._expected}. Correct it, or leave such lines out with skip_bad=True.")
        self.skipped.append(text)

    @property
    def _expected(self) -> str:
        return ", ".join(self.fields) + (" separated by tabs" if self.separator == "\t" else " separated by spaces")
