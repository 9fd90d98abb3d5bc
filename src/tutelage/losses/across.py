"""Sums and rows over all processes of a distributed training, through which gradients flow back to every process."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed


def shared() -> bool:
    """Whether this process trains together with others."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        total = tensor.contiguous().clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        distributed.all_reduce(total)
        return total


def sum_over_processes(tensor: Tensor) -> Tensor:
    """Return the sum of a tensor over all processes; the gradient is the sum of what all processes send back.

    A statistic of the global batch that is made of such sums has the same value on every process. Where gradients are then averaged
    over processes, as DDP does, each parameter gets the gradient that one process with the whole batch would compute.

    Args:
        tensor: of the same shape on every process.

    Returns:
        The sum; the tensor itself where there is one process.
    """
    return _Sum.apply(tensor) if shared() else tensor  # type: ignore[no-untyped-call]


def count_over_processes(count: int, like: Tensor) -> int:
    """Return the sum of a count over all processes.

    Args:
        count: the count of this process.
        like: a tensor on the device of the process group.
    """
    if not shared():
        return count
    total = torch.tensor(count, device=like.device)
    distributed.all_reduce(total)
    return int(total)


def rows_over_processes(tensor: Tensor, *, dim: int = -2) -> Tensor:
    """Return the rows of all processes, in the order of their ranks; gradients flow back to the process that a row came from.

    Args:
        tensor: rows along `dim`, of which each process may have another number.
        dim: the axis of rows.

    Returns:
        The rows of all; the tensor itself where there is one process.
    """
    if not shared():
        return tensor
    counts = torch.zeros(distributed.get_world_size(), dtype=torch.int64, device=tensor.device)
    counts[distributed.get_rank()] = tensor.shape[dim]
    distributed.all_reduce(counts)
    before, total = int(counts[: distributed.get_rank()].sum()), int(counts.sum())
    rows = tensor.movedim(dim, 0)
    placed = torch.cat([rows.new_zeros(before, *rows.shape[1:]), rows, rows.new_zeros(total - before - len(rows), *rows.shape[1:])])
    return sum_over_processes(placed).movedim(0, dim)
