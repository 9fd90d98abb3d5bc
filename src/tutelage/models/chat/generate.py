"""Drawing tokens from a causal language model: batched, with a cache of keys and values, reproducibly, with log-probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tutelage.models.chat.protocol import Sampling
from tutelage.models.language.generation import draw
from tutelage.models.language.parts import ends


@dataclass(frozen=True)
class Drawn:
    """The tokens drawn for one prompt.

    Args:
        tokens: their numbers, without the one that ended them.
        log_probs: of each, natural logarithm, before temperature and `top_p`.
        top: per token, the likeliest tokens with their log-probabilities, likeliest first; empty lists if none were asked for.
        ended: whether the model ended by itself or by a stop text, not by the limit.
    """

    tokens: list[int]
    log_probs: list[float]
    top: list[list[tuple[int, float]]]
    ended: bool


class Chooser:
    """Chooses the next token of every row; stands among the logits processors of `generate`, which then follows its choice.

    A row draws from its own generator only, so that what it says does not depend on the rows beside it.

    Args:
        sampling: temperature, `top_p` and how many alternatives to note.
        seeds: one per row.
    """

    def __init__(self, sampling: Sampling, seeds: Sequence[int]) -> None:
        self.temperature = 1.0 if sampling.temperature is None else sampling.temperature
        self.top_p, self.alternatives = sampling.top_p, sampling.log_probs
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.tokens: list[Tensor] = []
        self.log_probs: list[Tensor] = []
        self.top: list[tuple[Tensor, Tensor]] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return scores [B, V] in which only the chosen token of each row is possible."""
        uniform = torch.stack([torch.rand((), generator=g, dtype=torch.float64) for g in self.generators]).to(scores.device)
        chosen, log_probs = draw(scores, uniform, self.temperature, self.top_p)
        self.tokens.append(chosen.cpu())
        self.log_probs.append(log_probs.cpu())
        if self.alternatives:
            values, indices = scores.float().log_softmax(-1).topk(min(self.alternatives, scores.shape[-1]), -1)
            self.top.append((values.cpu(), indices.cpu()))
        return torch.full_like(scores, -torch.inf).scatter_(-1, chosen[:, None], 0.0)


def generate(
    model: Any, tokenizer: Any, prompts: Sequence[Sequence[int]], sampling: Sampling, seeds: Sequence[int], *, max_new_tokens: int
) -> list[Drawn]:
    """Continue prompts, all in one batch.

    Args:
        model: a causal language model of transformers.
        tokenizer: its tokenizer.
        prompts: B lists of token numbers, none empty.
        sampling: how to draw.
        seeds: one per prompt.
        max_new_tokens: longest continuation.

    Returns:
        What was drawn for each prompt.
    """
    import transformers

    ending = ends(model, tokenizer)
    padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else min(ending, default=0)
    length = max(map(len, prompts))
    device = next(model.parameters()).device
    ids = torch.tensor([[padding] * (length - len(p)) + list(p) for p in prompts], device=device)
    mask = torch.tensor([[0] * (length - len(p)) + [1] * len(p) for p in prompts], device=device)
    chooser = Chooser(sampling, seeds)
    config = transformers.GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        eos_token_id=sorted(ending) or None,
        pad_token_id=padding,
        use_cache=True,
        stop_strings=list(sampling.stop) or None,
    )
    own, training = model.generation_config, model.training
    model.generation_config = transformers.GenerationConfig()  # the model's own defaults (penalties, top-k) would mix in
    try:
        model.eval()
        with torch.inference_mode():
            processors = transformers.LogitsProcessorList([chooser])
            model.generate(ids, attention_mask=mask, generation_config=config, logits_processor=processors, tokenizer=tokenizer)
    finally:
        model.generation_config = own
        model.train(training)
    return [_row(chooser, row, ending, tokenizer, sampling.stop) for row in range(len(prompts))]


def _row(chooser: Chooser, row: int, ending: set[int], tokenizer: Any, stop: Sequence[str]) -> Drawn:
    """Cut one row of the batch where it ended: after that it was only carried along."""
    tokens = [int(step[row]) for step in chooser.tokens]
    length = next((i for i, token in enumerate(tokens) if token in ending), len(tokens))
    ended = length < len(tokens)
    if stop and any(s in tokenizer.decode(tokens[:length], skip_special_tokens=True) for s in stop):
        ended = True
        length = next(n for n in range(length + 1) if any(s in tokenizer.decode(tokens[:n], skip_special_tokens=True) for s in stop))
    top = [[(int(i), float(v)) for v, i in zip(values[row], indices[row], strict=True)] for values, indices in chooser.top[:length]] or [
        [] for _ in range(length)
    ]
    return Drawn(tokens[:length], [float(step[row]) for step in chooser.log_probs[:length]], top, ended)
