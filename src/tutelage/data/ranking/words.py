"""A vocabulary that tells rare words apart by their hash, and texts of any length as one tensor."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from tutelage.data.words import Vocabulary, words
from tutelage.errors import CheckpointError, OptionError
from tutelage.files import write_json


def pad(rows: Sequence[Sequence[int]], limit: int | None = None) -> Tensor:
    """Return token numbers as one tensor.

    Args:
        rows: tokens of each text.
        limit: longer texts are cut to so many tokens; `None` for no limit.

    Returns:
        int64 `[N, L]` with L the longest (at least 1), 0 behind the last token.
    """
    length = max((len(row) for row in rows), default=0)
    length = max(min(length, length if limit is None else limit), 1)
    found = torch.zeros(len(rows), length, dtype=torch.int64)
    for place, row in enumerate(rows):
        cut = torch.as_tensor(row[:length], dtype=torch.int64)
        found[place, : len(cut)] = cut
    return found


class HashedVocabulary:
    """Numbers of words from 1; 0 is padding. Words that it does not know share `buckets` numbers by their hash, so that they still match.

    Args:
        known: words in the order of their numbers, each once.
        buckets: numbers for all other words, at least 1.

    Raises:
        OptionError: for a repeated word or no bucket.
    """

    def __init__(self, known: Sequence[str], buckets: int = 2000) -> None:
        self.known, self.buckets = tuple(known), buckets
        self._number = {word: place for place, word in enumerate(self.known, 1)}
        if len(self._number) < len(self.known) or buckets < 1:
            raise OptionError(f"A vocabulary takes each word once and at least 1 bucket; got {len(known)} words, {buckets} buckets.")

    @classmethod
    def of(cls, texts: Iterable[str], size: int = 20_000, buckets: int = 2000) -> HashedVocabulary:
        """Return the vocabulary of the most frequent words of texts; of equally frequent ones the first in the alphabet.

        Args:
            texts: texts to learn from.
            size: most words that are known.
            buckets: numbers for all others.
        """
        return cls(Vocabulary.of(texts, size + 2).known, buckets)

    def __len__(self) -> int:
        """Return the number of numbers, that of padding included."""
        return 1 + len(self.known) + self.buckets

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the word numbers of each text, of any length."""
        first = 1 + len(self.known)
        numbers, found = self._number, []
        for text in texts:
            row = []
            for word in words(text):
                number = numbers.get(word)
                # CRC-32, because Python's own hash differs from process to process.
                row.append(first + zlib.crc32(word.encode()) % self.buckets if number is None else number)
            found.append(row)
        return found

    def save(self, directory: Path) -> None:
        """Write `vocabulary.json` into a folder."""
        write_json(directory / "vocabulary.json", {"words": self.known, "buckets": self.buckets})

    @classmethod
    def load(cls, directory: str | Path) -> HashedVocabulary:
        """Read what `save` wrote.

        Raises:
            CheckpointError: if it is missing or damaged.
        """
        path = Path(directory) / "vocabulary.json"
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            return cls([str(word) for word in found["words"]], int(found["buckets"]))
        except (OSError, ValueError, KeyError, TypeError, OptionError) as error:
            raise CheckpointError(f"{path} is missing or damaged ({error}). Save the ranker again.") from error
