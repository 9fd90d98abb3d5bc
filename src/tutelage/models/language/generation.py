"""Sampling from a causal language model: batched, left-padded, with a cache of keys and values.

    sample(model, prompts, *, max_new_tokens, end=None, pad=None, temperature=1.0, top_p=None, seed=0, batch=None) -> Rollouts

`log_probs(model, rollouts, *, temperature=1.0, chunk=None) -> Tensor [B, T]` of `tutelage.models.language.scoring` scores them again,
under the same model with gradient or under a teacher.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from tutelage.errors import DataError, OptionError, TrainingError
from tutelage.models.language.parts import unwrapped
from tutelage.models.language.reading import Reader
from tutelage.models.language.rollouts import Rollouts, check_prompts

# Rows that have ended are carried along until they are this share of all: taking them out copies the cache.
COMPACT = 0.25
# An accelerator is only asked so often whether rows have ended, since each answer has to be waited for.
ASK_EVERY = 8


class Sampler(Protocol):
    """A model that runs elsewhere and samples by itself, as those of `tutelage.models.language.servers`."""

    def sample(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        max_new_tokens: int,
        end: int | Iterable[int] | None,
        pad: int | None,
        temperature: float,
        top_p: float | None,
        seed: int | torch.Generator,
    ) -> Rollouts:
        """Continue prompts, as the function `sample` says."""
        ...


def sample(
    model: Any,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    end: int | Iterable[int] | None = None,
    pad: int | None = None,
    temperature: float = 1.0,
    top_p: float | None = None,
    seed: int | torch.Generator = 0,
    batch: int | None = None,
) -> Rollouts:
    """Continue prompts with tokens drawn from a causal language model.

    Each row draws from random numbers of its own, which depend on the seed and the row's position alone: neither the number of rows nor
    `batch` nor when other rows end changes them. So a row gets the same tokens whatever stands beside it, up to the rounding of matrix
    products, whose last bits can differ between sizes of batches; the same call gives the same tokens bit by bit on a CPU.

    Equal prompts (groups of several rollouts) are read once and share what the cache holds of them. Rows that have ended leave the batch.
    The model draws in eval mode, without graph, and gets its mode back.

    Args:
        model: a causal language model of transformers, on any device, adapted by peft or not; or a `Sampler`, which runs
            elsewhere.
        prompts: B lists of tokens, none empty; equal ones are fine.
        max_new_tokens: longest continuation, at least 1.
        end: tokens that end a continuation. Default those of the model's generation configuration.
        pad: token of the padding. Default the model's, or else the smallest end token, or 0.
        temperature: divides the logits; 0 always takes the likeliest token. Default 1.
        top_p: draw from the smallest set of likeliest tokens with at least this probability; in (0, 1]. Default all tokens.
        seed: of all draws: a number, or a generator of which one number is drawn.
        batch: rows at a time. Default all of them.

    Returns:
        The rollouts, on the model's device; T is the length of the longest continuation drawn.

    Raises:
        DataError: if there is no prompt, one is empty, holds a token that the model does not have, or leaves no room in its context.
        OptionError: for an option outside its range.
        TrainingError: if the model's logits are not finite.
        MissingExtra: if transformers is not installed.
    """
    if not isinstance(model, nn.Module):
        elsewhere: Sampler = model
        return elsewhere.sample(prompts, max_new_tokens=max_new_tokens, end=end, pad=pad, temperature=temperature, top_p=top_p, seed=seed)
    ends, padding = special(getattr(unwrapped(model), "generation_config", None), end, pad)
    _check(model, prompts, max_new_tokens, temperature, top_p, batch, padding)
    device = next(model.parameters()).device
    count = len(prompts)
    uniform = _uniform(seed, count, max_new_tokens).to(device)
    # Neighbours of about one length waste least on padding, and equal prompts meet in one batch.
    order = sorted(range(count), key=lambda row: (len(prompts[row]), list(prompts[row])))
    tokens = torch.full((count, max_new_tokens), padding, device=device)
    log_probs = torch.zeros(count, max_new_tokens, device=device)
    lengths = torch.zeros(count, dtype=torch.int64, device=device)
    ended = torch.zeros(count, dtype=torch.bool, device=device)
    stop = torch.tensor(sorted(ends), dtype=torch.int64, device=device)
    training = model.training
    try:
        model.eval()
        with torch.inference_mode():
            for start in range(0, count, batch or count):
                rows = torch.tensor(order[start : start + (batch or count)], device=device)
                _continue(model, prompts, rows, uniform, temperature, top_p, stop, padding, (tokens, log_probs, lengths, ended))
    finally:
        model.train(training)
    if not log_probs.isfinite().all():
        raise TrainingError(
            "The language model's logits are not finite, so nothing can be drawn from them: its weights may hold infinite numbers, or "
            "overflow in a type such as float16."
        )
    return _rollouts(prompts, padding, tokens, log_probs, lengths, ended)


def _continue(
    model: Any,
    prompts: Sequence[Sequence[int]],
    rows: Tensor,
    uniform: Tensor,
    temperature: float,
    top_p: float | None,
    stop: Tensor,
    padding: int,
    out: tuple[Tensor, Tensor, Tensor, Tensor],
) -> None:
    """Draw the continuations of some rows and write them into `out` (tokens, log-probabilities, lengths, ended), which are of all rows."""
    tokens, log_probs, lengths, ended = out
    device, limit = rows.device, tokens.shape[1]
    state = Reader(model, [prompts[row] for row in rows.tolist()], limit, padding, device)
    logits = state.read()
    active = torch.ones(len(rows), dtype=torch.bool, device=device)
    every = 1 if device.type == "cpu" else ASK_EVERY
    for step in range(limit):
        drawn, chosen = draw(logits, uniform[rows, step], temperature, top_p)
        tokens[rows, step] = drawn.where(active, padding)
        log_probs[rows, step] = chosen.where(active, 0.0)
        lengths[rows] += active
        ends = active & torch.isin(drawn, stop)
        ended[rows] |= ends
        active &= ~ends
        if step + 1 == limit:
            return
        if (step + 1) % every == 0:
            left = int(active.sum())
            if not left:
                return
            if left <= (1.0 - COMPACT) * len(active):
                kept = active.nonzero().squeeze(-1)
                rows, drawn, active = rows[kept], drawn[kept], active[kept]
                state.keep(kept)
        logits = state.next(drawn)


def draw(logits: Tensor, uniform: Tensor, temperature: float, top_p: float | None) -> tuple[Tensor, Tensor]:
    """Draw one token of each row, by inverting its distribution function.

    Args:
        logits: float [n, V].
        uniform: float64 [n], random numbers in [0, 1).
        temperature: divides the logits; 0 takes the likeliest token.
        top_p: draw from the smallest set of likeliest tokens with at least this probability; `None` for all.

    Returns:
        The tokens, int64 [n], and their log-probabilities at temperature 1, float32 [n].
    """
    logits = logits.float()
    normaliser = logits.logsumexp(-1, keepdim=True)
    if temperature == 0:
        drawn = logits.argmax(-1, keepdim=True)
    else:
        # Summed in float64: vocabularies are large.
        weights = (logits - normaliser).exp().double() if temperature == 1 else (logits / temperature).double().softmax(-1)
        order = None
        if top_p is not None and top_p < 1:
            weights, order = weights.sort(-1, descending=True)
            weights = weights.masked_fill(weights.cumsum(-1) - weights >= top_p * weights.sum(-1, keepdim=True), 0.0)
        reached = weights.cumsum(-1)
        drawn = torch.searchsorted(reached, uniform[:, None] * reached[:, -1:], right=True).clamp(max=logits.shape[-1] - 1)
        if order is not None:
            drawn = order.gather(-1, drawn)
    return drawn[:, 0], (logits.gather(-1, drawn) - normaliser)[:, 0]


def _uniform(seed: int | torch.Generator, rows: int, steps: int) -> Tensor:
    """Return one random number per row and step, float64 [rows, steps]; a row's do not depend on how many rows or steps there are."""
    own = torch.Generator()
    return torch.stack([torch.rand(steps, generator=own.manual_seed(each), dtype=torch.float64) for each in row_seeds(seed, rows)])


