"""The empirical characteristic function of many projections at once, in memory that does not grow with their number."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

TILE = 1 << 16
"""Projected numbers at once on a CPU: what its cache holds. A GPU takes sixty-four times as many."""


def characteristic_sums(embeddings: Tensor, directions: Tensor | None, *, first: float, spacing: float, knots: int) -> Tensor:
    """Return sum_n cos(t x_n) and sum_n sin(t x_n) of the projections x = z . a, at equally spaced t.

    Projections are made tile by tile and again in the backward pass, so beyond the embeddings' own only a tile of memory is used;
    time is linear in samples, directions and knots. Cosines of multiples of an angle are made by rotation from one cosine and sine.

    Args:
        embeddings: float32 or float64 `[V, N, K]`.
        directions: `[M, K]`, which get no gradient; `None` takes the K columns themselves.
        first: the first t.
        spacing: from one t to the next.
        knots: how many, T.

    Returns:
        `[2, V, T, M]`: cosines, then sines.
    """
    return _Sums.apply(embeddings, directions, first, spacing, knots)  # type: ignore[no-any-return, no-untyped-call]


def _tiles(samples: int, count: int, device: torch.device) -> Iterator[tuple[slice, slice]]:
    """Yield slices of samples and of directions that cover all."""
    size = TILE if device.type == "cpu" else TILE * 64
    rows = min(samples, max(size // min(count, 256), 1))
    columns = min(count, max(size // rows, 1))
    for top in range(0, samples, rows):
        for left in range(0, count, columns):
            yield slice(top, min(top + rows, samples)), slice(left, min(left + columns, count))


def _turn(cosine: Tensor, sine: Tensor, c: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    """Return (cosine + i sine) (c + i s)."""
    return torch.mul(cosine, c).addcmul_(sine, s, value=-1), torch.mul(cosine, s).addcmul_(sine, c)


class _Sums(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, embeddings: Tensor, directions: Tensor | None, first: float, spacing: float, knots: int) -> Tensor:
        ctx.save_for_backward(embeddings, directions)
        ctx.grid = (first, spacing, knots)
        views, samples, width = embeddings.shape
        count = width if directions is None else len(directions)
        sums = embeddings.new_zeros(2, views, knots, count)
        for view in range(views):
            for rows, columns in _tiles(samples, count, embeddings.device):
                x = _projected(embeddings[view, rows], directions, columns)
                c, s = torch.cos(x * spacing), torch.sin(x * spacing)
                cosine, sine = (torch.cos(x * first), torch.sin(x * first)) if first else (torch.ones_like(x), torch.zeros_like(x))
                for knot in range(knots):
                    sums[0, view, knot, columns] += cosine.sum(0)
                    sums[1, view, knot, columns] += sine.sum(0)
                    if knot + 1 < knots:
                        cosine, sine = _turn(cosine, sine, c, s)
        return sums

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        embeddings, directions = ctx.saved_tensors
        first, spacing, knots = ctx.grid
        views, samples, width = embeddings.shape
        t = first + spacing * torch.arange(knots, device=embeddings.device, dtype=embeddings.dtype)
        # d/dx sum_k [gc cos(t x) + gs sin(t x)] = Re sum_k t (gs + i gc) e^{i t x}, a polynomial in e^{i spacing x}: Horner's rule.
        imaginary, real = gradients[0] * t[:, None]
        out = torch.zeros_like(embeddings)
        for view in range(views):
            for rows, columns in _tiles(samples, width if directions is None else len(directions), embeddings.device):
                x = _projected(embeddings[view, rows], directions, columns)
                c, s = torch.cos(x * spacing), torch.sin(x * spacing)
                a, b = real[view, :, columns], imaginary[view, :, columns]
                sum_a, sum_b = a[-1].expand_as(x), b[-1].expand_as(x)
                for knot in range(knots - 2, -1, -1):
                    sum_a, sum_b = _turn(sum_a, sum_b, c, s)
                    sum_a, sum_b = sum_a.add_(a[knot]), sum_b.add_(b[knot])
                if first:
                    sum_a = _turn(sum_a, sum_b, torch.cos(x * first), torch.sin(x * first))[0]
                if directions is None:
                    out[view, rows, columns] = sum_a
                else:
                    out[view, rows].addmm_(sum_a, directions[columns])
        return out, None, None, None, None


def _projected(embeddings: Tensor, directions: Tensor | None, columns: slice) -> Tensor:
    return embeddings[:, columns] if directions is None else embeddings @ directions[columns].T
