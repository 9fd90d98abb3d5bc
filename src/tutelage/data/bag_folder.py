"""Folders of bags: one file of features per slide, as pathology pipelines write them, and a CSV file of labels."""

from __future__ import annotations

import csv
import functools
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tutelage.data.arrays import Arrays
from tutelage.data.bags import Bags, StoredBag
from tutelage.data.checks import listing
from tutelage.data.source import Source
from tutelage.data.spec import Spec
from tutelage.errors import DataError, OptionError, nearest

FOLDERS = ("", "pt_files", "safetensors_files", "npy_files")
SLIDE, LABEL, GROUP = ("slide", "slide_id", "bag", "image"), ("label", "class"), ("patient", "case_id", "case", "group")
IN_MEMORY = 2 << 30


def bag_folder(spec: Spec, *, skip_bad: bool = False) -> Source:
    """Read a folder of features with a table of labels; nothing in it is unpickled.

    `FOLDER/SLIDE.pt` (a tensor saved by PyTorch, read with `weights_only=True`), `.safetensors` (one tensor) or `.npy`, also inside
    `FOLDER/pt_files` as CLAM writes them; each of shape `[N, D]`, with the same D.

    Args:
        spec: options `labels` (CSV file of `slide,label`, with a header or without, relative to the folder or to where you are; columns
            may be called slide_id, and patient or case_id names what must stay together), `memory` (auto, true or false: whether
            features are held in memory; auto does so up to 2 GiB), `standardize` (true brings features to mean 0 and standard deviation 1
            by the training part; default false).
        skip_bad: leave out slides without a file and files that cannot be used, instead of raising. Files that are left on disk are
            then read once.

    Returns:
        The source: columns `input` of `Bags`, `label`, `name`, and `group` where the table has one.

    Raises:
        DataError: if a file is missing, damaged, empty, not finite or of another width.
        OptionError: for a wrong option, or without `labels`.
    """
    spec.allow("labels", "memory", "standardize")
    if not spec.path.is_dir():
        raise DataError(f"'{spec.path}' is not a folder: expected one with a file of features per slide.")
    table = _table(spec)
    keep = spec.choice("memory", ("auto", "true", "false"))
    kept: list[tuple[dict[str, str], StoredBag]] = []
    skipped: list[str] = []
    for row in table:
        try:
            bag = _open(spec.path, row["slide"])
            if kept and bag.shape[1:] != kept[0][1].shape[1:]:
                raise DataError(
                    f"'{bag.name}' has {bag.shape[1]} features per instance, but '{kept[0][1].name}' has {kept[0][1].shape[1]}."
                )
            if skip_bad:
                bag.read()
        except DataError as error:
            if not skip_bad:
                raise DataError(f"{error} Correct it, or leave such slides out with --skip-bad (skip_bad=True).") from error
            skipped.append(f"{row['slide']}: {error}")
            continue
        kept.append((row, bag))
    if not kept:
        raise DataError(f"No slide of '{spec.path}' can be used; the first: {skipped[0]}")
    size = sum(4 * bag.shape[0] * bag.shape[1] for _, bag in kept)
    held = keep == "true" or (keep == "auto" and size <= IN_MEMORY)
    classes = tuple(sorted({row["label"] for row in table}, key=_natural))
    columns: dict[str, object] = {
        "input": Bags([bag.read() if held else bag for _, bag in kept]),
        "label": np.array([classes.index(row["label"]) for row, _ in kept], np.int64),
        "name": [row["slide"] for row, _ in kept],
    }
    if "group" in table[0]:
        columns["group"] = [row["group"] for row, _ in kept]
    names = [row["slide"] for row, _ in kept]
    arrays = Arrays(columns, classes, spec.path.name)
    features = arrays.shape[0] if spec.flag("standardize", False) else 0
    return Source(spec.path.name, {"train": arrays}, skipped, standardise=features, describe=lambda _, row: f"the slide '{names[row]}'")


def _natural(label: str) -> tuple[int, float, str]:
    """Sort numbers by value, before words."""
    return (0, float(label), "") if label.lstrip("-").isdecimal() else (1, 0.0, label)


