"""Heads that classify into words: weights generated from the words themselves, or one learned weight per entry of the vocabulary."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tutelage.errors import OptionError, ShapeError


class WeightGenerator(nn.Module):
    """Maps each word of a changing vocabulary to the weights with which a linear classifier scores it.

    L2-normalise, linear without bias, batch normalisation over words, ReLU, linear, L2-normalise: a permutation of the words permutes the
    weights likewise, so that a word may move to another place, or give way to another, without the head being learned anew.

    Args:
        word_width: length of a word, C_l.
        width: length of a weight, C, that of the features to be classified.
        hidden: units in between; `None` for 2C.

    Raises:
        OptionError: for widths that are not positive.

    Source: Gidaris et al., OBoW, CVPR 2021, section 3.2.
    """

    def __init__(self, word_width: int, width: int, *, hidden: int | None = None) -> None:
        super().__init__()
        hidden = 2 * width if hidden is None else hidden
        if min(word_width, width, hidden) < 1:
            raise OptionError(f"A weight generator takes positive widths: got word_width={word_width}, width={width}, hidden={hidden}.")
        self.layers = nn.Sequential(nn.Linear(word_width, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, width))

    def forward(self, words: Tensor) -> Tensor:
        """Return weights of unit length `[K, C]` of words `[K, C_l]`, K at least 2 in training."""
        return F.normalize(self.layers(F.normalize(words, dim=1)), dim=1)


class EntryWeights(nn.Module):
    """One learned weight of unit length for each entry of a vocabulary, whatever word stands there: the head that a generator replaces.

    Args:
        entries: size of the vocabulary, K.
        width: length of a weight, C.

    Raises:
        OptionError: for numbers that are not positive.
    """

    def __init__(self, entries: int, width: int) -> None:
        super().__init__()
        if min(entries, width) < 1:
            raise OptionError(f"Weights of entries take positive numbers: got entries={entries}, width={width}.")
        self.weight = nn.Parameter(torch.randn(entries, width) * width**-0.5)

    def forward(self, words: Tensor) -> Tensor:
        """Return the weights `[K, C]`; of the words `[K, C_l]` only their number is looked at."""
        if len(words) != len(self.weight):
            raise ShapeError(f"A head of {len(self.weight)} entries got {len(words)} words; expected as many.")
        return F.normalize(self.weight, dim=1)
