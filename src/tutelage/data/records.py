"""Rows of a file of JSON lines or of a CSV file, with their line numbers."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from tutelage.errors import DataError

_LARGEST_FIELD = 1 << 30  # characters of one CSV field; Python's default ends at 131072


def records(path: str | Path, *, what: str = "records") -> list[tuple[int, dict[str, Any]]]:
    """Read a file of JSON lines, one object each, or a CSV file with a header.

    Args:
        path: `.jsonl` or `.csv`, in UTF-8.
        what: what errors call its rows.

    Returns:
        Line number and row of each, in the order of the file; empty lines of JSON are left out, values of CSV are texts.

    Raises:
        DataError: if the file is missing, damaged or has no rows; it names the line.
    """
    path = Path(path).expanduser()
    if path.suffix.lower() not in {".jsonl", ".csv"} or not path.is_file():
        raise DataError(f"'{path}' is no file of {what}: expected an existing .jsonl or .csv file.")
    number = 0
    rows: list[tuple[int, dict[str, Any]]] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if path.suffix.lower() == ".csv":
                csv.field_size_limit(_LARGEST_FIELD)
                reader = csv.DictReader(file, strict=True)
                rows = [(reader.line_num, {k: v for k, v in row.items() if k is not None and v is not None}) for row in reader]
            else:
                for number, line in enumerate(file, 1):
                    if line.strip():
                        rows.append((number, json.loads(line)))
                        if not isinstance(rows[-1][1], dict):
                            raise DataError(f"Line {number} of '{path}' is a {type(rows[-1][1]).__name__}: expected an object.")
    except (ValueError, csv.Error, OSError) as error:
        raise DataError(f"'{path}' cannot be read{f' at line {number}' if number else ''} ({error}).") from error
    if not rows:
        raise DataError(f"'{path}' has no rows: expected at least one of its {what}.")
    return rows
