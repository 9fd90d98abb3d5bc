"""Pictures in files to one array of pixels: headers surveyed and pixels decoded on threads, files that cannot be used named or left out."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from tutelage.data import pictures
from tutelage.data.arrays import Arrays
from tutelage.data.decoded import Decoded
from tutelage.data.spec import Spec
from tutelage.errors import DataError, optional

ENDINGS = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
"""How the names of files end that are taken for pictures."""

_ORIENTATION = 0x0112  # the EXIF tag; values from 5 on swap height and width

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Picture:
    """A file that is taken for a picture.

    Args:
        path: the file.
        label: its class number.
        size: (height, width) in pixels; (0, 0) until its header is read.
        grey: whether it has one channel.
    """

    path: Path
    label: int
    size: tuple[int, int] = (0, 0)
    grey: bool = False


class Failures:
    """Files that could not be used: an error, or a list of names when they may be skipped.

    Args:
        root: folder that errors name.
        skip_bad: collect names instead of raising.
    """

    def __init__(self, root: Path, skip_bad: bool) -> None:
        self.root, self.skip_bad = root, skip_bad
        self.names: list[str] = []

    def add(self, reasons: dict[Path, str], total: int) -> None:
        """Note why files could not be used.

        Args:
            reasons: file to reason.
            total: how many files were tried.

        Raises:
            DataError: if there is one and bad files may not be skipped.
        """
        if reasons and not self.skip_bad:
            first = next(iter(reasons))
            raise DataError(
                f"{len(reasons)} of the {total} files of '{self.root}' cannot be used; the first: '{first}' {reasons[first]}. "
                "Correct them, or leave them out with --skip-bad (skip_bad=True)."
            )
        self.names += [f"'{path}' {reason}" for path, reason in reasons.items()]


def survey(files: Sequence[Picture], failures: Failures) -> list[Picture]:
    """Read size and colour of every file from its header; files without a readable one go to the failures."""
    pil = optional("PIL.Image", "vision")

    def read(picture: Picture) -> Picture:
        with pil.open(picture.path) as image:
            noted = "exif" in image.info or image.format == "TIFF"  # a PNG without a note would be decoded to look for one
            turned = noted and image.getexif().get(_ORIENTATION, 1) >= 5
            size = (image.width, image.height) if turned else (image.height, image.width)
            return Picture(picture.path, picture.label, size, image.mode in pictures.GREY)

    surveyed = on_threads(read, files)
    failures.add({p.path: r for p, r in zip(files, surveyed, strict=True) if isinstance(r, str)}, len(files))
    return [result for result in surveyed if isinstance(result, Picture)]


def one_size(spec: Spec, found: Sequence[Picture]) -> tuple[int, int]:
    """Return the (height, width) that all pictures have, or say in which they differ and how to state one."""
    first: dict[tuple[int, int], Path] = {}
    for picture in found:
        first.setdefault(picture.size, picture.path)
    if len(first) > 1:
        examples = ", ".join(f"{h}x{w} ('{path.name}')" for (h, w), path in list(first.items())[:3])
        raise DataError(f"The images of '{spec.path}' have {len(first)} different sizes: {examples}. Add a size: '{spec.target}?size=32'.")
    return next(iter(first))


def decode(
    found: Sequence[Picture], shape: tuple[int, int, int], size: tuple[int, int] | None, name: str, failures: Failures
) -> tuple[Arrays, list[int]]:
    """Decode files into one uint8 array, in memory when it is small, in the cache when it is large.

    Args:
        found: the files; they must exist.
        shape: (C, H, W) of each image.
        size: (height, width) that images are scaled to, the middle cut out where proportions differ; `None` where all have it.
        name: of the arrays.
        failures: takes files that could not be decoded.

    Returns:
        Arrays with the column `input` alone, and the positions of the files in it.
    """
    pil = optional("PIL.Image", "vision")
    decoded = Decoded.open((len(found), *shape), [p.path for p in found])

    def read(row: int) -> None:
        with pil.open(found[row].path) as image:
            decoded.array[row] = pictures.to_array(image, grey=shape[0] == 1, size=size)

    if not decoded.complete:
        try:
            results = on_threads(read, range(len(found)))
        except BaseException:
            decoded.discard()
            raise
        decoded.finish({row: reason for row, reason in enumerate(results) if isinstance(reason, str)})
    failures.add({found[row].path: reason for row, reason in decoded.bad.items()}, len(found))
    arrays, kept = Arrays({"input": decoded.array}, (), name), [row for row in range(len(found)) if row not in decoded.bad]
    if len(kept) < len(found):
        arrays = Arrays({"input": arrays.subset(kept).columns["input"]}, (), name)
    return arrays, kept


def labelled(
    found: Sequence[Picture],
    shape: tuple[int, int, int],
    size: tuple[int, int] | None,
    classes: tuple[str, ...],
    name: str,
    failures: Failures,
) -> tuple[Arrays, list[Path]]:
    """Decode files as `decode` does, with the column `label` beside.

    Returns:
        The arrays, and the file of each row.
    """
    arrays, kept = decode(found, shape, size, name, failures)
    labels = np.array([found[row].label for row in kept], np.int64)
    return Arrays({**arrays.columns, "label": labels}, classes, name), [found[row].path for row in kept]


def on_threads(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result | str]:
    """Do `work` on every item (image decoders release the interpreter lock); a failure becomes its reason."""

    def attempt(item: Item) -> Result | str:
        try:
            return work(item)
        except Exception as error:  # decoders of damaged files raise anything
            return "is not an image" if type(error).__name__ == "UnidentifiedImageError" else f"is truncated or damaged ({error})"

    with ThreadPoolExecutor(max_workers=min(8, (os.cpu_count() or 1) + 1)) as pool:
        return list(pool.map(attempt, items))
