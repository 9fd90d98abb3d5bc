"""Views whose draws belong to the sample, not to the batch: the same image is changed in the same way in whatever batch it lies."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

F = TypeVar("F", bound=Callable[..., Tensor])

TILE = 1 << 19
"""Numbers that a view on a CPU changes at once: what stays in the processor's cache from one operation to the next."""

_GOLDEN, _FIRST, _SECOND = -0x61C8864680B583EB, -0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15  # constants of splitmix64, as int64


class RowSeeds:
    """A source of random numbers with one seed per sample, which views take in place of a generator.

    Number `j` of sample `i` depends on `(seeds[i], j)` alone: it is the same in every batch, on every device.

    Args:
        seeds: int64 `[N]`, one per sample.

    Source: the mixing function of splitmix64, Steele, Lea and Flood, OOPSLA 2014.
    """

    def __init__(self, seeds: Tensor) -> None:
        self.seeds = seeds
        self._used = 0

    def uniform(self, each: int) -> Tensor:
        """Draw the next numbers of every sample.

        Args:
            each: how many for each sample.

        Returns:
            float32 `[each, N]` in [0, 1), on the seeds' device.
        """
        number = torch.arange(self._used + 1, self._used + each + 1, device=self.seeds.device)
        self._used += each
        return (_mix(self.seeds[None, :] + number[:, None] * _GOLDEN) >> 40 & 0xFFFFFF).float().div_(1 << 24)

    def normal(self, shape: torch.Size) -> Tensor:
        """Draw the next standard normal numbers of every sample.

        Args:
            shape: `[N, ...]`.

        Returns:
            float32 of that shape, on the seeds' device.
        """
        each = shape[1:].numel()
        both = self.uniform(2 * each).double()
        # Box and Muller; 1 - u lies in (0, 1], so that the logarithm is finite.
        radius, angle = (-2 * torch.log1p(-both[:each])).sqrt(), 2 * torch.pi * both[each:]
        return (radius * angle.cos()).float().T.reshape(shape)


class Part:
    """A source for some rows of a batch, which draws for the whole of it: its rows are changed as they would be among all others.

    Args:
        source: what draws for the whole batch: a generator, `RowSeeds`, another part, or `None` for the default generator.
        number: rows of the whole batch, N.
        rows: int64 positions of the part's rows.
        drawn: what was drawn for the whole batch so far; parts of one batch share it.
    """

    def __init__(self, source: Any, number: int, rows: Tensor, drawn: list[Tensor]) -> None:
        self.source, self.number, self.rows, self.drawn = source, number, rows, drawn
        self._place = 0

    def take(self, draw: Callable[[Any, int], Tensor], axis: int) -> Tensor:
        """Return the part's share of the next numbers.

        Args:
            draw: `(source, rows) -> numbers` of the whole batch; called by the first of its parts alone.
            axis: in which the numbers' rows lie.

        Returns:
            The numbers of the part's rows.
        """
        if self._place == len(self.drawn):
            self.drawn.append(draw(self.source, self.number))
        whole = self.drawn[self._place]
        self._place += 1
        return whole.index_select(axis, self.rows.to(whole.device))


def _mix(state: Tensor) -> Tensor:
    state = (state ^ (state >> 30 & (1 << 34) - 1)) * _FIRST
    state = (state ^ (state >> 27 & (1 << 37) - 1)) * _SECOND
    return state ^ (state >> 31 & (1 << 33) - 1)


def row_seeds(seed: int, index: Tensor, number: int) -> Tensor:
    """Return the seed of one view of each sample.

    Args:
        seed: seed of all views.
        index: int64 `[N]`, which samples.
        number: number of the view, from 0.

    Returns:
        int64 `[N]`, well mixed.
    """
    start = index.new_tensor([seed, number])
    return _mix(_mix(_mix(start[0] + _GOLDEN) + start[1] * _GOLDEN + 1) + index * _GOLDEN)


def in_tiles(view: Callable[..., Tensor], images: Tensor, source: Any) -> Tensor:
    """Apply a row-wise view to a few images at a time, with the numbers that it would draw for all of them at once.

    Args:
        view: `view(images, source) -> images`, which draws through `draw` and `draw_normal` only.
        images: `[N, C, H, W]`. On a CPU, batches beyond `TILE` numbers are cut; anything else is handed on as it is.
        source: where numbers come from.

    Returns:
        What the view returns for the whole batch.
    """
    fits = not isinstance(images, Tensor) or images.ndim != 4 or images.device.type != "cpu" or images.numel() <= TILE
    if fits or isinstance(source, Part):
        return view(images, source)
    drawn: list[Tensor] = []
    tiles = torch.split(torch.arange(len(images)), max(1, TILE // images[0].numel()))
    found = [view(images[int(rows[0]) : int(rows[-1]) + 1], Part(source, len(images), rows, drawn)) for rows in tiles]
    return torch.cat(found)


def rowwise(view: F) -> F:
    """Mark a view that draws through `draw` and `draw_normal` only, so that it takes `RowSeeds` too, and large batches in tiles."""

    @wraps(view)
    def tiled(images: Tensor, generator: Any = None, **options: Any) -> Tensor:
        return in_tiles(partial(view, **options), images, generator)

    tiled.rowwise = True  # type: ignore[attr-defined]
    return cast(F, tiled)


def is_rowwise(view: object) -> bool:
    """Return whether a view, and every view that it is made of, is marked by `rowwise`."""
    if isinstance(view, partial):
        return is_rowwise(view.func)
    parts = getattr(view, "views", None)
    if isinstance(parts, tuple):
        return all(is_rowwise(part) for part in parts)
    return bool(getattr(view, "rowwise", False))


def per_row(view: Callable[..., Tensor], images: Tensor, seeds: Tensor) -> Tensor:
    """Apply a view so that each image's change depends on its own seed alone.

    Views of this package draw for all images at once; any other view is called once per image, with a generator of its own.

    Args:
        view: `view(images, generator) -> images`.
        images: `[N, C, H, W]`.
        seeds: int64 `[N]`, from `row_seeds`.

    Returns:
        The changed images `[N, ...]`.
    """
    if is_rowwise(view):
        return view(images, RowSeeds(seeds.to(images.device)))
    each = [view(images[i : i + 1], torch.Generator().manual_seed(seed)) for i, seed in enumerate((seeds >> 1).tolist())]
    return torch.cat(each) if each else images
