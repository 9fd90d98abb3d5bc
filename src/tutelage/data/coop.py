"""Images listed by a split file as CoOp has it: one JSON with the paths, labels and class names of three parts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tutelage.data import pictures
from tutelage.data.arrays import Arrays, DataSet
from tutelage.errors import DataError, optional

PARTS = {"train": "train", "val": "validation", "test": "test"}
"""Names of the parts in the file, and here."""


def coop_split(
    split: str | Path, root: str | Path | None = None, *, size: int | tuple[int, int] = 224, grey: bool = False, skip_bad: bool = False
) -> DataSet:
    """Read images by a split file `split_zhou_NAME.json`, which holds `[path, label, classname]` of each image of `train`, `val`, `test`.

    Such files exist for Caltech101, DTD, EuroSAT, FGVC Aircraft, Food101, Flowers102, Oxford Pets, Stanford Cars, SUN397 and UCF101.

    Args:
        split: the JSON file.
        root: folder that the paths are relative to; the split file's own folder when `None`.
        size: side, or (height, width), that images are scaled to, the middle cut out where proportions differ; in pixels.
        grey: one channel instead of three.
        skip_bad: leave out images that are missing or damaged, instead of raising.

    Returns:
        The data set; inputs are uint8 `[N, C, H, W]`, classes the class names in the order of their labels, with the column `path`.

    Raises:
        DataError: if the file is missing or malformed, names and labels contradict each other, or an image cannot be read.
        MissingExtra: if Pillow is not installed.
    """
    path = Path(split)
    rows = _read(path)
    classes = _classes(path, [row for part in rows.values() for row in part])
    folder = path.parent if root is None else Path(root)
    frame = (size, size) if isinstance(size, int) else size
    skipped: list[str] = []
    parts = {
        PARTS[name]: _images(f"{path.stem} {PARTS[name]}", part, folder, classes, frame, grey, skipped if skip_bad else None)
        for name, part in rows.items()
    }
    return DataSet(path.stem, parts["train"], parts["validation"], parts["test"], tuple(skipped))


Row = tuple[str, int, str]


def _read(path: Path) -> dict[str, list[Row]]:
    expected = 'expected {"train": [[path, label, classname], ...], "val": ..., "test": ...}'
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"The split file '{path}' cannot be read ({error}); {expected}.") from error
    if not isinstance(content, dict) or not all(isinstance(content.get(name), list) and content[name] for name in PARTS):
        got = list(content) if isinstance(content, dict) else type(content).__name__
        raise DataError(f"The split file '{path}' holds {got}; {expected}, none of them empty.")
    return {name: [_row(path, name, number, row) for number, row in enumerate(content[name])] for name in PARTS}


def _row(path: Path, part: str, number: int, row: Any) -> Row:
    kinds = (str, int, str)
    fits = isinstance(row, list) and len(row) == 3 and all(type(v) is kind for v, kind in zip(row, kinds, strict=True)) and row[1] >= 0
    if not fits:
        raise DataError(f"Entry {number} of '{part}' in '{path}' is {row!r}; expected [path, label of at least 0, classname].")
    return row[0], row[1], row[2]


def _classes(path: Path, rows: Sequence[Row]) -> tuple[str, ...]:
    names: dict[int, str] = {}
    for _, label, name in rows:
        if names.setdefault(label, name) != name:
            raise DataError(f"'{path}' calls label {label} both '{names[label]}' and '{name}'.")
    missing = sorted(set(range(max(names) + 1)) - names.keys())
    if missing:
        raise DataError(f"'{path}' has labels up to {max(names)} but none with {missing[:8]}; expected 0, 1, ... without a gap.")
    return tuple(names[label] for label in range(len(names)))


def _images(
    name: str, rows: Sequence[Row], folder: Path, classes: tuple[str, ...], size: tuple[int, int], grey: bool, skipped: list[str] | None
) -> Arrays:
    pil = optional("PIL.Image", "vision")
    pixels, labels, paths = [], [], []
    for relative, label, _ in rows:
        try:
            with pil.open(folder / relative) as image:
                pixels.append(pictures.to_array(image, grey=grey, size=size))
        except (OSError, SyntaxError, ValueError) as error:
            if skipped is None:
                cure = "Give the folder of the images as root, or leave it out with skip_bad=True."
                raise DataError(f"'{folder / relative}' of {name} is missing or not a readable image ({error}). {cure}") from error
            skipped.append(f"{relative}: {error}")
            continue
        labels.append(label)
        paths.append(relative)
    if not pixels:
        raise DataError(f"No image of {name} can be read in '{folder}'. Give the folder of the images as root.")
    return Arrays({"input": np.stack(pixels), "label": np.asarray(labels, np.int64), "path": paths}, classes, name)
