"""Learning a language by its next token: pre-training, and fine-tuning on answers (SFT)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tutelage import losses
from tutelage.models.language import token_log_probs
from tutelage.train.method import Batch, Method


class NextToken(Method):
    """Cross-entropy of the next token, of answers alone or of prompts too.

    On a teacher's samples this is sequence-level distillation: forward KL up to a constant.

    Batch keys: `input` int64 `[B, L]`, prompt and answer, padded on the right; `length` int64 `[B]`, tokens of both; `prompt` int64
    `[B]`, tokens of the prompt (`models.language.answer_pairs` makes them).

    Args:
        student: a causal language model of transformers.
        prompts: learn the tokens of prompts too, but for a text's first. Default no.
        chunk: tokens whose logits are alive at a time. Default as many as fit into 64 MiB.
    """

    def __init__(self, student: Any, *, prompts: bool = False, chunk: int | None = None) -> None:
        super().__init__()
        self.student = student
        self.prompts, self.chunk = prompts, chunk

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the mean over all learned tokens of the batch as `ce`, in nats."""
        length = batch["length"][:, None]
        tokens: Tensor = batch["input"][:, : int(length.max())]
        place = torch.arange(tokens.shape[1], device=tokens.device)
        attention = place < length
        first = torch.ones_like(length) if self.prompts else batch["prompt"][:, None].clamp(min=1)
        wanted = attention & (place >= first)
        found = token_log_probs(self.student, tokens, attention, wanted, chunk=self.chunk)
        return {"ce": losses.mean(-found, wanted.float())}
