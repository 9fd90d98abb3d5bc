"""Tables: CSV, JSON-lines and Parquet files with a label column."""

from __future__ import annotations

from typing import Any

import numpy as np

from tutelage.data.arrays import Arrays
from tutelage.data.source import Source
from tutelage.data.spec import Spec
from tutelage.errors import DataError, OptionError, nearest, optional

MOST_CATEGORIES = 100
MOST_CLASSES = 10_000


def table(spec: Spec) -> Source:
    """Read a CSV, JSON-lines or Parquet file.

    Numbers become columns that are shifted and scaled to mean 0 and standard deviation 1 of the training part; strings
    and truth values become one column per category (sorted); both in the order of the file, numbers first. With `text`
    the input is that column alone, as strings. Labels of any type are sorted, and their values name the classes.

    Args:
        spec: options `label` (the column of labels, needed), `text` (a column of text), `drop` (columns to leave out,
            joined by commas), `standardize` (false leaves numbers as they are).

    Returns:
        The source.

    Raises:
        DataError: if the file is missing or damaged, or a column cannot be used.
        OptionError: for a wrong option or a column that does not exist.
    """
    spec.allow("label", "text", "drop", "standardize")
    frame = _read(spec)
    label = spec.options.get("label")
    if label is None:
        raise OptionError(f"'{spec.text}': which column holds the labels? Add ?label=COLUMN, one of {', '.join(frame.column_names)}.")
    dropped = [name for name in spec.options.get("drop", "").split(",") if name]
    for name in (label, *dropped, *filter(None, [spec.options.get("text")])):
        if name not in frame.column_names:
            raise OptionError(f"'{spec.path}' has no column '{name}'.{nearest(name, frame.column_names)}")
    labels, classes = _labels(spec, frame.column(label).to_pylist())
    numeric = 0
    inputs: Any
    if "text" in spec.options:
        inputs = ["" if value is None else str(value) for value in frame.column(spec.options["text"]).to_pylist()]
    else:
        inputs, numeric = _columns(spec, frame.drop_columns([label, *dropped]))
    arrays = Arrays({"input": inputs, "label": labels}, classes, spec.path.stem)
    return Source(
        spec.path.stem,
        {"train": arrays},
        standardise=numeric if spec.flag("standardize", True) else 0,
        describe=lambda part, row: f"row {row + 1}" if spec.path.suffix.lower() == ".jsonl" else f"row {row + 1} (not counting the header)",
    )


def _read(spec: Spec) -> Any:
    if not spec.path.is_file():
        raise DataError(f"'{spec.path}' does not exist: expected a .csv, .jsonl or .parquet file.")
    arrow = optional("pyarrow", "table")
    try:
        match spec.path.suffix.lower():
            case ".parquet":
                frame = optional("pyarrow.parquet", "table").read_table(spec.path)
            case ".jsonl":
                frame = optional("pyarrow.json", "table").read_json(spec.path)
            case _:
                frame = optional("pyarrow.csv", "table").read_csv(spec.path)
    except (arrow.ArrowException, OSError, ValueError) as error:
        raise DataError(f"'{spec.path}' is truncated or not a table ({error}).") from error
    doubled = sorted({name for name in frame.column_names if frame.column_names.count(name) > 1})
    if doubled or frame.num_rows == 0:
        raise DataError(f"'{spec.path}' has {'the column ' + repr(doubled[0]) + ' twice' if doubled else 'no rows'}.")
    return frame


def _labels(spec: Spec, values: list[Any]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Number the sorted values of a label column; a missing label becomes -1, which the checks name."""
    values = [None if value is None or value != value or value == "" else value for value in values]
    if any(isinstance(value, float) and value != int(value) for value in values if value is not None):
        different = len(set(values))
        raise DataError(
            f"The label column of '{spec.path}' holds {different} different fractions: expected classes (strings or whole numbers)."
        )
    names = sorted({v for v in values if v is not None})
    if len(names) > MOST_CLASSES:
        raise DataError(f"The label column of '{spec.path}' holds {len(names)} different values: expected at most {MOST_CLASSES} classes.")
    number = {name: i for i, name in enumerate(names)}
    labels = np.array([-1 if value is None else number[value] for value in values], np.int64)
    return labels, tuple(str(int(n)) if isinstance(n, float) else str(n) for n in names)


def _columns(spec: Spec, frame: Any) -> tuple[np.ndarray, int]:
    """Return the inputs float32 `[N, D]` and how many leading columns are numbers."""
    types = optional("pyarrow", "table").types
    numbers: list[np.ndarray] = []
    categories: list[np.ndarray] = []
    for name in frame.column_names:
        column = frame.column(name)
        kind = column.type
        if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
            numbers.append(np.array([np.nan if v is None else float(v) for v in column.to_pylist()], np.float32))
        elif types.is_boolean(kind) or types.is_string(kind) or types.is_large_string(kind) or types.is_dictionary(kind):
            values = np.array(["" if v is None else str(v) for v in column.to_pylist()])
            known = np.unique(values)
            if len(known) > MOST_CATEGORIES:
                raise DataError(
                    f"Column '{name}' of '{spec.path}' holds {len(known)} different strings: at most {MOST_CATEGORIES} can be categories. "
                    f"Leave it out with ?drop={name}, or learn from it as text with ?text={name}."
                )
            categories.append((values[:, None] == known).astype(np.float32))
        else:
            raise DataError(
                f"Column '{name}' of '{spec.path}' is of type {kind}: expected numbers or strings. Leave it out with ?drop={name}."
            )
    if not numbers and not categories:
        raise DataError(f"'{spec.path}' has no column to learn from beside its labels.")
    return np.concatenate([np.stack(numbers, 1), *categories] if numbers else categories, 1), len(numbers)
