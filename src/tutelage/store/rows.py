"""From samples to their places in a store, and from what lies there to tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from tutelage.errors import OptionError, StoreError
from tutelage.store.layout import index_file
from tutelage.store.shard import NUMPY, index_trouble


class Places:
    """Where the original rows of a part lie in it.

    Args:
        root: the store.
        part: which part.
        about: the manifest.

    Raises:
        StoreError: if the row numbers are missing or altered.
    """

    def __init__(self, root: Path, part: str, about: dict[str, Any]) -> None:
        self.root, self.part = root, part
        how = index_trouble(root, about, part)
        if how is not None:
            raise StoreError(f"{index_file(root, part)} {how}.")
        index = load_file(index_file(root, part))["index"].numpy()
        self.rows = len(index)
        self.table: np.ndarray | None = None
        self.sorted: np.ndarray | None = None
        if np.array_equal(index, np.arange(len(index))):
            self.bound = len(index)
        elif index.min() >= 0 and index.max() < 8 * len(index) + 1_000_000:
            self.bound = int(index.max()) + 1
            self.table = np.full(self.bound, -1, np.int64)
            self.table[index] = np.arange(len(index))
        else:  # numbers too far apart for a table
            self.order = np.argsort(index, kind="stable")
            self.sorted = index[self.order]

    def __call__(self, index: Tensor) -> np.ndarray:
        """Return positions in the part.

        Args:
            index: int64 [B], original rows.

        Returns:
            int64 [B].

        Raises:
            OptionError: naming the first that is not in the part.
        """
        rows = torch.as_tensor(index).detach().cpu().numpy().astype(np.int64, copy=False).reshape(-1)
        if self.sorted is not None:
            found = np.searchsorted(self.sorted, rows).clip(max=self.rows - 1)
            places = np.where(self.sorted[found] == rows, self.order[found], -1)
        else:
            outside = rows.view(np.uint64) >= self.bound  # negative rows are huge when unsigned
            if outside.any():
                self._refuse(rows[outside])
            places = rows if self.table is None else self.table[rows]
        if len(places) and places.min() < 0:
            self._refuse(rows[places < 0])
        return places

    def _refuse(self, index: np.ndarray) -> None:
        more = f" (and {len(index) - 1} more)" if len(index) > 1 else ""
        raise OptionError(
            f"Sample {int(index[0])}{more} is not in part '{self.part}' of {self.root}, which has {self.rows} rows. "
            "The data are not those that were labelled, or were cut otherwise (--validation, --test, --seed)."
        )


def as_tensor(values: np.ndarray, dtype: str) -> Tensor:
    """Return an array read from a shard as a tensor.

    Args:
        values: what was read.
        dtype: its type in the header; bfloat16 was read as its bits, uint16 becomes int32, by which torch can index.
    """
    if dtype == "U16":
        return torch.from_numpy(values.astype(np.int32))
    tensor = torch.from_numpy(values)
    return tensor.view(torch.bfloat16) if dtype == "BF16" else tensor


def empty(facts: dict[str, Any]) -> np.ndarray:
    """Return no rows of an output that the manifest describes."""
    return np.empty((0, *facts["shape"]), NUMPY[facts["dtype"]])
