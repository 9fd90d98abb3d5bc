"""CIFAR-10 and CIFAR-100, from the files of their binary version."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from tutelage.data.arrays import Arrays, DataSet
from tutelage.data.splitting import split
from tutelage.errors import DataError, OptionError

_PIXELS = 3 * 32 * 32
_FOLDERS = ("cifar-10-batches-bin", "cifar-100-binary")
_PICKLED = ("cifar-10-batches-py", "cifar-100-python", "data_batch_1", "train")


def cifar(path: str | Path, *, labels: Literal["fine", "coarse"] = "fine", validation: int | float = 0.1, seed: int = 0) -> DataSet:
    """Read CIFAR-10 or CIFAR-100 from a folder of the binary version.

    CIFAR-10 is `data_batch_1.bin` ... `data_batch_5.bin`, `test_batch.bin` and `batches.meta.txt`; a record is one label byte and
    3,072 bytes of pixels (red, green and blue plane, row by row). CIFAR-100 is `train.bin`, `test.bin`, `fine_label_names.txt` and
    `coarse_label_names.txt`; a record starts with the coarse and the fine label.

    The Python version is a pickle, which runs whatever program its author put in it when it is read, so it is refused.

    Args:
        path: the folder `cifar-10-batches-bin` or `cifar-100-binary`, or the one that holds it.
        labels: for CIFAR-100, the 100 classes (`"fine"`, default) or the 20 groups of them (`"coarse"`). The other ones come along as
            the column `"coarse_label"` or `"fine_label"`.
        validation: part of the training images that is set aside, number or fraction.
        seed: seed of that choice.

    Returns:
        The images as uint8 `[N, 3, 32, 32]`, split as published but for the validation part.

    Raises:
        DataError: if the folder is not there or is the pickled version, or a file is missing, truncated or has a label out of range.
        OptionError: if `labels` is neither of the two.
    """
    if labels not in ("fine", "coarse"):
        raise OptionError(f"labels is '{labels}'; expected 'fine' (100 classes) or 'coarse' (20 groups).")
    folder = _folder(Path(path))
    if (folder / "train.bin").exists():
        classes = {kind: _names(folder / f"{kind}_label_names.txt") for kind in ("coarse", "fine")}
        train, test = (_read([folder / file], classes, labels, file.removesuffix(".bin")) for file in ("train.bin", "test.bin"))
        name = "cifar-100" if labels == "fine" else "cifar-100-coarse"
    else:
        classes = {"fine": _names(folder / "batches.meta.txt")}
        train = _read([folder / f"data_batch_{n}.bin" for n in range(1, 6)], classes, "fine", "train")
        test = _read([folder / "test_batch.bin"], classes, "fine", "test")
        name = "cifar-10"
    held = round(validation * len(train)) if isinstance(validation, float) else validation
    parts = split(train, {"validation": held, "train": len(train) - held}, seed)
    return DataSet(name, parts["train"], parts["validation"], test)


def _folder(path: Path) -> Path:
    for folder in (path, *(path / name for name in _FOLDERS)):
        if (folder / "data_batch_1.bin").exists() or (folder / "train.bin").exists():
            return folder
    pickled = [name for name in _PICKLED if (path / name).exists()]
    if pickled:
        raise DataError(
            f"'{path / pickled[0]}' is the Python version of CIFAR, a pickle. Reading a pickle runs any program hidden in it, so it is "
            "never opened here: fetch the binary version (cifar-10-binary.tar.gz or cifar-100-binary.tar.gz) and unpack it."
        )
    raise DataError(
        f"'{path}' has no CIFAR in its binary version: expected data_batch_1.bin (CIFAR-10) or train.bin (CIFAR-100) in it, or in a folder "
        f"{' or '.join(_FOLDERS)} below it. Unpack cifar-10-binary.tar.gz or cifar-100-binary.tar.gz there."
    )


def _names(file: Path) -> tuple[str, ...]:
    try:
        return tuple(line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"The class names in '{file}' cannot be read ({error}). It belongs to the archive: unpack it again.") from error


def _read(files: list[Path], classes: dict[str, tuple[str, ...]], labels: str, part: str) -> Arrays:
    """Read the records of some files; `classes` names the label bytes in their order."""
    size = len(classes) + _PIXELS
    blocks = []
    for file in files:
        try:
            raw = np.fromfile(file, np.uint8)
        except OSError as error:
            raise DataError(f"'{file}' cannot be read ({error}). It belongs to the archive: unpack it again.") from error
        if raw.size == 0 or raw.size % size:
            raise DataError(f"'{file}' has {raw.size} bytes, no whole number of records of {size}: truncated? Unpack the archive again.")
        blocks.append(raw.reshape(-1, size))
    records = np.concatenate(blocks)
    columns = {}
    for place, (kind, names) in enumerate(classes.items()):
        column = records[:, place].astype(np.int64)
        if column.max() >= len(names):
            row = int(column.argmax())
            where = files[0].parent / part
            raise DataError(f"Record {row} of {where} has the {kind} label {column[row]}, but there are {len(names)} names.")
        columns["label" if kind == labels else f"{kind}_label"] = column
    images = np.ascontiguousarray(records[:, len(classes) :]).reshape(-1, 3, 32, 32)
    return Arrays({"input": images, **columns}, classes[labels], f"cifar {part}")
