"""Memories of past features: a first-in-first-out queue, and means that are moved towards what they are nearest to."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tutelage.errors import OptionError, ShapeError
from tutelage.targets.distances import squared_distances
from tutelage.targets.ranks import gather_over_ranks


class FeatureQueue(nn.Module):
    """The last K feature vectors that were pushed, oldest overwritten first.

    Entries start as rectified standard normal numbers, like features behind a ReLU. Entries and pointer are buffers: they are saved in
    checkpoints and never trained. In a distributed run the vectors of all processes are pushed, in the order of their ranks, so that every
    process holds the same queue. A queue longer than the data holds vectors of several epochs.

    Args:
        size: number of entries, K.
        width: length of a vector, C.

    Raises:
        OptionError: if a number is not positive.

    Source: He et al., Momentum contrast for unsupervised visual representation learning, CVPR 2020, section 3.2.
    """

    words: Tensor
    pointer: Tensor

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        _positive(size, width)
        self.register_buffer("words", torch.randn(size, width).clamp_min_(0))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))

    def snapshot(self) -> Tensor:
        """Return a copy of the entries `[K, C]`, which a later push leaves as it is."""
        return self.words.clone()

    @torch.no_grad()
    def push(self, vectors: Tensor) -> None:
        """Overwrite the oldest entries.

        Args:
            vectors: `[B, C]` of this process.

        Raises:
            ShapeError: if they are not of the queue's width.
            OptionError: if the size is not a multiple of the number of vectors of all processes.
        """
        _fitting(vectors, self.words)
        vectors = gather_over_ranks(vectors.to(self.words.dtype))
        size, number = len(self.words), len(vectors)
        if number == 0 or size % number:
            raise OptionError(
                f"A queue of {size} entries got {number} vectors at once; its size must be a multiple of their number. "
                f"Choose a batch size that divides {size}, and leave incomplete batches out (drop_last=True)."
            )
        # Positions are computed on the device: reading the pointer would stall it.
        self.words.index_copy_(0, (self.pointer + torch.arange(number, device=self.pointer.device)) % size, vectors)
        self.pointer.add_(number).remainder_(size)


class OnlineMeans(nn.Module):
    """K means of feature vectors, each an exponential average of the vectors that were nearest to it: k-means, one batch at a time.

    `n_k <- m n_k + (1 - m) count_k`, `s_k <- m s_k + (1 - m) sum_k`, `word_k = s_k / n_k`. Means that no vector has been near to for long
    (`n_k` below `floor`) start again at vectors of the batch, evenly spaced over it. All processes hold the same means.

    Args:
        size: number of means, K.
        width: length of a vector, C.
        momentum: m, in [0, 1). Default 0.99.
        floor: smallest averaged number of vectors per push, above 0. Default 0.01.

    Raises:
        OptionError: if a number is out of range.

    Source: van den Oord et al., Neural discrete representation learning, NeurIPS 2017, appendix A.1; the floor is ours.
    """

    words: Tensor
    counts: Tensor

    def __init__(self, size: int, width: int, *, momentum: float = 0.99, floor: float = 0.01) -> None:
        super().__init__()
        _positive(size, width)
        if not 0 <= momentum < 1 or not floor > 0:
            raise OptionError(f"Online means got momentum={momentum}, floor={floor}: expected 0 <= momentum < 1 and a floor above 0.")
        self.momentum, self.floor = momentum, floor
        self.register_buffer("words", torch.randn(size, width).clamp_min_(0))
        self.register_buffer("counts", torch.ones(size))

    def snapshot(self) -> Tensor:
        """Return a copy of the means `[K, C]`, which a later push leaves as it is."""
        return self.words.clone()

    @torch.no_grad()
    def push(self, vectors: Tensor) -> None:
        """Move the means towards the vectors that are nearest to them.

        Args:
            vectors: `[B, C]` of this process, any number.

        Raises:
            ShapeError: if they are not of the means' width, or there are none.
        """
        _fitting(vectors, self.words)
        vectors = gather_over_ranks(vectors.to(self.words.dtype))
        if len(vectors) == 0:
            raise ShapeError("Online means got no vectors; expected at least one.")
        nearest = squared_distances(vectors, self.words).argmin(1)
        found = torch.zeros_like(self.counts).index_add_(0, nearest, torch.ones_like(vectors[:, 0]))
        sums = torch.zeros_like(self.words).index_add_(0, nearest, vectors)
        kept = self.momentum * self.counts
        counts = kept + (1 - self.momentum) * found
        means = (kept[:, None] * self.words + (1 - self.momentum) * sums) / counts.clamp_min(torch.finfo(counts.dtype).tiny)[:, None]
        idle = counts < self.floor
        # The j-th of them takes the j-th of as many evenly spaced vectors.
        place = (idle.cumsum(0) - 1).clamp_min(0) * len(vectors) // idle.sum().clamp_min(1)
        self.words.copy_(torch.where(idle[:, None], vectors[place % len(vectors)], means))
        self.counts.copy_(torch.where(idle, torch.ones_like(counts), counts))


def _positive(size: int, width: int) -> None:
    if size < 1 or width < 1:
        raise OptionError(f"A memory of features got size={size}, width={width}: expected at least 1.")


def _fitting(vectors: Tensor, words: Tensor) -> None:
    if vectors.ndim != 2 or vectors.shape[1] != words.shape[1]:
        raise ShapeError(f"A memory of vectors of length {words.shape[1]} got {list(vectors.shape)}; expected [B, {words.shape[1]}].")
