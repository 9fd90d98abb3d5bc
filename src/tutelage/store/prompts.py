"""Prompts without labels, from files."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from tutelage.data import Arrays
from tutelage.errors import DataError, OptionError
from tutelage.models.chat.protocol import all_messages

_LARGEST_FIELD = 1 << 30  # characters of one CSV field; Python's default ends at 131072


def prompts(path: str | Path) -> Arrays:
    """Read prompts without labels from a file of JSON lines or a CSV file.

    Args:
        path: `.jsonl` with an object per line, or `.csv` with a header; a column `prompt` holds texts, or (in JSON lines) a column
            `messages` holds lists of `{"role": ..., "content": ...}`. Other columns, that all rows have, are kept.

    Returns:
        The samples, in the order of the file; `input` holds the texts or conversations.

    Raises:
        DataError: if the file is missing or damaged, or a row has no usable prompt; it names the line.
    """
    path = Path(path).expanduser()
    rows = _read(path)
    if not rows:
        raise DataError(f"'{path}' has no rows: expected at least one prompt.")
    column = next((name for name in ("prompt", "messages") if name in rows[0][1]), None)
    if column is None:
        raise DataError(f"'{path}' has the columns {', '.join(map(str, rows[0][1]))}: expected one named 'prompt' or 'messages'.")
    for number, row in rows:
        entry: Any = row.get(column)
        good = isinstance(entry, str) and entry.strip() if column == "prompt" else isinstance(entry, list)
        if not good:
            raise DataError(f"Line {number} of '{path}' has no usable '{column}'. Correct it or take it out.")
        if column == "messages":
            try:
                all_messages([entry])
            except (DataError, OptionError) as error:
                raise DataError(f"Line {number} of '{path}': {error}") from None
    others = [name for name in rows[0][1] if name not in {column, "index"} and all(name in row for _, row in rows)]
    columns = {name: [row[name] for _, row in rows] for name in others if name != "input"}
    return Arrays({"input": [row[column] for _, row in rows], **columns}, name=path.stem)


def _read(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """Return line numbers and rows."""
    if path.suffix.lower() not in {".jsonl", ".csv"} or not path.is_file():
        raise DataError(f"'{path}' is no file of prompts: expected an existing .jsonl or .csv file.")
    number = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if path.suffix.lower() == ".csv":
                csv.field_size_limit(_LARGEST_FIELD)
                reader = csv.DictReader(file, strict=True)
                return [(reader.line_num, {k: v for k, v in row.items() if k is not None and v is not None}) for row in reader]
            rows = []
            for number, line in enumerate(file, 1):
                if line.strip():
                    rows.append((number, json.loads(line)))
                    if not isinstance(rows[-1][1], dict):
                        raise DataError(f"Line {number} of '{path}' is a {type(rows[-1][1]).__name__}: expected an object.")
            return rows
    except (ValueError, csv.Error, OSError) as error:
        raise DataError(f"'{path}' cannot be read{f' at line {number}' if number else ''} ({error}).") from error
