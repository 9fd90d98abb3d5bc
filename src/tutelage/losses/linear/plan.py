"""How many tokens' logits are alive at a time."""

from __future__ import annotations

from typing import NamedTuple

import torch

from tutelage.errors import OptionError

MIB = 2**20
LARGEST_BUDGET = 256 * MIB
# Below this, chunks of a small problem would be so short that calling costs more than computing.
SMALLEST_BUDGET = 8 * MIB
SHARE = 8


class Chunk(NamedTuple):
    """A division of tokens into chunks.

    Args:
        tokens: whose logits are alive at a time.
        chunks: how many there are.
        logit_bytes: memory of the student's and the teacher's logits of one chunk.
    """

    tokens: int
    chunks: int
    logit_bytes: int


def linear_chunk(
    tokens: int,
    vocabulary: int,
    *,
    chunk: int | None = None,
    memory_budget: int | None = None,
    dtype: torch.dtype = torch.float32,
    top_k: bool = False,
) -> Chunk:
    """Return the chunks in which `linear_divergence` walks over the tokens.

    Args:
        tokens: how many there are, those of weight 0 not counted.
        vocabulary: V, classes of both heads.
        chunk: tokens of a chunk, at least 1; `None` for as many as the budget allows.
        memory_budget: bytes for the logits of student and teacher of one chunk. Default: an eighth of what the logits of all tokens
            would take, at least 8 MiB and at most 256 MiB. A chunk has at least one token, whatever the budget.
        dtype: of the logits; the autocast type where that is on. Default float32.
        top_k: whether the teacher is stored, so that only the student has logits. Default no.

    Returns:
        Tokens of a chunk, number of chunks, and the bytes of a chunk's logits.

    Raises:
        OptionError: if the chunk or the budget is below 1.
    """
    for name, value in (("chunk", chunk), ("memory_budget", memory_budget)):
        if value is not None and value < 1:
            raise OptionError(f"{name} is {value}; expected at least 1, or None for the default")
    of_token = max(vocabulary, 1) * dtype.itemsize * (1 if top_k else 2)
    if chunk is None:
        if memory_budget is None:
            memory_budget = min(LARGEST_BUDGET, max(SMALLEST_BUDGET, tokens * of_token // SHARE))
        chunk = memory_budget // of_token
    chunk = max(1, min(chunk, tokens))
    count = -(-tokens // chunk)
    # Chunks of even size: a short last one would waste what the others gained.
    even = -(-tokens // count) if count else chunk
    return Chunk(even, count, even * of_token)
