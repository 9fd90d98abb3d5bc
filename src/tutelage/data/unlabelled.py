"""`images`: any data specification to images to learn features from, with or without labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tutelage.data import checks, factory, folder, numpy_file
from tutelage.data.arrays import Arrays, DataSet
from tutelage.data.loading import load
from tutelage.data.spec import Spec, parse
from tutelage.errors import DataError, SpecError

_KEYS = ("x", "input", "inputs", "images", "data")


@dataclass(frozen=True)
class Images:
    """Images to learn from.

    Args:
        name: what reports call them.
        train: the images, column `input`.
        labelled: the data set that they are the training part of, where there are labels.
        skipped_names: bad samples that were left out.
    """

    name: str
    train: Arrays
    labelled: DataSet | None = None
    skipped_names: tuple[str, ...] = ()


def images(
    spec: str | DataSet | Arrays | Tensor | np.ndarray | tuple[Any, Any] | Callable[[], Any],
    *,
    validation: int | float = 0.1,
    test: int | float = 0.2,
    seed: int = 0,
    skip_bad: bool = False,
) -> Images:
    """Load images to learn features from; labels are kept where there are any, to watch by, but never needed.

    Args:
        spec: all that `load` takes; a folder with images in any arrangement (with a sub-folder per class these are labels); a file `.npz`
            with images alone (key `x`, `input`, `inputs`, `images` or `data`); images `[N, C, H, W]` as a tensor or array, float in [0, 1]
            or uint8; `Arrays` without labels, or a function that returns such `Arrays`.
        validation: share or number of labelled samples for a missing validation part.
        test: share or number of labelled samples for a missing test part.
        seed: seed of the cut.
        skip_bad: leave out bad samples, counted, instead of raising.

    Returns:
        The images.

    Raises:
        TutelageError: as `load`; DataError where they are not images, are not finite, or there are none.
    """
    made: Any = spec
    skipped: list[str] = []
    name = "images"
    if isinstance(spec, str):
        parsed = parse(spec)
        name = parsed.path.stem or parsed.kind
        if parsed.kind == "folder" and parsed.path.is_dir() and not folder.has_classes(parsed.path):
            made, skipped = folder.unlabelled_folder(parsed, skip_bad=skip_bad)
        elif parsed.kind == "npz":
            made = _bare_npz(parsed)
        elif parsed.kind == "python":
            made = factory.factory(parsed)
    elif callable(spec) and not isinstance(spec, DataSet | Arrays | Tensor):
        made = factory.call(spec, getattr(spec, "__qualname__", repr(spec)))
    if isinstance(made, Tensor | np.ndarray):
        made = Arrays({"input": made}, (), name)
    if isinstance(made, Arrays) and "label" not in made.columns:
        train, left_out = _clean(made, skip_bad=skip_bad)
        return Images(made.name, train, None, (*skipped, *left_out))
    data = load(made, validation=validation, test=test, seed=seed, skip_bad=skip_bad)
    _check_shape(data.train)
    if data.train.pixelwise:
        return Images(data.name, Arrays({"input": data.train.column("input")}, (), data.train.name), None, data.skipped_names)
    return Images(data.name, data.train, data, data.skipped_names)


def _bare_npz(spec: Spec) -> Any:
    """Return images alone where a file has no labels, else its specification."""
    arrays = numpy_file.read(spec)
    if any(end in arrays for x, y in numpy_file.NAMES for end in (y, f"{y}_train")):
        return spec.text
    key = next((k for k in _KEYS if k in arrays), None)
    if key is None:
        raise DataError(f"'{spec.path}' has the keys {sorted(arrays)}: expected images as {', '.join(_KEYS)}.")
    spec.allow("layout", "scale")
    return Arrays({"input": numpy_file.inputs(spec, arrays[key])}, (), spec.path.stem)


def _check_shape(arrays: Arrays) -> None:
    if len(arrays.shape) != 3:
        raise DataError(f"The samples of '{arrays.name}' have the shape {list(arrays.shape)}: expected images [C, H, W].")


def _clean(arrays: Arrays, *, skip_bad: bool) -> tuple[Arrays, list[str]]:
    """Refuse what is no image, and refuse or leave out images that are not finite."""
    if len(arrays) == 0:
        raise DataError(f"'{arrays.name}' is empty: expected at least one image.")
    column = arrays.column("input")
    if isinstance(column, list):
        raise SpecError(f"'{arrays.name}' holds a list, not images [N, C, H, W] in one tensor or array.")
    _check_shape(arrays)
    labelled = Arrays({**arrays.columns, "label": torch.zeros(len(arrays), dtype=torch.int64)}, ("",), arrays.name)
    kept, skipped = checks.clean(labelled, skip_bad=skip_bad)
    return Arrays({k: v for k, v in kept.columns.items() if k not in ("label", "index")}, (), arrays.name), skipped
