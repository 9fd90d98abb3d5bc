"""A causal language model as a classifier: how likely it finds each class's name as the continuation of a question."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from tutelage.errors import DataError, OptionError
from tutelage.models.label_prompt import LabelPrompt


class LabelScorer(nn.Module):
    """Answers texts with logits whose softmax is each class's share of the probability of all classes' names.

    The question is read once for all classes: its keys and values are kept while the names are tried behind it. Every answer names a
    class, so none is malformed.

    Args:
        model: causal language model of transformers.
        tokenizer: its tokenizer.
        prompt: what is asked.
        normalise: `"sum"` adds the log-probabilities of a name's tokens (default, the probability of the name); `"mean"` averages them,
            which does not hold long names back.
        content_free: a text that says nothing, such as `"N/A"`, whose scores are taken off those of every text, so that a name is not
            chosen for being likely whatever the text; `None` leaves scores as they are (default).
        chat: show the question as a user's message through the tokenizer's chat template, where it has one. Default yes.
        batch_size: texts at a time.

    Raises:
        OptionError: for an option out of range, or a class whose name has no token.

    Source: confidence as the probability of the label's tokens renormalised over the classes is that of arXiv 2411.08028; content-free
        texts are those of Zhao et al., Calibrate Before Use, ICML 2021.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        prompt: LabelPrompt,
        *,
        normalise: Literal["sum", "mean"] = "sum",
        content_free: str | None = None,
        chat: bool = True,
        batch_size: int = 8,
    ) -> None:
        super().__init__()
        if normalise not in ("sum", "mean") or batch_size < 1:
            raise OptionError(
                f"LabelScorer got normalise='{normalise}' and batch_size={batch_size}; expected 'sum' or 'mean', and at least 1."
            )
        self.model, self.tokenizer, self.prompt = model.eval(), tokenizer, prompt
        self.normalise, self.content_free, self.batch_size = normalise, content_free, batch_size
        self.chat = chat and bool(getattr(tokenizer, "chat_template", None))
        # Behind a chat template a reply begins without the space that stands before a word inside a text.
        space = "" if self.chat else " "
        self.names: list[list[int]] = [tokenizer(space + name, add_special_tokens=False)["input_ids"] for name in prompt.classes]
        empty = [name for name, ids in zip(prompt.classes, self.names, strict=True) if not ids]
        if empty:
            raise OptionError(f"The class '{empty[0]}' has no token in this tokenizer, so it cannot be scored.")

    def extra_repr(self) -> str:
        """Show what decides the answers beside the weights, so that a store tells labellers apart."""
        return f"{self.prompt!r}, normalise={self.normalise!r}, content_free={self.content_free!r}, chat={self.chat}"

    @torch.no_grad()
    def forward(self, texts: Sequence[str]) -> Tensor:
        """Return logits, float32 `[N, C]`, of N texts.

        Raises:
            DataError: if a question leaves no room for the longest name in the model's context.
        """
        questions = [self._tokens(text) for text in (*texts, *([] if self.content_free is None else [self.content_free]))]
        context = getattr(self.model.config, "max_position_embeddings", None) or 1 << 20
        longest, room = max(map(len, questions)), context - max(map(len, self.names))
        if longest > room:
            raise DataError(f"A question has {longest} tokens, but {room} fit into the model's context. Lower most_words of the prompt.")
        found = torch.cat([self._score(questions[start : start + self.batch_size]) for start in range(0, len(questions), self.batch_size)])
        return found if self.content_free is None else found[:-1] - found[-1:]

    def _tokens(self, text: str) -> list[int]:
        asked = self.prompt.ask(text)
        if self.chat:
            turns = [{"role": "user", "content": asked}]
            asked = self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        tokens: list[int] = self.tokenizer(asked, add_special_tokens=not self.chat)["input_ids"]
        return tokens

    def _score(self, questions: Sequence[Sequence[int]]) -> Tensor:
        device = next(self.model.parameters()).device
        length = max(map(len, questions))
        ids = torch.tensor([[0] * (length - len(q)) + list(q) for q in questions], device=device)
        mask = torch.tensor([[0] * (length - len(q)) + [1] * len(q) for q in questions], device=device)
        read = self.model(
            input_ids=ids, attention_mask=mask, position_ids=(mask.cumsum(1) - 1).clamp_min(0), use_cache=True, logits_to_keep=1
        )
        first = read.logits[:, -1].float().log_softmax(-1)
        cache = read.past_key_values
        found = torch.stack([first[:, name[0]] for name in self.names], 1)
        for column, name in enumerate(self.names):
            if len(name) == 1:
                continue
            given = torch.tensor(name[:-1], device=device).expand(len(questions), -1)
            seen = torch.cat([mask, torch.ones_like(given)], 1)
            places = mask.sum(1, keepdim=True) + torch.arange(given.shape[1], device=device)
            logits = self.model(input_ids=given, attention_mask=seen, position_ids=places, past_key_values=cache, use_cache=True).logits
            cache.crop(-given.shape[1])
            rest = torch.tensor(name[1:], device=device).expand(len(questions), -1)
            found[:, column] += logits.float().log_softmax(-1).gather(-1, rest.unsqueeze(-1)).squeeze(-1).sum(1)
        if self.normalise == "mean":
            found = found / torch.tensor([len(name) for name in self.names], device=device)
        return found
