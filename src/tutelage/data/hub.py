"""Data sets of the Hugging Face `datasets` library, by name or local path."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from tutelage.data import pictures
from tutelage.data.arrays import Arrays
from tutelage.data.source import Source
from tutelage.data.spec import Spec
from tutelage.errors import DataError, OptionError, SpecError, nearest, optional

_SPLITS = {"train": ("train",), "validation": ("validation", "valid", "val", "dev"), "test": ("test",)}
_TEXT = ("text", "sentence", "content", "review")
_LABEL = ("label", "labels", "fine_label", "class", "target")


def hugging_face(spec: Spec, *, skip_bad: bool) -> Source:
    """Read a data set of the `datasets` library: images or text with a column of classes.

    Args:
        spec: options `config` (name of a configuration), `train`, `validation`, `test` (names of splits), `image`, `text`,
            `label` (names of columns, found by type and name when not given), `size` and `color` as for image folders.
        skip_bad: leave out images that do not decode, instead of raising.

    Returns:
        The source. Code that comes with a data set is never run.

    Raises:
        SpecError: if the library cannot load the name.
        OptionError: if a split or column does not exist.
        DataError: if the columns are neither images nor text with classes.
    """
    spec.allow("config", "train", "validation", "test", "image", "text", "label", "size", "color")
    loaded = _load(spec)
    parts: dict[str, Arrays] = {}
    skipped: list[str] = []
    classes: tuple[str, ...] | None = None
    grey: bool | None = {"auto": None, "grey": True, "rgb": False}[spec.choice("color", ("auto", "grey", "rgb"))]
    for part, names in _SPLITS.items():
        name = spec.options.get(part) or next((n for n in names if n in loaded), None)
        if name is None:
            continue
        if name not in loaded:
            raise OptionError(f"'{spec.text}': there is no split '{name}'.{nearest(name, loaded)}")
        rows = loaded[name]
        label = _find(spec, "label", rows, _LABEL)
        classes = classes or _classes(rows, label)
        kept = np.arange(len(rows))
        inputs: Any
        image = spec.options.get("image") or next((c for c, f in rows.features.items() if type(f).__name__ == "Image"), None)
        if image is not None and "text" not in spec.options:
            inputs, kept, grey, bad = _images(spec, rows.select_columns([image]), image, grey, skip_bad)
            skipped += [f"row {row} of {name}: {reason}" for row, reason in bad]
        else:
            inputs = ["" if text is None else str(text) for text in rows[_find(spec, "text", rows, _TEXT)]]
        number = {c: i for i, c in enumerate(classes)}
        labels = [value if isinstance(value, int) and _is_class(rows, label) else number.get(str(value), -1) for value in rows[label]]
        parts[part] = Arrays({"input": inputs, "label": np.array(labels, np.int64)[kept]}, classes, f"{spec.target} {name}")
    if "train" not in parts:
        raise OptionError(f"'{spec.text}' has the splits {', '.join(loaded)}: name the one to train on with ?train=NAME.")
    return Source(Path(spec.target).name, parts, skipped)


def _load(spec: Spec) -> Any:
    datasets = optional("datasets", "text")
    path = spec.path
    try:
        if (path / "dataset_dict.json").is_file() or (path / "dataset_info.json").is_file():
            loaded = datasets.load_from_disk(str(path))
        else:
            loaded = datasets.load_dataset(spec.target, spec.options.get("config"))
    except Exception as error:  # the library raises its own, the hub's and the network's errors
        raise SpecError(f"'{spec.text}' could not be loaded: {type(error).__name__}: {error}") from error
    return loaded if hasattr(loaded, "items") else {"train": loaded}


def _find(spec: Spec, role: str, rows: Any, names: tuple[str, ...]) -> str:
    named = spec.options.get(role)
    if named is not None and named not in rows.column_names:
        raise OptionError(f"'{spec.text}': there is no column '{named}'.{nearest(named, rows.column_names)}")
    found = named or next((n for n in names if n in rows.column_names), None)
    if found is None and role == "label":
        found = next((c for c in rows.column_names if _is_class(rows, c)), None)
    if found is None:
        raise OptionError(f"'{spec.text}' has the columns {', '.join(rows.column_names)}: name that of the {role} with ?{role}=COLUMN.")
    return found


def _is_class(rows: Any, column: str) -> bool:
    return type(rows.features[column]).__name__ == "ClassLabel"


def _classes(rows: Any, label: str) -> tuple[str, ...]:
    if _is_class(rows, label):
        return tuple(rows.features[label].names)
    values = {v for v in rows[label] if v is not None}
    if any(isinstance(v, float) and not v.is_integer() for v in values):
        raise DataError(f"The label column '{label}' holds {len(values)} different fractions: expected classes (strings or whole numbers).")
    return tuple(str(v) for v in sorted(values))


def _images(
    spec: Spec, rows: Any, column: str, grey: bool | None, skip_bad: bool
) -> tuple[np.ndarray, np.ndarray, bool, list[tuple[int, str]]]:
    """Decode a column of images to uint8 `[N, C, H, W]`, with the rows kept, whether they are grey, and the bad ones."""
    size = spec.size()
    rows = rows.cast_column(column, optional("datasets", "text").Image(decode=False))
    pil = optional("PIL.Image", "vision")
    decoded: list[np.ndarray] = []
    kept: list[int] = []
    bad: list[tuple[int, str]] = []
    for row, item in enumerate(rows[column]):
        try:
            with pil.open(io.BytesIO(item["bytes"]) if item["bytes"] else item["path"]) as image:
                grey = image.mode in pictures.GREY if grey is None else grey
                array = pictures.to_array(image, grey=grey, size=size)
        except Exception as error:  # decoders of damaged files raise anything
            if not skip_bad:
                raise DataError(
                    f"Row {row} of '{spec.text}' is not a whole image ({error}). Leave it out with --skip-bad (skip_bad=True)."
                ) from error
            bad.append((row, f"not a whole image ({error})"))
            continue
        if decoded and array.shape != decoded[0].shape:
            got, expected = array.shape[1:], decoded[0].shape[1:]
            raise DataError(
                f"Row {row} of '{spec.text}' is an image of {got} pixels, row {kept[0]} of {expected}: add a size with ?size=32."
            )
        decoded.append(array)
        kept.append(row)
    if not decoded:
        raise DataError(f"'{spec.text}' has no image that can be read among {len(rows)} rows.")
    return np.stack(decoded), np.array(kept), bool(grey), bad