def _table(spec: Spec) -> list[dict[str, str]]:
    named = spec.options.get("labels")
    if not named:
        raise OptionError(f"'{spec.text}': which file holds the labels? Add ?labels=FILE.csv with lines of slide,label.")
    path = next((p for p in (spec.path / named, Path(named).expanduser()) if p.is_file()), None)
    if path is None:
        raise DataError(f"The file of labels '{named}' is neither in '{spec.path}' nor where you are.")
    try:
        rows = [row for row in csv.reader(path.read_text(encoding="utf-8-sig").splitlines()) if any(cell.strip() for cell in row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"'{path}' is not a CSV file of text ({error}).") from error
    header = [cell.strip().lower() for cell in rows[0]] if rows else []
    if not any(cell in LABEL for cell in header):
        header = ["slide", "label"]
    else:
        rows = rows[1:]
    places = {
        key: next((header.index(n) for n in known if n in header), None)
        for key, known in (("slide", SLIDE), ("label", LABEL), ("group", GROUP))
    }
    if places["slide"] is None or not rows:
        raise DataError(f"'{path}' has the columns {header} and {len(rows)} rows; expected slide and label, and a row per slide.")
    width = max(p for p in places.values() if p is not None)
    found: dict[str, dict[str, str]] = {}
    for number, row in enumerate(rows, start=1):
        cells = {key: row[place].strip() for key, place in places.items() if place is not None and len(row) > width}
        if not cells.get("slide") or not cells.get("label"):
            raise DataError(f"Row {number} of '{path}' reads {row}; expected a slide and a label.")
        slide = cells["slide"].removesuffix(".pt").removesuffix(".npy").removesuffix(".safetensors")
        if slide in found:
            raise DataError(f"'{path}' lists the slide '{slide}' twice.")
        found[slide] = cells | {"slide": slide}
    return list(found.values())


def _open(folder: Path, slide: str) -> StoredBag:
    """Find the file of a slide and read its shape, not its features."""
    openers: dict[str, Callable[[Path], Tensor]] = {".pt": _torch, ".safetensors": _safetensors, ".npy": _numpy}
    for place in FOLDERS:
        for suffix, opener in openers.items():
            path = folder / place / f"{slide}{suffix}"
            if path.is_file():
                lazy = _guarded(opener, path)
                if lazy.ndim != 2 or not lazy.shape[0] or not lazy.shape[1]:
                    raise DataError(f"'{path}' holds a tensor of shape {list(lazy.shape)}; expected [N, D] with at least one instance.")
                return StoredBag(str(path), tuple(lazy.shape), functools.partial(_loaded, opener, path))
    present = [p.stem for place in FOLDERS if (folder / place).is_dir() for p in (folder / place).iterdir() if p.suffix in openers]
    known = nearest(slide, present) if present else f" The folder holds {listing([p.name for p in folder.iterdir()]) or 'nothing'}."
    raise DataError(f"'{folder}' has no file '{slide}.pt', '.safetensors' or '.npy', also not in pt_files.{known}")


def _loaded(opener: Callable[[Path], Tensor], path: Path) -> Tensor:
    return _guarded(opener, path).float().clone()


def _guarded(opener: Callable[[Path], Tensor], path: Path) -> Tensor:
    try:
        return opener(path)
    except (OSError, ValueError, EOFError, RuntimeError, KeyError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"'{path}' is truncated or not a file of one tensor ({type(error).__name__}: {reason[:200]}).") from error


def _torch(path: Path) -> Tensor:
    """Map a tensor from a file of PyTorch; files that hold more than tensors are refused, never unpickled."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError as error:
        if "mmap" not in str(error):
            raise
        found = torch.load(path, map_location="cpu", weights_only=True)  # files from before PyTorch 1.6 cannot be mapped
    if isinstance(found, dict) and len(found) == 1:
        found = next(iter(found.values()))
    if not isinstance(found, Tensor):
        raise ValueError(f"it holds a {type(found).__name__}, not a tensor")
    return found.detach()


def _safetensors(path: Path) -> Tensor:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        found = load_file(path)
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    if len(found) != 1:
        raise ValueError(f"it holds {len(found)} tensors, not one")
    return next(iter(found.values()))


def _numpy(path: Path) -> Tensor:
    """Map an array; copy-on-write, because PyTorch wants memory that it may write to."""
    array = np.load(path, mmap_mode="c", allow_pickle=False)
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise ValueError("it holds no array of numbers")
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False))