def _rollouts(
    prompts: Sequence[Sequence[int]], padding: int, tokens: Tensor, log_probs: Tensor, lengths: Tensor, ended: Tensor
) -> Rollouts:
    """Put padded prompts before the continuations, which are cut to the longest."""
    longest, device = int(lengths.max()), tokens.device
    left = max(map(len, prompts))
    padded = torch.tensor([[padding] * (left - len(p)) + list(p) for p in prompts], device=device)
    before = torch.tensor([[False] * (left - len(p)) + [True] * len(p) for p in prompts], device=device)
    mask = torch.arange(longest, device=device) < lengths[:, None]
    return Rollouts(
        torch.cat([padded, tokens[:, :longest]], 1), torch.cat([before, mask], 1), mask, log_probs[:, :longest].contiguous(), ended
    )


def special(owner: Any, end: int | Iterable[int] | None, pad: int | None) -> tuple[set[int], int]:
    """Return the end tokens and the token of the padding.

    Args:
        owner: a tokenizer, or a generation configuration, which says what is not given.
        end: tokens that end a continuation.
        pad: token of the padding; else the owner's, the smallest end token, or 0.
    """
    if end is None:
        end = getattr(owner, "eos_token_id", None)
    ends = {end} if isinstance(end, int) else set(end or ())
    if pad is None:
        pad = getattr(owner, "pad_token_id", None)
    return ends, min(ends, default=0) if pad is None else pad


