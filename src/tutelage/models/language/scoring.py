"""Log-probabilities of given tokens under a causal language model, with gradient, in one forward pass and without all logits at once."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from tutelage.errors import OptionError, ShapeError
from tutelage.models.language.parts import body, decomposes, head, unwrapped
from tutelage.models.language.rollouts import Rollouts

CHUNK_BYTES = 64 * 2**20
# Texts of many lengths are read in up to so many parts of at least so many tokens, if that leaves at most this share of padded tokens.
MOST_PARTS = 4
PART_TOKENS = 1024
WORTH = 0.9


def log_probs(model: Any, rollouts: Rollouts, *, temperature: float = 1.0, chunk: int | None = None) -> Tensor:
    """Return the log-probability of every token of the continuations under a model.

    Gradients reach all weights of the model that train. The model runs in the mode it is in: dropout is on while training. With more
    tokens than a chunk, the logits of one chunk are alive at a time and computed again in backward.

    Args:
        model: a causal language model of transformers: the student itself, or a teacher of the same tokens.
        rollouts: what to score, on the model's device.
        temperature: divides the logits, above 0. Default 1.
        chunk: tokens whose logits are alive at a time. Default as many as fit into 64 MiB.

    Returns:
        float32 [B, T], 0 where there is no token.

    Raises:
        OptionError: for a temperature or a chunk outside its range.
    """
    left = rollouts.prompt_length
    wanted = F.pad(rollouts.mask, (left, 0))
    return token_log_probs(model, rollouts.tokens, rollouts.attention, wanted, temperature=temperature, chunk=chunk)[:, left:]


def token_log_probs(
    model: Any, tokens: Tensor, attention: Tensor, wanted: Tensor, *, temperature: float = 1.0, chunk: int | None = None
) -> Tensor:
    """Return the log-probability of some tokens of padded texts, given all before them.

    Args:
        model: a causal language model of transformers.
        tokens: int64 [B, L], on the model's device.
        attention: bool [B, L], true on real tokens; the padding may stand on either side.
        wanted: bool [B, L], true on the tokens to score, never on the first of a text.
        temperature: divides the logits, above 0. Default 1.
        chunk: tokens whose logits are alive at a time. Default as many as fit into 64 MiB.

    Returns:
        float32 [B, L], 0 where none is wanted.

    Raises:
        OptionError: for a temperature or a chunk outside its range.
    """
    _options(temperature, chunk)
    whole = decomposes(model)
    states, places = [], []
    for rows, columns in _parts(attention):
        part = tokens[rows, columns], attention[rows, columns]
        picked = wanted[rows, columns][:, 1:]
        answer = _run(body(model) if whole else model, model, *part)
        states.append((answer.last_hidden_state if whole else answer.logits)[:, :-1][picked])
        places.append((rows[:, None] * tokens.shape[1] + torch.arange(columns.start + 1, columns.stop, device=rows.device))[picked])
    place = torch.cat(places)
    following = tokens.flatten()[place]
    if whole:
        found = chosen(torch.cat(states), head(model), following, temperature=temperature, chunk=chunk)
    else:
        found = _score(nn.Identity(), torch.cat(states), following, temperature)
    return found.new_zeros(wanted.numel()).index_copy(0, place, found).view(wanted.shape)


def _parts(attention: Tensor) -> list[tuple[Tensor, slice]]:
    """Divide padded texts [B, L] into rows of about one length, each with the columns that they need, where that saves enough padding."""
    count, length = attention.shape
    place = torch.arange(length, device=attention.device)
    starts = place.where(attention, length).amin(1).clamp(max=length - 1)
    stops = place.where(attention, 0).amax(1) + 1
    order = (stops - starts).argsort(stable=True)
    parts = []
    for rows in order.chunk(min(MOST_PARTS, max(1, count * length // PART_TOKENS))):
        parts.append((rows.sort().values, slice(int(starts[rows].min()), int(stops[rows].max()))))
    read = sum(len(rows) * (columns.stop - columns.start) for rows, columns in parts)
    if len(parts) > 1 and read > WORTH * count * length:
        return [(torch.arange(count, device=attention.device), slice(0, length))]
    return parts


def chosen(hidden: Tensor, layer: nn.Module, tokens: Tensor, *, temperature: float = 1.0, chunk: int | None = None) -> Tensor:
    """Return the log-probability of one token for each hidden state.

    Args:
        hidden: float [N, D].
        layer: makes logits of them, as `head` gives.
        tokens: int64 [N].
        temperature: divides the logits, above 0. Default 1.
        chunk: tokens whose logits are alive at a time. Default as many as fit into 64 MiB.

    Returns:
        float32 [N].

    Raises:
        OptionError: for a temperature or a chunk outside its range.
    """
    _options(temperature, chunk)
    vocabulary = getattr(layer, "out_features", None) or len(next(layer.parameters()))
    chunk = chunk or max(1, CHUNK_BYTES // (4 * vocabulary))
    if len(tokens) <= chunk:
        return _score(layer, hidden, tokens, temperature)
    parts = [
        checkpoint(_score, layer, hidden[at : at + chunk], tokens[at : at + chunk], temperature, use_reentrant=False)
        for at in range(0, len(tokens), chunk)
    ]
    return torch.cat(parts)


def states(model: Any, rollouts: Rollouts) -> Tensor:
    """Return the hidden states from which the tokens of the continuations are predicted, for losses that work from them.

    So `linear_divergence(states(student, r), head(student), states(teacher, r), head(teacher), kind="reverse", weight=r.mask)` is the exact
    divergence per token of both predictions, and `chosen(states(model, r)[r.mask], head(model), r.drawn[r.mask])` are log-probabilities.

    Args:
        model: a causal language model of transformers.
        rollouts: what is read, on the model's device.

    Returns:
        float [B, T, D]: the state of each continuation's token's predecessor.

    Raises:
        ShapeError: if the model's logits are more than a head on its hidden states.
    """
    if not decomposes(model):
        raise ShapeError(
            f"{type(unwrapped(model)).__name__} changes its logits after the head (a scale, a cap), so hidden states and head do not "
            "stand for it: use its logits."
        )
    hidden: Tensor = _run(body(model), model, rollouts.tokens, rollouts.attention).last_hidden_state
    return hidden[:, rollouts.prompt_length - 1 : -1]


def _run(part: Any, model: Any, tokens: Tensor, attention: Tensor) -> Any:
    """Run a model, or its body, over padded texts; positions do not count the padding."""
    options: dict[str, Any] = {}
    if not attention.all():
        options["attention_mask"] = attention.long()
        if "position_ids" in inspect.signature(unwrapped(model).forward).parameters:
            options["position_ids"] = (attention.cumsum(1) - 1).clamp(min=0)
    return part(input_ids=tokens, use_cache=False, **options)


def _score(layer: nn.Module, hidden: Tensor, tokens: Tensor, temperature: float) -> Tensor:
    logits = layer(hidden).float()
    return -F.cross_entropy(logits if temperature == 1 else logits / temperature, tokens, reduction="none")


def _options(temperature: float, chunk: int | None) -> None:
    if not 0.0 < temperature < float("inf"):
        raise OptionError(f"temperature is {temperature!r}; expected a finite number above 0 (1 leaves logits as they are)")
    if chunk is not None and chunk < 1:
        raise OptionError(f"chunk is {chunk}; expected at least 1 token, or None for the default")
