"""Core sets: the samples that leave the others least far from their nearest one, by the greedy k-centre rule, in linear memory.

What is covered is a question of the metric: probability vectors by their Euclidean distance (PCoreSet), features by their cosine
(CoreSet), or any function of two sets of rows.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from tutelage.data import Mapped
from tutelage.errors import DataError, OptionError, ShapeError, nearest

Distance = Callable[[Tensor, Tensor], Tensor]
"""A metric: rows `[n, D]` and centres `[k, D]` to distances `[n, k]`."""
Rows = Any
"""Rows `[N, D]`: a tensor, an array, a memory-mapped array, or anything with `shape` whose slices and integer arrays give rows."""


def euclidean(rows: Tensor, centres: Tensor) -> Tensor:
    """Return Euclidean distances; those that rounding cannot tell from 0 are 0.

    Args:
        rows: float `[n, D]`.
        centres: float `[k, D]`.

    Returns:
        `[n, k]`.
    """
    scale = rows.square().sum(1, keepdim=True) + centres.square().sum(1)
    square = torch.addmm(scale, rows, centres.T, alpha=-2)
    return square.masked_fill_(square <= 8 * torch.finfo(rows.dtype).eps * scale, 0).sqrt_()


def cosine(rows: Tensor, centres: Tensor) -> Tensor:
    """Return cosine distances `1 - cos`, from 0 to 2; a row of zeros is at 1 from everything.

    Args:
        rows: float `[n, D]`, of any length.
        centres: float `[k, D]`, of any length.

    Returns:
        `[n, k]`.
    """
    angle = torch.nn.functional.normalize(rows, dim=1) @ torch.nn.functional.normalize(centres, dim=1).T
    return (1 - angle).masked_fill_(angle >= 1 - 8 * torch.finfo(rows.dtype).eps, 0)


METRICS: dict[str, Distance] = {"euclidean": euclidean, "cosine": cosine}
"""Metrics by name."""


@dataclass(frozen=True)
class CoreSet:
    """What the greedy rule chose.

    Args:
        positions: int64 `[count]` rows of the pool, in the order of their choice.
        distances: float32 `[count]` distance of each to its nearest centre when it was chosen, which is how far the farthest row of the
            pool then was; it never increases.
    """

    positions: Tensor
    distances: Tensor


@torch.no_grad()
def greedy_k_centre(
    pool: Rows,
    centres: Rows | None,
    count: int,
    *,
    metric: Literal["euclidean", "cosine"] | Distance = "euclidean",
    chunk: int = 8192,
    block: int = 4096,
) -> CoreSet:
    """Choose rows one after the other, each the farthest from its nearest centre, and each then a centre itself.

    The result is that of comparing every row with every centre, up to rounding; of equally far rows the first is taken. Memory is linear
    in the rows and independent of their length: one number a row, a chunk of rows, a block of them and the centres. The pool may lie in a
    mapped file. Work is saved by a bound: more centres never move a row farther away, so its distance to the centres it was compared with
    so far bounds it from above. Only the `block` rows of the highest bounds are held and kept up to date; while the farthest of them is
    beyond the bounds of all others it is the farthest of all.

    Args:
        pool: rows to choose from, `[N, D]`; other types than float32 and float64 are computed in float32.
        centres: rows that are covered already, `[K, D]`; `None` or none at all to begin with the pool's first row.
        count: rows to choose, at most N.
        metric: `"euclidean"`, `"cosine"`, or a function of rows `[n, D]` and centres `[k, D]` that returns `[n, k]`.
        chunk: rows read at once when the whole pool is compared with `centres`.
        block: rows held at once while choosing.

    Returns:
        What was chosen, on the CPU.

    Raises:
        OptionError: if there are fewer rows than `count`, or a size is not positive.
        ShapeError: if pool and centres have no rows of one length.
        DataError: if a distance is NaN.

    Source:
        Gonzalez 1985, "Clustering to minimize the maximum intercluster distance": the greedy radius is at most twice the optimal one.
        Sener and Savarese, ICLR 2018, for active learning. Lazy evaluation: Minoux 1978.
    """
    measure = _metric(metric)
    size = _check(pool, centres, count, chunk, block)
    bound = nearest_distance(pool, centres, metric=measure, chunk=chunk)
    known = _rows(centres, slice(0, None)).to(bound.device) if centres is not None and len(centres) else None
    seen = torch.full((size,), 0 if known is None else len(known), dtype=torch.int32, device=bound.device)
    centre_rows = _Growing(known, count)
    chosen: list[int] = []
    distances: list[float] = []
    held = min(block, size)
    while len(chosen) < count:
        index = torch.topk(bound, held).indices.sort().values  # in order, so that the first of equals is the first row
        rows = _rows(pool, index).to(bound.device)
        values = bound[index]
        start = int(seen[index].min())
        if start < len(centre_rows):
            _lower(values, rows, centre_rows.rows(start), measure, chunk)
        limit, first = _beyond(bound, index)
        before = len(chosen)
        while len(chosen) < count:
            place = int(values.argmax())
            value, row = float(values[place]), int(index[place])
            if math.isnan(value) or math.isnan(limit):
                raise DataError(
                    f"The distance of row {row if math.isnan(value) else first} to the centres is NaN: look for NaN in the pool."
                )
            if value < limit or (value == limit and row > first):
                break
            chosen.append(row)
            distances.append(value)
            values[place] = -math.inf
            centre_rows.append(rows[place])
            if len(chosen) < count:
                fresh = measure(rows, rows[place : place + 1])[:, 0]
                torch.minimum(values, fresh, out=values)
        bound[index], seen[index] = values, len(centre_rows)
        # A block in which nothing was certain is too small for how alike the bounds are.
        held = min(size, held * 2 if len(chosen) == before else max(block, held // 2))
    return CoreSet(torch.tensor(chosen, dtype=torch.int64), torch.tensor(distances, dtype=torch.float32))


@torch.no_grad()
def nearest_distance(
    pool: Rows, centres: Rows | None, *, metric: Literal["euclidean", "cosine"] | Distance = "euclidean", chunk: int = 8192
) -> Tensor:
    """Return how far each row is from its nearest centre; the largest of these is the covering radius.

    Args:
        pool: `[N, D]`.
        centres: `[K, D]`; without any, every distance is infinite.
        metric: as for `greedy_k_centre`.
        chunk: rows compared at once.

    Returns:
        `[N]`, float32 (float64 for a pool of that type).

    Raises:
        ShapeError: if pool and centres have no rows of one length.
    """
    measure = _metric(metric)
    size = _check(pool, centres, 0, chunk, 1)
    first = _rows(pool, slice(0, 1))
    found = torch.full((size,), math.inf, dtype=first.dtype, device=first.device)
    if centres is None or not len(centres):
        return found
    known = _rows(centres, slice(0, None)).to(first)
    for start, rows in _chunks(pool, size, chunk):
        _lower(found[start : start + len(rows)], rows, known, measure, chunk)
    return found


def _lower(values: Tensor, rows: Tensor, centres: Tensor, measure: Distance, chunk: int) -> None:
    """Lower distances `[n]` in place to those of nearer centres, a part of the centres at a time."""
    for part in torch.split(centres, max(1, min(chunk, 1024))):
        torch.minimum(values, measure(rows, part).amin(1), out=values)


def _beyond(bound: Tensor, index: Tensor) -> tuple[float, int]:
    """Return the highest bound of the rows outside a block, and the first of those that have it."""
    if len(index) == len(bound):
        return -math.inf, -1
    inside = bound[index]
    bound[index] = -math.inf
    first = int(bound.argmax())
    limit = float(bound[first])
    bound[index] = inside
    return limit, first


class _Growing:
    """Centres `[k, D]` to which rows are appended; memory for those to come is there from the start."""

    def __init__(self, known: Tensor | None, more: int) -> None:
        self._known, self._more, self._count = known, more, 0
        self._offset = 0 if known is None else len(known)
        self._added: Tensor | None = None

    def __len__(self) -> int:
        return self._offset + self._count

    def append(self, row: Tensor) -> None:
        if self._added is None:
            self._added = row.new_empty(self._more, len(row))
        self._added[self._count] = row
        self._count += 1

    def rows(self, start: int) -> Tensor:
        """Return the centres from number `start` on."""
        parts = [] if self._known is None or start >= self._offset else [self._known[start:]]
        if self._added is not None:
            parts.append(self._added[max(start - self._offset, 0) : self._count])
        return torch.cat(parts)


def _metric(metric: str | Distance) -> Distance:
    if callable(metric):
        return metric
    if metric not in METRICS:
        raise OptionError(f"metric={metric!r} is not known.{nearest(str(metric), METRICS)} Or give a function of rows and centres.")
    return METRICS[metric]


def _check(pool: Rows, centres: Rows | None, count: int, chunk: int, block: int) -> int:
    shape = tuple(pool.shape)
    if len(shape) != 2 or not shape[0]:
        raise ShapeError(f"A pool has rows [N, D], N of at least 1; got shape {list(shape)}.")
    if centres is not None and len(centres) and (len(centres.shape) != 2 or centres.shape[1] != shape[1]):
        raise ShapeError(
            f"Centres of shape {list(centres.shape)} do not fit a pool of shape {list(shape)}: rows of one length are expected."
        )
    if min(chunk, block) < 1:
        raise OptionError(f"chunk={chunk} and block={block}: expected at least 1 row each.")
    if not 0 <= count <= shape[0]:
        raise OptionError(f"{count} rows were asked of a pool of {shape[0]}: expected 0 to {shape[0]}.")
    return int(shape[0])


def _rows(source: Rows, index: slice | Tensor) -> Tensor:
    """Read rows as floats: those of a slice, or of int64 positions."""
    if isinstance(source, Tensor):
        rows = source[index] if isinstance(index, slice) else source.index_select(0, index.to(source.device))
    elif isinstance(index, slice):
        rows = _read(source, index)
    else:
        # A system maps pages around each scattered row: given back every few hundred rows, they stay few.
        rows = torch.cat([_read(source, part.cpu().numpy()) for part in torch.split(index, 512)])
    return rows if rows.dtype in (torch.float32, torch.float64) else rows.float()


def _read(source: Rows, index: slice | np.ndarray) -> Tensor:
    got = source[index]
    rows = got if isinstance(got, Tensor) else torch.from_numpy(np.array(got))  # a copy, not a window on the file
    _release(source.base if isinstance(source, Mapped) else source)
    return rows


def _chunks(source: Rows, size: int, chunk: int) -> Iterator[tuple[int, Tensor]]:
    for start in range(0, size, chunk):
        yield start, _rows(source, slice(start, min(start + chunk, size)))


def _release(array: Any) -> None:
    """Give the pages of a mapped file back, which would otherwise count as this process's memory until others need it."""
    mapped = getattr(array, "_mmap", None) if isinstance(array, np.memmap) and array.mode in ("r", "r+") else None
    if mapped is not None and hasattr(mapped, "madvise"):
        mapped.madvise(mmap.MADV_DONTNEED)
