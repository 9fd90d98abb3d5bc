"""A causal language model taken apart: the body that makes hidden states, and the head that makes logits of them."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor, nn


def unwrapped(model: Any) -> Any:
    """Return the language model inside peft's wrapper, if there is one.

    Args:
        model: a causal language model, adapted or not.
    """
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def body(model: Any) -> Any:
    """Return the part of a causal language model that makes hidden states of tokens.

    Args:
        model: a causal language model, adapted or not.
    """
    return unwrapped(model).base_model


def head(model: Any) -> nn.Module:
    """Return the layer that makes logits of hidden states.

    Args:
        model: a causal language model, adapted or not.
    """
    found: nn.Module = unwrapped(model).get_output_embeddings()
    return found


def ends(model: Any, tokenizer: Any) -> set[int]:
    """Return the tokens that end an answer: the tokenizer's, and those that the model's generation configuration states.

    Args:
        model: a causal language model, adapted or not.
        tokenizer: its tokenizer.
    """
    stated = getattr(getattr(unwrapped(model), "generation_config", None), "eos_token_id", None)
    found = stated if isinstance(stated, list | tuple) else [stated]
    return {end for end in (*found, tokenizer.eos_token_id) if end is not None}


_KNOWN: weakref.WeakKeyDictionary[nn.Module, bool] = weakref.WeakKeyDictionary()


def decomposes(model: Any) -> bool:
    """Return whether a model's logits are its head on its last hidden states and nothing more (some cap or scale them afterwards).

    It is found by running the model once, with numbers in place of the head's answer that any change would show, and remembered.

    Args:
        model: a causal language model, adapted or not.
    """
    whole = unwrapped(model)
    if whole not in _KNOWN:
        _KNOWN[whole] = _try(whole)
    return _KNOWN[whole]


def _try(whole: Any) -> bool:
    layer, inner = whole.get_output_embeddings(), whole.base_model
    if layer is None or inner is whole:
        return False
    seen: dict[str, Tensor] = {}

    def of_body(_module: nn.Module, _given: Any, answer: Any) -> None:
        seen["hidden"] = answer[0]

    def of_head(_module: nn.Module, given: tuple[Tensor, ...], answer: Tensor) -> Tensor:
        seen["given"] = given[0]
        seen["logits"] = torch.linspace(-100, 100, answer.numel(), device=answer.device).view_as(answer).to(answer.dtype)
        return seen["logits"]

    handles = inner.register_forward_hook(of_body), layer.register_forward_hook(of_head)
    try:
        with torch.no_grad():
            tokens = torch.zeros(1, 2, dtype=torch.int64, device=next(whole.parameters()).device)
            logits = whole(input_ids=tokens, use_cache=False).logits
    finally:
        for handle in handles:
            handle.remove()
    return seen.keys() == {"hidden", "given", "logits"} and all(
        a.shape == b.shape and torch.equal(a.float(), b.float()) for a, b in ((seen["hidden"], seen["given"]), (seen["logits"], logits))
    )
