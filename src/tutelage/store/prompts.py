"""Prompts without labels, from files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tutelage.data import Arrays
from tutelage.data.records import records
from tutelage.errors import DataError, OptionError
from tutelage.models.chat.protocol import all_messages


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
    rows = records(path, what="prompts")
    path = Path(path).expanduser()
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
