"""Pictures and the class of their every pixel, in pairs of files: surveyed at first, decoded when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tutelage.data import pictures
from tutelage.data.arrays import Arrays
from tutelage.data.checks import NO_CLASS
from tutelage.data.decoding import Failures, Picture, on_threads
from tutelage.data.decoding import survey as headers
from tutelage.data.rows import Mapped
from tutelage.errors import DataError, optional

IN_MEMORY = 512 << 20
"""Bytes of pictures and labels (11 per pixel) below which they are decoded at once and kept."""


@dataclass(frozen=True)
class Coding:
    """What the numbers in label files mean.

    Args:
        classes: names of the classes.
        numbers: class of each number that may occur, or 255 where it is none; 255 itself is always none.
        channels: whether a file may have several channels, the class in the first of them.
    """

    classes: tuple[str, ...]
    numbers: Mapping[int, int]
    channels: bool = False

    @cached_property
    def table(self) -> np.ndarray:
        """Class of every number from 0 to 255, int16; -1 for those that may not occur."""
        table = np.full(256, -1, np.int16)
        table[NO_CLASS] = NO_CLASS
        table[list(self.numbers)] = list(self.numbers.values())
        return table


@dataclass(frozen=True)
class Pair:
    """A picture and its labels.

    Args:
        image: file of the picture.
        label: file of its labels; `None` once it is known that there are none.
        coding: what the numbers in the labels mean.
        size: (height, width) in pixels; (0, 0) until the header is read.
    """

    image: Path
    label: Path | None
    coding: Coding
    size: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Frame:
    """The one size that pictures are brought to, and how.

    Args:
        size: (height, width) in pixels.
        fit: `"cut"` scales a picture to cover the frame and cuts its middle out; `"pad"` only scales it down, where it is larger, and
            fills the right and the bottom with black, of no class.
    """

    size: tuple[int, int]
    fit: Literal["cut", "pad"] = "cut"

    def inside(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the (height, width) that a picture of `size` is scaled to before it is padded."""
        if self.fit == "cut":
            return self.size
        factor = min(1.0, self.size[0] / size[0], self.size[1] / size[1])
        return min(self.size[0], max(1, round(factor * size[0]))), min(self.size[1], max(1, round(factor * size[1])))

    def padded(self, array: np.ndarray, value: int) -> np.ndarray:
        """Fill an array `[..., h, w]` up to the frame."""
        lacking = [(0, 0)] * (array.ndim - 2) + [(0, whole - part) for whole, part in zip(self.size, array.shape[-2:], strict=True)]
        return np.pad(array, lacking, constant_values=value) if any(after for _, after in lacking) else array


class Undecoded:
    """Rows that are decoded from files, on threads, each time they are asked for; the base of a `Mapped` column.

    Args:
        files: the file of each row.
        shape: shape of a row.
        read: what reads row i: the array, or in its place the reason why it cannot.
    """

    def __init__(self, files: Sequence[Path], shape: tuple[int, ...], read: Callable[[int], np.ndarray | str]) -> None:
        self.files, self.read = files, read
        self.shape, self.ndim = (len(files), *shape), 1 + len(shape)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """Decode some rows.

        Raises:
            DataError: if a file cannot be decoded or its labels are out of range; it names the first.
        """
        found: list[Any] = on_threads(self.read, rows.tolist())
        for row, result in zip(rows.tolist(), found, strict=True):
            if isinstance(result, str):
                raise DataError(f"'{self.files[row]}' {result}. Restore the file, or leave it out with --skip-bad (skip_bad=True).")
        return np.stack(found) if found else np.zeros((0, *self.shape[1:]), np.uint8)

    def bad(self) -> dict[Path, str]:
        """Decode every row, keep none, and return the files that fail with the reason."""

        def attempt(row: int) -> str | None:
            result = self.read(row)
            return result if isinstance(result, str) else None

        reasons = on_threads(attempt, range(len(self)))
        return {file: reason for file, reason in zip(self.files, reasons, strict=True) if reason is not None}


def survey(pairs: Sequence[Pair], failures: Failures, *, needed: bool) -> list[Pair]:
    """Read the headers of all files, and match every picture with its labels.

    Args:
        pairs: the files as they ought to be.
        failures: takes pictures and labels that lack each other, have no readable header or differ in size.
        needed: whether labels must be there; otherwise they are dropped from all pairs unless all have them.

    Returns:
        The pairs that can be used, with their sizes.
    """
    absent = {p.image: "does not exist, but its labels do" for p in pairs if not p.image.is_file()}
    bare = {p.image: f"has no labels: expected '{p.label}'" for p in pairs if p.label is None or not p.label.is_file()}
    labelled = needed or not bare
    failures.add({**bare, **absent} if needed else absent, len(pairs))
    left = [p for p in pairs if p.image not in absent and not (needed and p.image in bare)]
    sizes = {p.path: p.size for p in headers([Picture(p.image, 0) for p in left], failures)}
    if labelled:
        sizes |= {p.path: p.size for p in headers([Picture(p.label, 0) for p in left if p.label is not None], failures)}
    left = [replace(p, size=sizes[p.image]) for p in left if p.image in sizes and (not labelled or p.label in sizes)]
    if not labelled:
        return [replace(p, label=None) for p in left]
    wrong = {p.label: _sizes(sizes[p.label], p) for p in left if p.label is not None and sizes[p.label] != p.size}
    failures.add(wrong, len(left))
    return [p for p in left if p.label not in wrong]


