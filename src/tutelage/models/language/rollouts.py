"""Continuations of prompts as tensors: what sampling gives and what on-policy methods learn from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tutelage.errors import DataError, ShapeError


@dataclass(frozen=True)
class Rollouts:
    """Prompts, padded on the left to P tokens, with their continuations, padded on the right to T tokens.

    Args:
        tokens: int64 [B, P + T].
        attention: bool [B, P + T], true on real tokens.
        mask: bool [B, T], true on the tokens of the continuation, the one that ended it included.
        log_probs: float32 [B, T], natural logarithm of the probability of each at temperature 1, whatever it was drawn at; NaN where it
            is not known, 0 where there is no token.
        ended: bool [B], whether the continuation ended by an end token, not by the limit.
    """

    tokens: Tensor
    attention: Tensor
    mask: Tensor
    log_probs: Tensor
    ended: Tensor

    def __post_init__(self) -> None:
        rows, length = self.tokens.shape
        shapes = [tuple(each.shape) for each in (self.attention, self.mask, self.log_probs, self.ended)]
        drawn = (rows, self.mask.shape[-1])
        if drawn[1] >= length or shapes != [(rows, length), drawn, drawn, (rows,)]:
            raise ShapeError(
                f"tokens, attention, mask, log_probs and ended are of shapes {(rows, length)}, {', '.join(map(str, shapes))}; "
                "expected [B, P + T], [B, P + T], [B, T], [B, T] and [B], with P at least 1."
            )

    @classmethod
    def of(
        cls,
        prompts: Sequence[Sequence[int]],
        continuations: Sequence[Sequence[int]],
        *,
        log_probs: Sequence[Sequence[float]] | None = None,
        ended: Sequence[bool] | None = None,
        pad: int = 0,
    ) -> Rollouts:
        """Pad lists of tokens, as a teacher's answers or a server's.

        Args:
            prompts: B lists of tokens, none empty.
            continuations: B lists of tokens, the end token included where there is one.
            log_probs: of the tokens of the continuations; NaN if they are not known.
            ended: whether each ended by an end token; by default none did.
            pad: token of the padding, which is never looked at. Default 0.

        Returns:
            The rollouts, on the CPU.

        Raises:
            DataError: if there are no prompts, one is empty, or the lists do not fit each other.
        """
        check_prompts(prompts)
        known = [[math.nan] * len(row) for row in continuations] if log_probs is None else log_probs
        if len(continuations) != len(prompts) or [*map(len, known)] != [*map(len, continuations)]:
            raise DataError(
                f"{len(prompts)} prompts, {len(continuations)} continuations with {sum(map(len, continuations))} tokens and "
                f"{sum(map(len, known))} log-probabilities do not fit: expected one continuation per prompt and one number per token."
            )
        left, right = max(map(len, prompts)), max(map(len, continuations))
        rows = [(left - len(p), len(p), len(c), right - len(c)) for p, c in zip(prompts, continuations, strict=True)]
        tokens = [[pad] * a + [*p] + [*c] + [pad] * d for (a, _, _, d), p, c in zip(rows, prompts, continuations, strict=True)]
        return cls(
            torch.tensor(tokens, dtype=torch.int64),
            torch.tensor([[False] * a + [True] * (b + c) + [False] * d for a, b, c, d in rows]),
            torch.tensor([[True] * c + [False] * d for _, _, c, d in rows]).view(len(rows), right),
            torch.tensor([[*k] + [0.0] * d for k, (_, _, _, d) in zip(known, rows, strict=True)]).view(len(rows), right),
            torch.tensor([False] * len(rows) if ended is None else [*ended]),
        )

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def prompt_length(self) -> int:
        """P, tokens of the padded prompts."""
        return self.tokens.shape[1] - self.mask.shape[1]

    @property
    def drawn(self) -> Tensor:
        """The tokens of the continuations, int64 [B, T]."""
        return self.tokens[:, self.prompt_length :]

    @property
    def lengths(self) -> Tensor:
        """Tokens of each continuation, int64 [B]."""
        return self.mask.sum(1)

    def lists(self) -> list[list[int]]:
        """Return the tokens of each continuation, the one that ended it included."""
        return [row[:length] for row, length in zip(self.drawn.tolist(), self.lengths.tolist(), strict=True)]

    def prompts(self) -> list[list[int]]:
        """Return the tokens of each prompt."""
        left = self.prompt_length
        lengths = self.attention[:, :left].sum(1).tolist()
        return [row[left - length : left] for row, length in zip(self.tokens.tolist(), lengths, strict=True)]

    def texts(self, tokenizer: Any) -> list[str]:
        """Return the text of each continuation, without special tokens.

        Args:
            tokenizer: one of transformers.
        """
        return [tokenizer.decode(row, skip_special_tokens=True) for row in self.lists()]

    def select(self, rows: Tensor) -> Rollouts:
        """Return some rows.

        Args:
            rows: int64 [n] or bool [B].
        """
        return Rollouts(*(each[rows] for each in self._tensors()))

    def to(self, device: torch.device | str) -> Rollouts:
        """Return them on a device."""
        return Rollouts(*(each.to(device) for each in self._tensors()))

    def _tensors(self) -> tuple[Tensor, ...]:
        return self.tokens, self.attention, self.mask, self.log_probs, self.ended


def check_prompts(prompts: Sequence[Sequence[int]], *, vocabulary: int | None = None) -> None:
    """Refuse prompts that cannot be continued.

    Args:
        prompts: lists of tokens.
        vocabulary: tokens that exist.

    Raises:
        DataError: if there is none, one is empty, or a token is outside the vocabulary.
    """
    if not prompts:
        raise DataError("There are no prompts: expected at least one.")
    for position, prompt in enumerate(prompts):
        if not len(prompt):
            raise DataError(
                f"Prompt {position} has no tokens, and nothing cannot be continued: leave it out, or begin it with the tokenizer's "
                "beginning-of-text token."
            )
        if vocabulary is not None and (min(prompt) < 0 or max(prompt) >= vocabulary):
            raise DataError(
                f"Prompt {position} has tokens from {min(prompt)} to {max(prompt)}, but the model's are 0 to {vocabulary - 1}: "
                "it was made by another tokenizer."
            )
