"""NumPy archives: `.npz` files with inputs and labels."""

from __future__ import annotations

import zipfile
import zlib

import numpy as np

from tutelage.data.arrays import Arrays
from tutelage.data.source import Source
from tutelage.data.spec import Spec
from tutelage.errors import DataError, OptionError

NAMES = (("x", "y"), ("input", "label"), ("inputs", "labels"), ("images", "labels"), ("data", "target"))
_SUFFIXES = {"train": ("_train", ""), "validation": ("_validation", "_val"), "test": ("_test",)}


def npz(spec: Spec) -> Source:
    """Read a `.npz` file; nothing in it is unpickled.

    Keys are `x` and `y` (or `input`/`label`, `inputs`/`labels`, `images`/`labels`, `data`/`target`), alone or ending in
    `_train`, and optionally the same ending in `_test` and `_val` (or `_validation`). Three-dimensional inputs are grey
    images `[N, H, W]`, four-dimensional ones images with channels first or last, two-dimensional ones tables. Labels are
    class numbers from 0 or strings. A key `classes` names the classes.

    Args:
        spec: options `layout` (`auto`, `nchw` or `nhwc`: where the channels are), `scale` (what float images are
            divided by to lie in [0, 1]), `classes` (how many there are), `standardize` (true brings the columns of a
            table to mean 0 and standard deviation 1 by the training part; default false).

    Returns:
        The source.

    Raises:
        DataError: if the file is missing, damaged, holds objects, or lacks inputs or labels.
        OptionError: for a wrong option.
    """
    spec.allow("layout", "scale", "classes", "standardize")
    arrays = read(spec)
    names = next(((x, y) for x, y in NAMES if any(x + end in arrays and y + end in arrays for end in _SUFFIXES["train"])), None)
    if names is None:
        known = ", ".join(f"{x}/{y}" for x, y in NAMES)
        raise DataError(f"'{spec.path}' has the keys {sorted(arrays)}: expected inputs and labels as {known}, or those ending in _train.")
    found = {}
    for part, ends in _SUFFIXES.items():
        end = next((e for e in ends if names[0] + e in arrays and names[1] + e in arrays), None)
        if end is not None:
            found[part] = (arrays[names[0] + end], arrays[names[1] + end])
    classes = _classes(spec, arrays, {part: y for part, (_, y) in found.items()})
    parts = {}
    for part, (x, y) in found.items():
        name = f"{spec.path.stem} {part}"
        parts[part] = Arrays({"input": inputs(spec, x), "label": _labels(name, y, classes)}, classes, name)
    tabular = spec.flag("standardize", False) and len(parts["train"].shape) == 1
    return Source(spec.path.stem, parts, standardise=parts["train"].shape[0] if tabular else 0)


def read(spec: Spec) -> dict[str, np.ndarray]:
    """Return the arrays of a `.npz` file by their keys; nothing is unpickled."""
    path = spec.path
    if not path.is_file():
        raise DataError(f"'{path}' does not exist: expected a .npz file.")
    if not zipfile.is_zipfile(path):
        raise DataError(f"'{path}' is truncated or not a .npz file.")
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, AttributeError) as error:
        if "allow_pickle" in str(error):
            raise DataError(f"'{path}' holds Python objects, which are never unpickled: save plain numbers or strings instead.") from error
        raise DataError(f"'{path}' is truncated or not a .npz file ({error}).") from error


def _classes(spec: Spec, arrays: dict[str, np.ndarray], labels: dict[str, np.ndarray]) -> tuple[str, ...]:
    if "classes" in arrays:
        return tuple(str(c) for c in arrays["classes"])
    train = labels["train"].reshape(-1)
    if train.dtype.kind in "US":
        return tuple(str(c) for c in np.unique(train))
    count = spec.number("classes")
    if count is None:
        count = int(train.max()) + 1 if train.size else 0
    if not 0 <= count <= 1_000_000:
        raise DataError(f"The labels of '{spec.path}' go up to {count - 1}: expected class numbers from 0.")
    return tuple(str(c) for c in range(int(count)))


def _labels(name: str, labels: np.ndarray, classes: tuple[str, ...]) -> np.ndarray:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise DataError(f"The labels of '{name}' have the shape {labels.shape}: expected one class number or name per sample.")
    if labels.dtype.kind in "US":
        number = {c: i for i, c in enumerate(classes)}
        return np.array([number.get(str(label), -1) for label in labels], np.int64)
    if labels.dtype.kind == "f" and not (np.isfinite(labels).all() and (labels == np.floor(labels)).all()):
        raise DataError(f"The labels of '{name}' are not whole numbers: expected class numbers from 0.")
    return labels.astype(np.int64)


def inputs(spec: Spec, x: np.ndarray) -> np.ndarray:
    """Return inputs as tables float32 `[N, D]` or images `[N, C, H, W]`, by the options `layout` and `scale`."""
    if x.dtype.kind not in "buif" or x.ndim not in (2, 3, 4):
        raise DataError(
            f"The inputs of '{spec.path}' are {x.dtype} of shape {x.shape}: expected numbers, [N, D], [N, H, W] or [N, C, H, W]."
        )
    if x.ndim == 2:
        return x.astype(np.float32)
    images = x[:, None] if x.ndim == 3 else x
    layout = spec.choice("layout", ("auto", "nchw", "nhwc"))
    if x.ndim == 4 and (layout == "nhwc" or (layout == "auto" and x.shape[3] in (1, 3, 4) and x.shape[1] not in (1, 3, 4))):
        images = images.transpose(0, 3, 1, 2)
    scale = spec.number("scale")
    if images.dtype == np.uint8 and scale in (None, 255):
        return images
    if images.dtype.kind in "ui" and scale is None and images.size and images.min() >= 0 and images.max() <= 255:
        return images.astype(np.uint8)
    if scale is None and images.size and np.nanmin(images) >= 0 and np.nanmax(images) > 1:
        raise OptionError(
            f"The images of '{spec.path}' go up to {np.nanmax(images):g}: expected [0, 1]. "
            "Add ?scale=255, or ?scale=1 to take them as they are."
        )
    return images.astype(np.float32) / np.float32(scale or 1)
