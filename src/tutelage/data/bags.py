"""Bags: samples that are sets of instances, of a number that varies from bag to bag, in memory or read from files when asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tutelage.errors import DataError


@dataclass(frozen=True)
class StoredBag:
    """A bag on disk.

    Args:
        name: what errors call it.
        shape: `(N, ...)`, known without reading its instances.
        load: reads it as a tensor of that shape.
    """

    name: str
    shape: tuple[int, ...]
    load: Callable[[], Tensor]

    def read(self) -> Tensor:
        """Return the instances, float32 `[N, ...]`.

        Raises:
            DataError: if the file changed its shape, or an instance is NaN or infinite.
        """
        bag = self.load()
        if tuple(bag.shape) != self.shape:
            raise DataError(f"The bag '{self.name}' had the shape {self.shape} and now has {tuple(bag.shape)}: it changed on disk.")
        bag = bag.float()
        if not bool(torch.isfinite(bag).all()):
            raise DataError(
                f"The bag '{self.name}' holds an instance that is NaN or infinite. Correct it, or leave it out with skip_bad=True."
            )
        return bag


class Bags:
    """A column of bags, which `Arrays` gathers as a list of tensors.

    Args:
        bags: for each sample a tensor `[N_i, ...]` with `N_i` of at least 1 (uint8 images `[N_i, C, H, W]` are gathered as float32 in
            [0, 1]), or a `StoredBag`.
        mean: subtracted from every instance, `[...]`, or `None`.
        std: what is left is divided by this, `[...]`, or `None`.

    Raises:
        DataError: if instances of different bags differ in shape; an empty bag is left to `data.checks`, which can leave it out.
    """

    def __init__(self, bags: Sequence[Tensor | StoredBag], *, mean: Tensor | None = None, std: Tensor | None = None) -> None:
        self.bags = list(bags)
        self.mean, self.std = mean, std
        self.instance_shape: tuple[int, ...] = tuple(self.bags[0].shape[1:]) if self.bags else ()
        for number, bag in enumerate(self.bags):
            if len(bag.shape) < 2 or tuple(bag.shape[1:]) != self.instance_shape:
                raise DataError(
                    f"Bag {number} ('{name_of(bag, number)}') has the shape {tuple(bag.shape)}; expected instances of the shape of the "
                    f"first bag's, [N, {', '.join(map(str, self.instance_shape))}]."
                )

    def __len__(self) -> int:
        return len(self.bags)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, row: int) -> Tensor:
        """Return one bag `[N, ...]`, read if it is on disk."""
        bag = self.bags[row]
        values = bag.read() if isinstance(bag, StoredBag) else bag
        if not values.is_floating_point():
            values = values.float().div_(255) if values.dtype == torch.uint8 and values.ndim == 4 else values.float()
        if self.mean is not None:
            values = values - self.mean.to(values.device)
        return values if self.std is None else values / self.std.to(values.device)

    @property
    def sizes(self) -> Tensor:
        """Number of instances of every bag, int64 `[B]`; nothing is read."""
        return torch.tensor([bag.shape[0] for bag in self.bags], dtype=torch.int64)

    @property
    def bytes(self) -> int:
        """Bytes of the bags that are in memory."""
        return sum(bag.numel() * bag.element_size() for bag in self.bags if isinstance(bag, Tensor))

    def take(self, rows: np.ndarray, device: torch.device) -> list[Tensor]:
        """Return some bags on a device."""
        return [self[int(row)].to(device) for row in rows]

    def subset(self, rows: np.ndarray) -> Bags:
        """Return the chosen bags; nothing is copied or read."""
        return Bags([self.bags[int(row)] for row in rows], mean=self.mean, std=self.std)

    def to(self, device: torch.device | str) -> Bags:
        """Return the same bags with those in memory on `device`; those on disk are moved when they are gathered."""
        return Bags([bag.to(device) if isinstance(bag, Tensor) else bag for bag in self.bags], mean=self.mean, std=self.std)

    def bad(self) -> dict[str, Tensor]:
        """Return which bags have each kind of defect, bool `[B]`; those on disk are checked when they are read."""
        finite = [not isinstance(b, Tensor) or not b.is_floating_point() or bool(torch.isfinite(b).all()) for b in self.bags]
        return {"no instance": self.sizes == 0, "an instance that is NaN or infinite": ~torch.tensor(finite, dtype=torch.bool)}

    def moments(self) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation over all instances of all bags, float32 `[...]` each; constant features get 1."""
        count, total, squares = 0, torch.zeros(()), torch.zeros(())
        for bag in self:
            values = bag.double()
            count, total, squares = count + len(bag), total + values.sum(0), squares + values.square().sum(0)
        mean = total / max(count, 1)
        std = (squares / max(count, 1) - mean.square()).clamp_min(0).sqrt()
        # Below this the variance is what rounding left of two equal numbers.
        constant = std <= 1e-6 * mean.abs().clamp_min(1e-30)
        return mean.float(), std.masked_fill(constant, 1.0).float()

    def standardised(self, mean: Tensor, std: Tensor) -> Bags:
        """Return the bags shifted and scaled by a mean and a standard deviation; nothing is read."""
        if self.mean is not None or self.std is not None:
            raise DataError("These bags are standardised already: give the raw ones.")
        return Bags(self.bags, mean=mean, std=std)

    def digest(self, digest: hashlib._Hash) -> None:
        """Add shapes and contents to a checksum, one bag at a time."""
        for bag in self:
            digest.update(f"\0{tuple(bag.shape)}{bag.dtype}".encode())
            digest.update(bag.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())


def name_of(bag: Tensor | StoredBag, number: int) -> str:
    """Return the name of a bag on disk, or the number of one in memory."""
    return bag.name if isinstance(bag, StoredBag) else str(number)


def join(columns: Sequence[Bags]) -> Bags:
    """Return the bags of several columns one after the other.

    Args:
        columns: at least one, all standardised by the same numbers or none.

    Raises:
        DataError: if they are standardised differently.
    """
    first = columns[0]
    for column in columns:
        for mine, other in ((first.mean, column.mean), (first.std, column.std)):
            if (mine is None) != (other is None) or (mine is not None and other is not None and not torch.equal(mine, other)):
                raise DataError("Bags that are standardised by different numbers cannot be joined: join the raw ones.")
    return Bags([bag for column in columns for bag in column.bags], mean=first.mean, std=first.std)
