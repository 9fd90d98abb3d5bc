"""What a candidate format for the label store is.

A candidate knows three things: how to write the shards it is given into a folder, how to open the folder as a function from
rows to a batch of NumPy arrays, and how a row is had from object storage. Libraries are imported where they are used, so that a
process holds only its own.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

import numpy as np

Batch = dict[str, np.ndarray]
Reader = Callable[[np.ndarray], Batch]


class Candidate(ABC):
    """One format.

    Attributes:
        name: what the table calls it.
        modules: libraries it needs, the first of which has its version.
        layout: how it is used here.
        remote: how random rows are had from object storage, from its documentation.
        pages: where that documentation is.
    """

    name: str
    modules: tuple[str, ...]
    layout: str
    remote: str
    pages: tuple[str, ...]

    @abstractmethod
    def write(self, folder: Path, shards: list[Batch]) -> None:
        """Write shards of equal length (the last may be shorter)."""

    @abstractmethod
    def open(self, folder: Path) -> Reader:
        """Return a function from int64 rows `[B]` to the batch of them, in their order."""


def gathered(shards: list[Batch], rows_per_shard: int) -> Reader:
    """Read rows from arrays by shard, each touched once a batch."""
    kinds = {name: (array.shape[1:], array.dtype) for name, array in shards[0].items()}

    def read(rows: np.ndarray) -> Batch:
        order = np.argsort(rows)
        which, local = np.divmod(rows[order], rows_per_shard)
        bounds = np.flatnonzero(np.diff(which, prepend=-1, append=len(shards)))
        batch = {name: np.empty((len(rows), *shape), dtype) for name, (shape, dtype) in kinds.items()}
        for first, last in itertools.pairwise(bounds):
            shard = shards[which[first]]
            for name, values in batch.items():
                values[order[first:last]] = shard[name][local[first:last]]
        return batch

    return read
