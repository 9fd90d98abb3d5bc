"""A causal language model with its cache of keys and values, for a batch of texts that grow by one token at a time."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tutelage.errors import optional
from tutelage.models.language.parts import unwrapped


class Reader:
    """The model with its cache, for rows that grow by one token at a time.

    Args:
        model: the language model.
        prompts: of the rows.
        limit: tokens that may be added.
        padding: token of the padding.
        device: of the model.
    """

    def __init__(self, model: Any, prompts: Sequence[Sequence[int]], limit: int, padding: int, device: torch.device) -> None:
        transformers = optional("transformers", "language")
        self.model = model
        self.cache = transformers.DynamicCache(config=model.config)
        distinct: dict[tuple[int, ...], int] = {}
        self.group = torch.tensor([distinct.setdefault(tuple(prompt), len(distinct)) for prompt in prompts], device=device)
        self.length = max(map(len, prompts))
        self.padded = any(len(prompt) < self.length for prompt in distinct)
        self.tokens = torch.tensor([[padding] * (self.length - len(p)) + list(p) for p in distinct], device=device)
        lengths = torch.tensor([len(prompt) for prompt in distinct], device=device)
        self.attention = torch.arange(self.length + limit, device=device) >= (self.length - lengths)[:, None]
        self.positions = lengths[:, None]
        takes = inspect.signature(unwrapped(model).forward).parameters
        self.last_only: dict[str, Any] = {"logits_to_keep": 1} if "logits_to_keep" in takes else {}
        self.places = "position_ids" in takes

    def read(self) -> Tensor:
        """Read each distinct prompt once and return the logits of the first token of every row, [rows, V]."""
        places = (torch.arange(self.length, device=self.tokens.device) - self.length + self.positions).clamp(min=0)
        logits = self._logits(self.tokens, places)
        if len(self.group) > len(self.tokens):
            self.keep(self.group)
            logits = logits[self.group]
        return logits

    def next(self, drawn: Tensor) -> Tensor:
        """Add a token to every row and return the logits of the next, [rows, V]."""
        self.length += 1
        logits = self._logits(drawn[:, None], self.positions)
        self.positions = self.positions + 1
        return logits

    def keep(self, rows: Tensor) -> None:
        """Keep some rows, int64 [n], of which one may stand several times."""
        self.cache.batch_select_indices(rows)
        self.attention, self.positions = self.attention[rows], self.positions[rows]

    def _logits(self, tokens: Tensor, places: Tensor) -> Tensor:
        options: dict[str, Any] = dict(self.last_only)
        if self.places:
            options["position_ids"] = places
        if self.padded:
            options["attention_mask"] = self.attention[:, : self.length].long()
        answer = self.model(input_ids=tokens, past_key_values=self.cache, use_cache=True, **options)
        logits: Tensor = answer.logits[:, -1]
        return logits
