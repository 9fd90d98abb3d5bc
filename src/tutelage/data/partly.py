"""Folders of images of which only a few are labelled, in a table beside them."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tutelage.data.arrays import Arrays
from tutelage.data.decoding import ENDINGS, Failures, Picture, labelled, one_size, survey
from tutelage.data.spec import Spec, parse
from tutelage.errors import DataError


@dataclass(frozen=True, eq=False)
class PartlyLabelled:
    """A few samples with labels and many without.

    Args:
        labelled: `input` and `label`.
        unlabelled: `input` alone.
        skipped: files that were left out, with the reason.
    """

    labelled: Arrays
    unlabelled: Arrays
    skipped: tuple[str, ...] = ()


def partly_labelled(folder: str | Path, labels: str | Path, *, skip_bad: bool = False) -> PartlyLabelled:
    """Read all images below a folder, and the labels of some of them from a table.

    Args:
        folder: the folder, or a specification of it with the options of image folders (`photos?size=32`).
        labels: CSV file with the columns `path` (relative to the folder) and `label`; classes are the distinct labels, sorted.
        skip_bad: leave out images that cannot be read, and rows of the table whose file is missing, instead of raising.

    Returns:
        The samples; images of the table are labelled, all others are not.

    Raises:
        DataError: if the table or an image cannot be read, a row names no image below the folder or one twice, there are
            fewer than two classes, or nothing is left without a label.
    """
    spec = parse(str(folder))
    spec.allow("size", "color")
    root, size, color = spec.path, spec.size(), spec.choice("color", ("auto", "grey", "rgb"))
    named = _named(Path(labels))
    classes = tuple(sorted(set(named.values())))
    if len(classes) < 2:
        raise DataError(f"'{labels}' names {len(classes)} class(es): expected at least two different labels.")
    failures = Failures(root, skip_bad)
    files = [f for f in sorted(root.rglob("*")) if f.is_file() and f.suffix.lower() in ENDINGS and not f.name.startswith(".")]
    known = {str(f.relative_to(root)): f for f in files}
    absent = {root / name: f"is named in '{labels}' but is not an image below the folder" for name in named if name not in known}
    failures.add(absent, len(named))
    place = {name: classes.index(label) for name, label in named.items() if name in known}
    found = survey([Picture(path, place.get(name, -1)) for name, path in known.items()], failures)
    arrays = _arrays(spec, found, size, color, classes, failures)
    has = arrays.labels >= 0
    if not bool(has.any()) or bool(has.all()):
        lacks = "none is" if bool(has.all()) else "all are"
        raise DataError(f"Of the {len(arrays)} images below '{root}' {lacks} without a label in '{labels}': expected some of both.")
    unlabelled = arrays.subset(~has)
    return PartlyLabelled(
        arrays.subset(has),
        Arrays({n: c for n, c in unlabelled.columns.items() if n != "label"}, classes, arrays.name),
        tuple(failures.names),
    )


def _arrays(
    spec: Spec, found: list[Picture], size: tuple[int, int] | None, color: str, classes: tuple[str, ...], failures: Failures
) -> Arrays:
    if not found:
        raise DataError(f"There is no image below '{spec.path}': expected files ending in {', '.join(sorted(ENDINGS))}.")
    grey = color == "grey" or (color == "auto" and all(p.grey for p in found))
    shape = (1 if grey else 3, *(size or one_size(spec, found)))
    arrays, _ = labelled(found, shape, size, classes, spec.path.resolve().name, failures)
    return arrays


def _named(path: Path) -> dict[str, str]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or []
            if "path" not in columns or "label" not in columns:
                raise DataError(f"'{path}' has the columns {', '.join(columns) or 'none'}: expected path and label.")
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"'{path}' cannot be read as a table ({error}): expected CSV with the columns path and label.") from error
    named: dict[str, str] = {}
    for number, row in enumerate(rows, 2):
        name, label = (row["path"] or "").strip(), (row["label"] or "").strip()
        if not name or not label:
            raise DataError(f"Line {number} of '{path}' lacks a path or a label. Fill it in, or leave the line out.")
        name = str(Path(name))
        if name in named:
            raise DataError(f"Line {number} of '{path}' names '{name}' a second time. Leave one of them.")
        named[name] = label
    return named


def few_labels_of(arrays: Arrays, chosen: np.ndarray) -> PartlyLabelled:
    """Take the labels of all but the chosen rows away.

    Args:
        arrays: labelled samples.
        chosen: positions that keep their labels.
    """
    keep = np.zeros(len(arrays), dtype=bool)
    keep[chosen] = True
    rest = arrays.subset(~keep)
    return PartlyLabelled(arrays.subset(keep), Arrays({n: c for n, c in rest.columns.items() if n != "label"}, arrays.classes, arrays.name))
