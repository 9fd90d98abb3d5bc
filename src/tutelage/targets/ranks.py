"""Statistics shared by all processes of a distributed run."""

from __future__ import annotations

import torch.distributed
from torch import Tensor


def mean_over_ranks(statistic: Tensor) -> Tensor:
    """Return a statistic averaged over the processes of a distributed run; itself in a run of one.

    Args:
        statistic: float tensor of the same shape in every process, from shares of the batch of equal size.

    Returns:
        The average, the same in every process.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return statistic
    total = statistic.clone()
    torch.distributed.all_reduce(total)
    return total / torch.distributed.get_world_size()


def gather_over_ranks(rows: Tensor) -> Tensor:
    """Return the rows of all processes of a distributed run, in the order of their ranks; the same tensor in a run of one.

    Args:
        rows: `[N, ...]`; processes may have different numbers of rows, of one shape and type.

    Returns:
        `[sum of N, ...]`, without gradient, the same in every process.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return rows
    rows, world = rows.detach().contiguous(), torch.distributed.get_world_size()
    counts = [torch.zeros(1, dtype=torch.int64, device=rows.device) for _ in range(world)]
    torch.distributed.all_gather(counts, torch.tensor([len(rows)], device=rows.device))
    numbers = [int(count) for count in counts]
    # Collectives take tensors of one shape.
    padded = torch.cat([rows, rows.new_zeros(max(numbers) - len(rows), *rows.shape[1:])])
    found = [torch.empty_like(padded) for _ in range(world)]
    torch.distributed.all_gather(found, padded)
    return torch.cat([part[:number] for part, number in zip(found, numbers, strict=True)])
