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
    if decomposes(model):
        return chosen_log_probs(states(model, rollouts), head(model), rollouts, temperature=temperature, chunk=chunk)
    _options(temperature, chunk)
    logits = _run(model, rollouts, model).logits[:, rollouts.prompt_length - 1 : -1][rollouts.mask]
    return _spread(_chosen(nn.Identity(), logits, rollouts.drawn[rollouts.mask], temperature), rollouts.mask)


def chosen_log_probs(hidden: Tensor, layer: nn.Module, rollouts: Rollouts, *, temperature: float = 1.0, chunk: int | None = None) -> Tensor:
    """Return the log-probability of every token of the continuations, of hidden states that another loss needs too.

    Args:
        hidden: float [B, T, D], as `states` gives.
        layer: makes logits of them, as `head` gives.
        rollouts: whose tokens.
        temperature: divides the logits, above 0. Default 1.
        chunk: tokens whose logits are alive at a time. Default as many as fit into 64 MiB.

    Returns:
        float32 [B, T], 0 where there is no token.

    Raises:
        OptionError: for a temperature or a chunk outside its range.
    """
    _options(temperature, chunk)
    rows, tokens = hidden[rollouts.mask], rollouts.drawn[rollouts.mask]
    vocabulary = getattr(layer, "out_features", None) or len(next(layer.parameters()))
    chunk = chunk or max(1, CHUNK_BYTES // (4 * vocabulary))
    if len(rows) <= chunk:
        return _spread(_chosen(layer, rows, tokens, temperature), rollouts.mask)
    parts = [
        checkpoint(_chosen, layer, rows[at : at + chunk], tokens[at : at + chunk], temperature, use_reentrant=False)
        for at in range(0, len(rows), chunk)
    ]
    return _spread(torch.cat(parts), rollouts.mask)


def states(model: Any, rollouts: Rollouts) -> Tensor:
    """Return the hidden states from which the tokens of the continuations are predicted, for losses that work from them.

    `losses.linear_divergence(states(student, r), head(student), states(teacher, r), head(teacher), kind="reverse", weight=r.mask)`, say.

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
    hidden: Tensor = _run(body(model), rollouts, model).last_hidden_state
    return hidden[:, rollouts.prompt_length - 1 : -1]


def _run(part: Any, rollouts: Rollouts, model: Any) -> Any:
    """Run a model, or its body, over prompts and continuations; positions do not count the padding."""
    options: dict[str, Any] = {}
    if not rollouts.attention.all():
        options["attention_mask"] = rollouts.attention.long()
        if "position_ids" in inspect.signature(unwrapped(model).forward).parameters:
            options["position_ids"] = (rollouts.attention.cumsum(1) - 1).clamp(min=0)
    return part(input_ids=rollouts.tokens, use_cache=False, **options)


def _chosen(layer: nn.Module, hidden: Tensor, tokens: Tensor, temperature: float) -> Tensor:
    logits = layer(hidden).float()
    return -F.cross_entropy(logits if temperature == 1 else logits / temperature, tokens, reduction="none")


def _spread(values: Tensor, mask: Tensor) -> Tensor:
    """Return values of the tokens that exist in their places, 0 elsewhere."""
    return values.new_zeros(mask.shape).masked_scatter(mask, values)


def _options(temperature: float, chunk: int | None) -> None:
    if not 0.0 < temperature < float("inf"):
        raise OptionError(f"temperature is {temperature!r}; expected a finite number above 0 (1 leaves logits as they are)")
    if chunk is not None and chunk < 1:
        raise OptionError(f"chunk is {chunk}; expected at least 1 token, or None for the default")
