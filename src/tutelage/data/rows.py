"""Rows: how they are named, and columns whose rows stay on disk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from tutelage.errors import OptionError

Index = Tensor | np.ndarray | Sequence[int] | range
"""Rows: integer positions, or a boolean mask over all rows."""


class Base(Protocol):
    """What rows are read from: a memory-mapped array, or files that are decoded when they are asked for."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of all rows together, `(M, ...)`."""

    @property
    def ndim(self) -> int:
        """Number of dimensions."""

    def __len__(self) -> int:
        """Return the number of rows."""

    def __getitem__(self, rows: Any, /) -> Any:
        """Read the rows at these positions."""


class Mapped:
    """Rows of a memory-mapped array, or of files, chosen without reading them.

    Args:
        base: the mapped array, `[M, ...]`, or what gives rows like one.
        rows: int64 positions in it, in the order of this column; `None` for all of them.
    """

    def __init__(self, base: Base, rows: np.ndarray | None = None) -> None:
        self.base = base
        self.rows = rows

    def __len__(self) -> int:
        return len(self.base) if self.rows is None else len(self.rows)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the column, `(N, ...)`."""
        return (len(self), *self.base.shape[1:])

    @property
    def ndim(self) -> int:
        """Number of dimensions, that of rows included."""
        return self.base.ndim

    def positions(self, index: np.ndarray) -> np.ndarray:
        """Return where rows of this column lie in the mapped array."""
        return index if self.rows is None else self.rows[index]

    def __getitem__(self, index: np.ndarray | slice) -> Tensor:
        """Read the rows `index` into memory."""
        if isinstance(index, slice):
            index = np.arange(len(self))[index]
        return torch.from_numpy(np.asarray(self.base[self.positions(index)]))


def positions(index: Index, length: int) -> np.ndarray:
    """Return `index` as int64 positions.

    Args:
        index: positions or a boolean mask of `length`.
        length: number of rows.

    Returns:
        int64 array of positions.

    Raises:
        OptionError: if a position or a mask does not fit `length` rows.
    """
    rows = index.detach().cpu().numpy() if isinstance(index, Tensor) else np.asarray(index)
    if rows.dtype == np.bool_:
        if rows.shape != (length,):
            raise OptionError(f"A mask of shape {rows.shape} does not choose among {length} rows: expected shape ({length},).")
        return np.flatnonzero(rows)
    rows = rows.astype(np.int64).reshape(-1)
    if rows.size and (rows.min() < -length or rows.max() >= length):
        raise OptionError(f"Row {int(rows.max())} was asked for (lowest {int(rows.min())}), but there are {length} rows.")
    return np.where(rows < 0, rows + length, rows)
