"""Arrays and data sets: whole columns in memory or on disk, gathered a batch at a time."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from tutelage.data.bags import Bags
from tutelage.data.rows import Index, Mapped, positions
from tutelage.errors import DataError, nearest

_BLOCK = 4096  # rows read at once when a whole column is streamed


def _column(name: str, values: Any) -> Tensor | Mapped | Bags | list[Any]:
    if isinstance(values, np.memmap):
        return Mapped(values)
    if isinstance(values, np.ndarray):
        if values.dtype.kind in "USO":
            return [str(v) for v in values]
        return torch.from_numpy(np.ascontiguousarray(values) if values.flags.writeable else values.copy())
    if isinstance(values, Tensor | Mapped | Bags):
        return values
    if isinstance(values, Sequence) and not isinstance(values, str | bytes):
        return list(values)
    raise DataError(f"Column '{name}' is a {type(values).__name__}: expected a tensor, a NumPy array or a list with one entry per sample.")


@dataclass(frozen=True, eq=False)
class Arrays:
    """Samples as columns: row `i` of every column belongs to sample `i`.

    Args:
        columns: `"input"` (images float32 in [0, 1] or uint8 `[N, C, H, W]`; tables float32 `[N, D]`; text a list of
            strings; bags of instances as `Bags`), `"label"` (int64 `[N]`, or `[N, H, W]` with 255 for pixels of no class) where there are
            labels, and any others. NumPy arrays become
            tensors without a copy; memory-mapped ones stay on disk.
        classes: names of the classes, in the order of their labels.
        name: what errors and reports call these samples.
        device: where gathered tensors lie. Columns in memory lie there too; mapped ones are read, then moved.

    Raises:
        DataError: if there is no column, or columns differ in length.
    """

    columns: dict[str, Any]
    classes: tuple[str, ...] = ()
    name: str = "data"
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def __post_init__(self) -> None:
        columns = {name: _column(name, values) for name, values in self.columns.items()}
        lengths = {name: len(column) for name, column in columns.items()}
        if not columns or len(set(lengths.values())) > 1:
            raise DataError(f"The columns of '{self.name}' must have one entry per sample each; their lengths are {lengths}.")
        object.__setattr__(self, "columns", columns)
        object.__setattr__(self, "classes", tuple(str(c) for c in self.classes))
        object.__setattr__(self, "device", torch.device(self.device))

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __repr__(self) -> str:
        return f"Arrays({self.name!r}, {len(self)} samples, columns={sorted(self.columns)}, {self.num_classes} classes)"

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.classes)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one input without the batch dimension, or of one instance of a bag; `()` for text."""
        column = self.column("input")
        if isinstance(column, Bags):
            return column.instance_shape
        return () if isinstance(column, list) else tuple(column.shape[1:])

    @property
    def pixelwise(self) -> bool:
        """Whether the labels are those of pixels."""
        column = self.columns.get("label")
        return isinstance(column, Tensor | Mapped) and column.ndim == 3

    @property
    def labels(self) -> Tensor:
        """Labels of all rows, int64 `[N]`.

        Raises:
            DataError: if every pixel has its own.
        """
        column = self.column("label")
        if self.pixelwise:
            raise DataError(
                f"'{self.name}' has a class for every pixel, but one for each image is needed here. Of the methods, fst learns pixels: "
                "tutelage run fst --data SPEC."
            )
        return column if isinstance(column, Tensor) else torch.as_tensor(column[:])

    @property
    def index(self) -> Tensor:
        """Original row of every sample, int64 `[N]`, on the CPU."""
        if "index" in self.columns:
            rows: Tensor = self.columns["index"].cpu()
            return rows
        return torch.arange(len(self))

    def column(self, name: str) -> Any:
        """Return a column.

        Args:
            name: which.

        Returns:
            The tensor, mapped array or list.

        Raises:
            DataError: if there is none of that name.
        """
        if name not in self.columns:
            raise DataError(f"'{self.name}' has no column '{name}'.{nearest(name, self.columns)}")
        return self.columns[name]

    def gather(self, index: Index | None = None) -> dict[str, Any]:
        """Return some rows of every column as one batch on `device`.

        Args:
            index: positions `[B]` (or a mask); `None` for all rows.

        Returns:
            Column name to tensor `[B, ...]` or list (of tensors `[N_i, ...]` where the samples are bags), uint8 images as float32 in
            [0, 1], with `"index"`: the int64 original rows.
        """
        on_device = any(isinstance(column, Tensor) for column in self.columns.values())
        if isinstance(index, Tensor) and index.dtype == torch.int64:
            rows = index
        else:
            rows = torch.from_numpy(positions(range(len(self)) if index is None else index, len(self)))
        batch: dict[str, Any] = {}
        chosen = rows.to(self.device) if on_device else rows
        host: np.ndarray | None = None
        for name, column in self.columns.items():
            if isinstance(column, Tensor):
                values = column.index_select(0, chosen)
            else:
                host = rows.cpu().numpy() if host is None else host
                if isinstance(column, list):
                    batch[name] = [column[i] for i in host]
                    continue
                if isinstance(column, Bags):
                    batch[name] = column.take(host, self.device)
                    continue
                values = column[host].to(self.device)
            batch[name] = values.float().div_(255) if values.dtype == torch.uint8 and values.ndim == 4 else values
        if "index" not in batch:
            batch["index"] = rows.to(self.device)
        return batch

    def blocks(self, rows: int = _BLOCK) -> Iterator[dict[str, Any]]:
        """Yield all rows in order, `rows` at a time, as `gather` returns them."""
        for start in range(0, len(self), rows):
            yield self.gather(np.arange(start, min(start + rows, len(self))))

    def subset(self, index: Index) -> Arrays:
        """Return the chosen rows, which keep their original `"index"`.

        Args:
            index: positions or a boolean mask. Mapped columns are not read.

        Returns:
            The rows in the order of `index`.
        """
        rows = positions(index, len(self))
        columns: dict[str, Any] = {}
        for name, column in {**self.columns, "index": self.index}.items():
            if isinstance(column, Tensor):
                columns[name] = column.index_select(0, torch.from_numpy(rows).to(column.device))
            elif isinstance(column, Mapped):
                columns[name] = Mapped(column.base, column.positions(rows))
            elif isinstance(column, Bags):
                columns[name] = column.subset(rows)
            else:
                columns[name] = [column[i] for i in rows]
        return dataclasses.replace(self, columns=columns)

    def to(self, device: torch.device | str) -> Arrays:
        """Return the same samples with columns in memory on `device`; mapped columns stay on disk and are moved by the batch."""
        columns = {n: c.to(device) if isinstance(c, Tensor | Bags) else c for n, c in self.columns.items()}
        return dataclasses.replace(self, columns=columns, device=torch.device(device))

    def replace(self, **columns: Any) -> Arrays:
        """Return the same samples with columns added or replaced.

        Args:
            **columns: one entry per sample each.

        Returns:
            New arrays; columns that are not named are shared.
        """
        moved = {n: _column(n, c) for n, c in columns.items()}
        return dataclasses.replace(
            self, columns={**self.columns, **{n: c.to(self.device) if isinstance(c, Tensor | Bags) else c for n, c in moved.items()}}
        )

    def fingerprint(self) -> str:
        """Return the sha256 of contents and class names as hexadecimal digits; mapped columns are streamed."""
        digest = hashlib.sha256(repr(self.classes).encode())
        for name in sorted(set(self.columns) - {"index"}):
            column = self.columns[name]
            digest.update(f"\0{name}\0{len(column)}".encode())
            if isinstance(column, list):
                for value in column:
                    digest.update(repr(value).encode() + b"\0")
                continue
            if isinstance(column, Bags):
                column.digest(digest)
                continue
            digest.update(str(tuple(column.shape)).encode())
            for start in range(0, len(column), _BLOCK):
                values = column[start : start + _BLOCK].cpu().contiguous()
                digest.update(str(values.dtype).encode())
                digest.update(values.reshape(-1).view(torch.uint8).numpy())
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class DataSet:
    """Train, validation and test parts of one data set.

    Args:
        name: what reports call it.
        train: samples to learn from.
        validation: samples to tune and stop on.
        test: samples for reported numbers only.
        skipped_names: bad samples that loading left out when asked to.

    Raises:
        DataError: if the parts differ in classes or in the shape of an input.
    """

    name: str
    train: Arrays
    validation: Arrays
    test: Arrays
    skipped_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for part, arrays in self.parts.items():
            for what in ("classes", "shape"):
                got, expected = getattr(arrays, what), getattr(self.train, what)
                if got != expected:
                    raise DataError(f"The {part} part of '{self.name}' has {what} {got}, but its train part {expected}: they must agree.")

    @property
    def parts(self) -> Mapping[str, Arrays]:
        """The three parts by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of their labels."""
        return self.train.classes

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return self.train.num_classes

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one input without the batch dimension, or of one instance of a bag; `()` for text."""
        return self.train.shape

    @property
    def skipped(self) -> int:
        """Number of bad samples that loading left out."""
        return len(self.skipped_names)

    def to(self, device: torch.device | str) -> Self:
        """Return the same data set with all parts on `device`."""
        return dataclasses.replace(self, train=self.train.to(device), validation=self.validation.to(device), test=self.test.to(device))

    def fingerprint(self) -> str:
        """Return the sha256 of the contents of all parts and of the class names, as hexadecimal digits."""
        return hashlib.sha256("".join(arrays.fingerprint() for arrays in self.parts.values()).encode()).hexdigest()
