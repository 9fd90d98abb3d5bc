"""Texts as rows of token ids: by a vocabulary of words, by hashed words, or by a tokenizer of transformers."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor

from tutelage.data.arrays import Arrays
from tutelage.errors import DataError, OptionError

PADDING = 0
"""Id that fills rows up, of vocabularies and hashed words."""
_WORD = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """Return the words of a text in lower case: its runs of letters, digits and underscores."""
    return _WORD.findall(text.lower())


class Encoder(Protocol):
    """What turns texts into rows of ids of one length, padded with 0; its length is the number of ids."""

    def __len__(self) -> int: ...

    def encode(self, texts: Sequence[str], length: int) -> Tensor:
        """Return int64 `[N, length]`."""
        ...


class Vocabulary:
    """The most frequent words of some texts. Id 0 is padding, 1 any other word.

    Args:
        known: the words, in the order of their ids from 2 on.

    Raises:
        OptionError: if a word comes twice.
    """

    def __init__(self, known: Sequence[str]) -> None:
        self.known = tuple(known)
        self._ids = {word: place for place, word in enumerate(self.known, 2)}
        if len(self._ids) != len(self.known):
            raise OptionError(f"The vocabulary has {len(self.known) - len(self._ids)} words twice; expected each once.")

    @classmethod
    def of(cls, texts: Iterable[str], size: int = 20_000, *, least: int = 1) -> Vocabulary:
        """Count the words of texts and keep the most frequent, equal ones in alphabetical order.

        Args:
            texts: training texts only.
            size: ids in all, at least 3.
            least: occurrences that a word needs.

        Returns:
            The vocabulary; smaller where there are fewer words.

        Raises:
            OptionError: if the size is below 3.
            DataError: if there is no word.
        """
        if size < 3:
            raise OptionError(f"A vocabulary of size {size} has no room for a word: expected at least 3.")
        counts = Counter(word for text in texts for word in words(text))
        ranked = sorted((-count, word) for word, count in counts.items() if count >= least)
        if not ranked:
            raise DataError("The texts have no word to put into a vocabulary.")
        return cls([word for _, word in ranked[: size - 2]])

    def __len__(self) -> int:
        return len(self.known) + 2

    def encode(self, texts: Sequence[str], length: int) -> Tensor:
        """Return the ids of the first words of texts.

        Args:
            texts: N texts.
            length: words of each that count.

        Returns:
            int64 `[N, length]`, padded with 0.
        """
        return _rows(texts, length, lambda word: self._ids.get(word, 1))


class HashedWords:
    """Words in a fixed number of buckets, without a vocabulary to fit or to keep. Id 0 is padding.

    Args:
        size: ids in all, at least 2; words may share a bucket.

    Raises:
        OptionError: if the size is below 2.

    Source: Weinberger et al., Feature Hashing for Large Scale Multitask Learning, ICML 2009, without its sign.
    """

    def __init__(self, size: int = 20_000) -> None:
        if size < 2:
            raise OptionError(f"HashedWords of size {size} has no bucket beside padding: expected at least 2.")
        self.size = size

    def __len__(self) -> int:
        return self.size

    def encode(self, texts: Sequence[str], length: int) -> Tensor:
        """Return the buckets of the first words of texts, int64 `[N, length]`, padded with 0.

        Args:
            texts: N texts.
            length: words of each that count.
        """
        return _rows(texts, length, lambda word: 1 + zlib.crc32(word.encode()) % (self.size - 1))


def _rows(texts: Sequence[str], length: int, number: Callable[[str], int]) -> Tensor:
    if length < 1:
        raise OptionError(f"length is {length}; expected at least 1 word of each text.")
    found = np.full((len(texts), length), PADDING, np.int64)
    for row, text in enumerate(texts):
        ids = [number(word) for word in words(text)[:length]]
        found[row, : len(ids)] = ids
    return torch.from_numpy(found)


def token_ids(texts: Sequence[str], by: Encoder | Any, length: int) -> Tensor:
    """Return texts as ids.

    Args:
        texts: N texts.
        by: a `Vocabulary`, `HashedWords`, or a tokenizer of transformers, whose own special tokens and padding are used.
        length: ids of each text; longer ones are cut.

    Returns:
        int64 `[N, length]`.
    """
    if isinstance(by, Vocabulary | HashedWords) or not callable(by):
        return cast(Encoder, by).encode(texts, length)
    made = by(list(texts), padding="max_length", truncation=True, max_length=length, return_tensors="pt")
    found: Tensor = made["input_ids"]
    return found


def tokenised(arrays: Arrays, by: Encoder | Any, length: int) -> Arrays:
    """Return samples of texts with ids in place of the texts, so that no training step tokenises again.

    Args:
        arrays: with a column `input` of texts.
        by: as for `token_ids`.
        length: ids of each text.

    Returns:
        The same samples; `input` is int64 `[N, length]`.

    Raises:
        DataError: if the inputs are no texts.
    """
    texts = arrays.column("input")
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise DataError(f"The inputs of '{arrays.name}' are no texts, so they cannot be tokenised.")
    return arrays.replace(input=token_ids(texts, by, length))