def _sizes(size: tuple[int, int], pair: Pair) -> str:
    return f"has {size[0]}x{size[1]} pixels, its picture '{pair.image.name}' {pair.size[0]}x{pair.size[1]}"


def one_size(pairs: Sequence[Pair]) -> tuple[int, int]:
    """Return the size that all pictures have.

    Raises:
        DataError: if they have several; it gives examples.
    """
    first: dict[tuple[int, int], Path] = {}
    for pair in pairs:
        first.setdefault(pair.size, pair.image)
    if len(first) > 1:
        examples = ", ".join(f"{h}x{w} ('{path}')" for (h, w), path in list(first.items())[:3])
        raise DataError(f"Pictures have {len(first)} different sizes: {examples}. Add one, such as ?size=512x1024 or ?size=512&fit=pad.")
    return next(iter(first))


def arrays(pairs: Sequence[Pair], frame: Frame, classes: tuple[str, ...], name: str, failures: Failures) -> Arrays:
    """Return pairs as columns that are decoded when rows are gathered, or at once where they are few.

    Args:
        pairs: surveyed pairs, at least one.
        frame: the size of all rows.
        classes: names of the classes.
        name: what errors and reports call them.
        failures: takes files that cannot be decoded. Where bad files are skipped every file is decoded once to find them.

    Returns:
        `input` uint8 `[N, 3, H, W]`, and `label` int64 `[N, H, W]` where the pairs have labels.

    Raises:
        DataError: if none is left.
    """
    if failures.skip_bad:
        faulty: dict[Path, str] = {}
        for column in _columns(pairs, frame).values():
            faulty |= column.bad()
        failures.add(faulty, len(pairs))
        pairs = [p for p in pairs if p.image not in faulty and p.label not in faulty]
    if not pairs:
        first = f"; the first: {failures.names[0]}" if failures.names else ""
        raise DataError(f"'{name}' has no picture that can be used{first}.")
    columns = {key: Mapped(column) for key, column in _columns(pairs, frame).items()}
    if 11 * len(pairs) * frame.size[0] * frame.size[1] < IN_MEMORY:
        return Arrays({key: column[:] for key, column in columns.items()}, classes, name)
    return Arrays(columns, classes, name)


def _columns(pairs: Sequence[Pair], frame: Frame) -> dict[str, Undecoded]:
    columns = {"input": Undecoded([p.image for p in pairs], (3, *frame.size), partial(_picture, pairs, frame))}
    labels = [p.label for p in pairs if p.label is not None]
    if labels and len(labels) == len(pairs):
        columns["label"] = Undecoded(labels, frame.size, partial(_labels, pairs, frame))
    return columns


def _picture(pairs: Sequence[Pair], frame: Frame, row: int) -> np.ndarray:
    with optional("PIL.Image", "vision").open(pairs[row].image) as image:
        array = pictures.to_array(image, grey=False, size=frame.inside(pairs[row].size))
    return frame.padded(array, 0)


def _labels(pairs: Sequence[Pair], frame: Frame, row: int) -> np.ndarray | str:
    """Return the classes of a picture's pixels in the frame, int64 `[H, W]`, or why they cannot be had."""
    pil, operations = optional("PIL.Image", "vision"), optional("PIL.ImageOps", "vision")
    coding = pairs[row].coding
    with pil.open(pairs[row].label) as image:
        _keep_low_bytes(image)
        image.load()
        array = np.asarray(image)
    if array.ndim == 3 and not coding.channels:
        return f"holds colours ({image.mode}), not one class number per pixel: is it a picture of the labels?"
    array = array[..., 0] if array.ndim == 3 else array
    found = coding.table[np.clip(array, 0, NO_CLASS).astype(np.uint8)]
    wrong = (found < 0) | (array < 0) | (array > NO_CLASS)
    if wrong.any():
        y, x = (int(place) for place in np.argwhere(wrong)[0])
        return f"has the number {int(array[y, x])} in line {y}, column {x}: expected 0 to {max(coding.numbers)}, or {NO_CLASS} for no class"
    kept = pil.fromarray(found.astype(np.uint8))
    size = frame.inside(pairs[row].size)
    if kept.size != size[::-1]:
        kept = operations.fit(kept, size[::-1], pil.Resampling.NEAREST)
    return frame.padded(np.asarray(kept), NO_CLASS).astype(np.int64)


def _keep_low_bytes(image: Any) -> None:
    """Of 16-bit colours keep the low bytes, where class numbers are: Pillow keeps the high ones of what it takes for big-endian."""
    if image.format == "PNG" and image.tile and str(image.tile[0].args).endswith(";16B") and image.mode in ("RGB", "RGBA"):
        image.tile = [tile._replace(args=f"{tile.args[:-1]}L") for tile in image.tile]
