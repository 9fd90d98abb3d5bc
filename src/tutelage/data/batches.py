"""Batches whose order is a pure function of seed, epoch and step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tutelage.data.arrays import Arrays
from tutelage.errors import DataError, OptionError


class Batches:
    """A stream of batches over arrays, each gathered as whole tensors.

    Every epoch visits every row once, in an order that depends on `(seed, epoch)` alone. `batch_size` is that of the
    global batch: each of `world` ranks takes its contiguous share, of sizes that differ by at most one. A last
    global batch smaller than `batch_size` is left out with `drop_last`; one too small to give every rank a row is
    left out in any case. So no batch is ever empty.

    A companion stream is gathered beside each batch under its name. It runs on at its own batch size, epoch after
    epoch of its own, and its position depends only on the number of steps that come before: `epoch * steps + step`.

    Args:
        arrays: the samples.
        batch_size: rows of a global batch.
        seed: seed of the order, at least 0.
        shuffle: whether the order is random; else it is that of the rows.
        drop_last: whether an incomplete last batch is left out.
        companions: further streams by the name of their nested dictionary in the batch.
        draws: rows of an epoch, drawn with replacement, so that an epoch over few samples can be long; `None` visits every row once.

    Raises:
        DataError: if no batch can be made of the samples.
        OptionError: if the batch size or seed is out of range, or a companion has the name of a column.
    """

    def __init__(
        self,
        arrays: Arrays,
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = True,
        drop_last: bool = False,
        companions: Mapping[str, Batches] | None = None,
        draws: int | None = None,
    ) -> None:
        if batch_size < 1:
            raise OptionError(f"batch_size is {batch_size}: expected at least 1.")
        if seed < 0:
            raise OptionError(f"The seed of a data order is {seed}: expected at least 0.")
        if draws is not None and (draws < 1 or not len(arrays) or not shuffle):
            raise OptionError(f"draws is {draws} from {len(arrays)} samples of '{arrays.name}': expected at least 1 of each, and shuffle.")
        taken = set(companions or ()) & {*arrays.columns, "index"}
        if taken:
            raise OptionError(f"The companion stream '{min(taken)}' has the name of a column of '{arrays.name}': give it another.")
        self.arrays = arrays
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.companions = dict(companions or {})
        self.draws = draws
        self.rows = len(arrays) if draws is None else draws
        self._order: tuple[int, Tensor] | None = None
        self.steps()

    def __len__(self) -> int:
        """Return the number of steps of an epoch on one rank of one."""
        return self.steps()

    def steps(self, world: int = 1) -> int:
        """Return the number of steps of an epoch that is shared by `world` ranks.

        Args:
            world: number of ranks.

        Returns:
            The steps, at least 1.

        Raises:
            DataError: if there would be none.
            OptionError: if a global batch has fewer rows than there are ranks.
        """
        if not 1 <= world <= self.batch_size:
            raise OptionError(f"{world} ranks cannot share a global batch of {self.batch_size} rows: expected 1 to {self.batch_size}.")
        full, rest = divmod(self.rows, self.batch_size)
        steps = full + (not self.drop_last and rest >= world)
        if steps == 0:
            raise DataError(
                f"'{self.arrays.name}' has {self.rows} samples: too few for one batch of {self.batch_size} shared by {world} rank(s)"
                f"{' with drop_last' if self.drop_last else ''}. Lower batch_size or add samples."
            )
        return int(steps)

    def order(self, epoch: int) -> Tensor:
        """Return the rows of an epoch in the order of their visit.

        Args:
            epoch: number of the epoch, from 0.

        Returns:
            int64 permutation `[N]` of the rows, or rows drawn with replacement `[draws]`, on the arrays' device.
        """
        if self._order is None or self._order[0] != epoch:
            rows = np.arange(len(self.arrays))
            if self.shuffle:
                random = np.random.default_rng(np.random.SeedSequence((self.seed, epoch)))
                rows = random.permutation(len(rows)) if self.draws is None else random.integers(0, len(rows), self.draws)
            self._order = (epoch, torch.from_numpy(rows).to(self.arrays.device))
        return self._order[1]

    def batch(self, epoch: int, step: int, *, rank: int = 0, world: int = 1) -> dict[str, Any]:
        """Return one rank's share of one global batch.

        Args:
            epoch: number of the epoch, from 0.
            step: number of the step in it, below `steps(world)`.
            rank: which share.
            world: number of shares.

        Returns:
            What `Arrays.gather` returns, and a nested dictionary per companion.
        """
        steps = self.steps(world)
        if not (0 <= step < steps and 0 <= rank < world):
            raise OptionError(f"There is no step {step} of rank {rank}: an epoch has {steps} steps of {world} rank(s), counted from 0.")
        first = step * self.batch_size
        size = min(self.batch_size, self.rows - first)
        share = self.order(epoch)[first + rank * size // world : first + (rank + 1) * size // world]
        batch = self.arrays.gather(share)
        done = epoch * steps + step
        for name, companion in self.companions.items():
            batch[name] = companion.batch(*divmod(done, companion.steps(world)), rank=rank, world=world)
        return batch

    def epoch(self, epoch: int, *, start: int = 0, rank: int = 0, world: int = 1) -> Iterator[dict[str, Any]]:
        """Yield the batches of an epoch.

        Args:
            epoch: number of the epoch, from 0.
            start: number of steps to leave out at its start; they cost nothing.
            rank: which share of every global batch.
            world: number of shares.

        Yields:
            Batches as `batch` returns them, from step `start` on.
        """
        for step in range(start, self.steps(world)):
            yield self.batch(epoch, step, rank=rank, world=world)

    def to(self, device: torch.device | str) -> Batches:
        """Return the same stream, and its companions, with arrays on `device`."""
        return Batches(
            self.arrays.to(device),
            self.batch_size,
            seed=self.seed,
            shuffle=self.shuffle,
            drop_last=self.drop_last,
            companions={name: companion.to(device) for name, companion in self.companions.items()},
            draws=self.draws,
        )