def row_seeds(seed: int | torch.Generator, rows: int) -> list[int]:
    """Return one seed per row; a row's does not depend on how many there are.

    Args:
        seed: a number, or a generator of which one is drawn.
        rows: how many.
    """
    if isinstance(seed, torch.Generator):
        seed = int(torch.randint(1 << 62, (), generator=seed, device=seed.device))
    return torch.randint(1 << 62, (rows,), generator=torch.Generator().manual_seed(seed)).tolist()


def _check(
    model: Any,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    temperature: float,
    top_p: float | None,
    batch: int | None,
    padding: int,
) -> None:
    if max_new_tokens < 1:
        raise OptionError(f"max_new_tokens is {max_new_tokens}; expected at least 1")
    if not 0.0 <= temperature < float("inf"):
        raise OptionError(f"temperature is {temperature!r}; expected a finite number of at least 0 (0 takes the likeliest token)")
    if top_p is not None and not 0.0 < top_p <= 1.0:
        raise OptionError(f"top_p is {top_p!r}; expected a probability above 0 and at most 1, or None for all tokens")
    if batch is not None and batch < 1:
        raise OptionError(f"batch is {batch}; expected at least 1 row, or None for all at a time")
    vocabulary = model.get_input_embeddings().num_embeddings
    if not 0 <= padding < vocabulary:
        raise OptionError(f"pad is {padding}, which is no token of the model: give one, such as pad=0; it is never looked at.")
    check_prompts(prompts, vocabulary=vocabulary)
    config = model.config.get_text_config(decoder=True)
    context = getattr(config, "max_position_embeddings", None)
    if context is None:
        return
    long = [position for position, prompt in enumerate(prompts) if len(prompt) + max_new_tokens > context]
    if long:
        first = long[0]
        room = context - len(prompts[first])
        cure = f"shorten it, or let max_new_tokens be at most {room}" if room > 0 else "shorten it"
        raise DataError(
            f"Prompt {first} has {len(prompts[first])} tokens; with {max_new_tokens} new ones that is more than the model's context of "
            f"{context}: {cure}. So do {len(long)} of {len(prompts)} prompts."
        )
