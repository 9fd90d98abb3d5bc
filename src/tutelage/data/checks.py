"""Checks on loaded data: what cannot be learned from is refused, by number and first offender."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from tutelage.data.arrays import Arrays, DataSet
from tutelage.data.bags import Bags
from tutelage.errors import DataError

NO_CLASS = 255
"""Label of pixels of no class."""


def _bad_rows(arrays: Arrays) -> dict[str, np.ndarray]:
    """Return the rows that have each kind of defect."""
    if arrays.pixelwise:
        return _bad_pixels(arrays)
    labels = arrays.labels
    bad = {f"a label outside 0..{arrays.num_classes - 1}": (labels < 0) | (labels >= arrays.num_classes)}
    column = arrays.column("input")
    if isinstance(column, list):
        bad["an empty text"] = torch.tensor([not (isinstance(v, str) and v.strip()) for v in column], dtype=torch.bool)
    elif isinstance(column, Bags):
        bad |= column.bad()
    elif not isinstance(column, Tensor) or column.is_floating_point():
        finite = [torch.isfinite(block["input"].float()).flatten(1).all(1) for block in arrays.blocks()]
        bad["an input that is NaN or infinite"] = ~torch.cat(finite) if finite else torch.zeros(0, dtype=torch.bool)
    return {what: torch.nonzero(mask).flatten().cpu().numpy() for what, mask in bad.items()}


def _bad_pixels(arrays: Arrays) -> dict[str, np.ndarray]:
    """Return the rows with defects of what is in memory; files that are decoded later are checked then."""
    bad: dict[str, np.ndarray] = {}
    images, labels = arrays.column("input"), arrays.column("label")
    if isinstance(labels, Tensor):
        wrong = ((labels < 0) | (labels >= arrays.num_classes)) & (labels != NO_CLASS)
        bad[f"a label outside 0..{arrays.num_classes - 1} and {NO_CLASS}"] = np.flatnonzero(wrong.flatten(1).any(1).cpu().numpy())
    if isinstance(images, Tensor) and images.is_floating_point():
        bad["an input that is NaN or infinite"] = np.flatnonzero(~torch.isfinite(images).flatten(1).all(1).cpu().numpy())
    return bad


def _check_labels(arrays: Arrays) -> None:
    labels = arrays.column("label")
    if arrays.pixelwise:
        fits = len(arrays.shape) == 3 and tuple(labels.shape[1:]) == arrays.shape[1:]
        if not fits or (isinstance(labels, Tensor) and labels.dtype != torch.int64):
            raise DataError(
                f"The labels of '{arrays.name}' have the shape {tuple(labels.shape)}, its inputs {(len(arrays), *arrays.shape)}: expected "
                "class numbers, int64, one for every pixel of images [N, C, H, W]."
            )
    elif not isinstance(labels, Tensor) or labels.dtype != torch.int64 or labels.ndim != 1:
        got = f"{labels.dtype} of shape {tuple(labels.shape)}" if isinstance(labels, Tensor) else f"a {type(labels).__name__}"
        raise DataError(f"The labels of '{arrays.name}' are {got}: expected class numbers, int64 of shape ({len(arrays)},).")


def clean(arrays: Arrays, *, skip_bad: bool, describe: Callable[[int], str] | None = None) -> tuple[Arrays, list[str]]:
    """Refuse, or leave out, samples that cannot be learned from.

    Args:
        arrays: labelled samples.
        skip_bad: leave bad samples out instead of raising.
        describe: names a row in the source's own words; by default its number.

    Returns:
        The usable samples and the names of those left out.

    Raises:
        DataError: if there are no samples, labels are not int64 `[N]` (or `[N, H, W]` of pixels), or (without `skip_bad`) samples are bad.
    """
    if len(arrays) == 0:
        raise DataError(f"'{arrays.name}' is empty: expected at least one sample.")
    _check_labels(arrays)
    describe = describe or (lambda row: f"row {row}")
    skipped: dict[int, str] = {}
    for what, rows in _bad_rows(arrays).items():
        if not len(rows):
            continue
        detail = f" ({int(arrays.labels[rows[0]])})" if "label" in what and not arrays.pixelwise else ""
        if not skip_bad:
            raise DataError(
                f"{len(rows)} of the {len(arrays)} samples of '{arrays.name}' have {what}; the first is {describe(int(rows[0]))}{detail}. "
                "Correct them, or leave them out with --skip-bad (skip_bad=True)."
            )
        skipped.update({int(row): f"{describe(int(row))}: {what}" for row in rows})
    if not skipped:
        return arrays, []
    kept = np.setdiff1d(np.arange(len(arrays)), np.fromiter(skipped, np.int64))
    if not len(kept):
        raise DataError(f"All {len(arrays)} samples of '{arrays.name}' are bad; the first: {skipped[min(skipped)]}.")
    return arrays.subset(kept), [skipped[row] for row in sorted(skipped)]


def classes(arrays: Arrays) -> None:
    """Refuse training samples of fewer than two classes, or with a class of no sample; not every class of pixels need occur.

    Args:
        arrays: labelled samples whose labels are in range.

    Raises:
        DataError: naming the class and how many there are.
    """
    if arrays.pixelwise:
        if arrays.num_classes < 2:
            raise DataError(f"The pixels of '{arrays.name}' have {arrays.num_classes} class(es): expected at least two.")
        return
    counts = torch.bincount(arrays.labels.cpu(), minlength=arrays.num_classes)
    empty = [name for name, count in zip(arrays.classes, counts.tolist(), strict=True) if count == 0]
    present = arrays.num_classes - len(empty)
    if present < 2:
        only = next((name for name in arrays.classes if name not in empty), "none")
        raise DataError(f"All {len(arrays)} samples of '{arrays.name}' are of one class ('{only}'): expected at least two classes.")
    if empty:
        raise DataError(
            f"{len(empty)} of the {arrays.num_classes} classes of '{arrays.name}' have no training sample; the first is '{empty[0]}'. "
            "Labels count from 0 without gaps: add samples or take the class out."
        )


def data_set(data: DataSet) -> None:
    """Check a data set that was built by hand: all parts, labels, classes.

    Args:
        data: the data set.

    Raises:
        DataError: if it cannot be learned from.
    """
    for arrays in data.parts.values():
        clean(arrays, skip_bad=False)
    classes(data.train)


def listing(names: Sequence[str], limit: int = 3) -> str:
    """Return the first names of a list, for an error message."""
    return ", ".join(f"'{n}'" for n in names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
