"""Chat models on this machine: causal language models of transformers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from tutelage.errors import ChatError, DataError, OptionError
from tutelage.models.chat.generate import Drawn, generate
from tutelage.models.chat.protocol import Conversation, Message, Reply, Sampling, TokenLogProb, all_messages, digest
from tutelage.models.language.loading import load
from tutelage.models.measure import fingerprint


class TransformersChat:
    """A causal language model that answers conversations in left-padded batches.

    With a seed, a conversation gets the same reply whatever else is asked with it; without one, every reply is a draw of its own from
    torch's global generator. A model whose tokenizer has no chat template is shown `role: content` lines and continues after `assistant:`.

    Args:
        model: a causal language model of transformers.
        tokenizer: its tokenizer.
        sampling: how replies are drawn.
        batch_size: conversations at a time.
        name: what replies call the model.

    Raises:
        OptionError: for a batch size below 1.
    """

    def __init__(self, model: Any, tokenizer: Any, *, sampling: Sampling | None = None, batch_size: int = 8, name: str = "local") -> None:
        if not isinstance(batch_size, int) or batch_size < 1:
            raise OptionError(f"Option batch={batch_size!r}: expected a whole number of at least 1.")
        self.model, self.tokenizer = model, tokenizer
        self.sampling, self.batch_size, self.name = sampling or Sampling(), batch_size, name

    @classmethod
    def load(
        cls, path: str, *, sampling: Sampling | None = None, batch_size: int = 8, device: str = "cpu", dtype: str = "float32"
    ) -> TransformersChat:
        """Load model and tokenizer from a directory or the hub, from safetensors only and without remote code.

        Args:
            path: the directory or name.
            sampling: how replies are drawn.
            batch_size: conversations at a time.
            device: where the model lies.
            dtype: numbers it computes in: `float32`, `bfloat16` or `float16`.

        Returns:
            The chat model.

        Raises:
            SpecError: if it cannot be found or has no safetensors weights.
            OptionError: for an unknown device or dtype.
            MissingExtra: if transformers is not installed.
        """
        model, tokenizer = load(path, dtype=dtype)
        try:
            model = model.to(device)
        except (RuntimeError, AssertionError) as error:
            raise OptionError(f"Option device={device}: the model cannot be moved there ({error}).") from error
        return cls(model, tokenizer, sampling=sampling, batch_size=batch_size, name=path)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what decides the replies: weights, chat template, sampling."""
        return digest([fingerprint(self.model), str(getattr(self.tokenizer, "chat_template", None)), repr(self.sampling)])

    def complete(self, conversations: Sequence[Conversation], *, sampling: Sampling | None = None) -> list[Reply]:
        """Answer every conversation.

        Args:
            conversations: what to answer.
            sampling: how to draw the replies; by default as the model was set up.

        Returns:
            One reply per conversation, in their order. They cost nothing.

        Raises:
            ChatError: if some conversations leave no room for a reply in the model's context; the others are in its `replies`.
            DataError: if the tokenizer's chat template refuses a conversation.
        """
        sampling = sampling or self.sampling
        asked = all_messages(conversations)
        prompts = [self._tokens(said, position) for position, said in enumerate(asked)]
        context = getattr(self.model.config, "max_position_embeddings", None) or 1 << 20
        failures = {
            i: f"it has {len(p)} tokens, and the context of '{self.name}' is {context}: no room is left for a reply. Shorten it."
            for i, p in enumerate(prompts)
            if len(p) >= context
        }
        replies: list[Reply | None] = [None] * len(asked)
        order = sorted((i for i in range(len(asked)) if i not in failures), key=lambda i: len(prompts[i]))
        for start in range(0, len(order), self.batch_size):
            some = order[start : start + self.batch_size]
            room = context - max(len(prompts[i]) for i in some)
            longest = room if sampling.max_tokens is None else min(sampling.max_tokens, room)
            seeds = [self._seed(asked[i], sampling) for i in some]
            drawn = generate(self.model, self.tokenizer, [prompts[i] for i in some], sampling, seeds, max_new_tokens=longest)
            for i, one in zip(some, drawn, strict=True):
                replies[i] = self._reply(one, len(prompts[i]), sampling)
        if failures:
            first = min(failures)
            raise ChatError(
                f"{len(failures)} of {len(asked)} conversations have no reply. Conversation {first}: {failures[first]} "
                f"The other {len(asked) - len(failures)} replies are in this error's `replies`.",
                replies=replies,
                failures=failures,
            )
        return [reply for reply in replies if reply is not None]

    def _tokens(self, said: Sequence[Message], position: int) -> list[int]:
        if getattr(self.tokenizer, "chat_template", None):
            turns = [{"role": message.role, "content": message.content} for message in said]
            try:
                text = self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
            except Exception as error:  # templates raise what they like, for roles that they do not know or that do not alternate
                raise DataError(f"Conversation {position}: the chat template of '{self.name}' refuses it ({error}).") from error
            tokens: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        else:
            lines = [f"{message.role}: {message.content}" for message in said]
            tokens = self.tokenizer("\n".join([*lines, "assistant:"]))["input_ids"]
        if not tokens:
            raise DataError(f"Conversation {position} has no tokens: '{self.name}' cannot continue nothing.")
        return tokens

    def _seed(self, said: Sequence[Message], sampling: Sampling) -> int:
        if sampling.seed is None:
            return int(torch.randint(1 << 62, ()))
        return int(digest([sampling.seed, [[m.role, m.content] for m in said]])[:15], 16)

    def _reply(self, drawn: Drawn, prompt_tokens: int, sampling: Sampling) -> Reply:
        text: str = self.tokenizer.decode(drawn.tokens, skip_special_tokens=True)
        cut = min((text.find(s) for s in sampling.stop if s in text), default=len(text))
        log_probs = None
        if sampling.log_probs is not None:
            log_probs = tuple(
                TokenLogProb(self._word(token), value, tuple((self._word(other), p) for other, p in top))
                for token, value, top in zip(drawn.tokens, drawn.log_probs, drawn.top, strict=True)
            )
        reason = "stop" if drawn.ended else "length"
        return Reply(text[:cut], log_probs, reason, prompt_tokens, len(drawn.tokens), 0.0, False, self.name)

    def _word(self, token: int) -> str:
        word: str = self.tokenizer.decode([token])
        return word
