"""Chat models by specification."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tutelage.errors import OptionError, SpecError
from tutelage.models.chat.endpoint import OPENAI
from tutelage.models.chat.limits import Prices
from tutelage.models.chat.local import TransformersChat
from tutelage.models.chat.openai_http import OpenAIChat
from tutelage.models.chat.protocol import Chat, Sampling
from tutelage.models.spec import Spec, parse

SCHEMES = ("chat", "hf-chat")
"""Kinds of specification of chat models."""

SAMPLING: dict[str, Any] = {"temperature": 0.0, "max_tokens": 256, "top_p": 1.0, "seed": 0, "stop": "", "log_probs": 0}
HTTP: dict[str, Any] = {
    "base_url": OPENAI,
    "key_env": "",
    "concurrency": 8,
    "retries": 6,
    "timeout": 120.0,
    "backoff": 0.5,
    "longest_wait": 120.0,
    "rpm": 60.0,
    "tpm": 60000.0,
    "budget": 5.0,
    "transcript": "",
    "max_tokens_field": "max_tokens",
}
OTHER = ("price_in", "price_out", "cache")
LOCAL: dict[str, Any] = {"device": "cpu", "dtype": "float32", "batch": 8}


def is_chat(spec: Any) -> bool:
    """Return whether a specification names a chat model."""
    return isinstance(spec, str) and spec.partition(":")[0] in SCHEMES


def from_spec(spec: str, *, progress: Callable[..., None] | None = None) -> Chat:
    """Turn a specification into a chat model.

    A specification is one of

    - `chat:MODEL`: a server behind HTTP; options `base_url`, `key_env`, `concurrency`, `retries`, `timeout`, `backoff`, `longest_wait`,
      `rpm`, `tpm`, `price_in` and `price_out` (per million tokens), `budget`, `cache` (a path, or `none`), `transcript`, `max_tokens_field`
    - `hf-chat:NAME-OR-PATH`: a causal language model of transformers on this machine; options `device`, `dtype`, `batch`

    followed by `?option=value&option=value`. Both take `temperature`, `max_tokens`, `top_p`, `seed`, `stop` (one text) and `log_probs`.

    Args:
        spec: the specification.
        progress: for servers: is called with (conversations done, all, tally).

    Returns:
        The chat model.

    Raises:
        SpecError: for anything that names no chat model, or an unknown option (the nearest is offered).
        OptionError: for a value out of range, or a missing key.
        MissingExtra: if the client's library is not installed.
    """
    parsed = parse(spec, SCHEMES)
    stated = _take(parsed, SAMPLING)
    try:
        sampling = Sampling(**stated)
        if parsed.scheme == "hf-chat":
            options = _take(parsed, LOCAL)
            parsed.finish([*SAMPLING, *LOCAL])
            options["batch_size"] = options.pop("batch", 8)
            return TransformersChat.load(parsed.name, sampling=sampling, **options)
        options = _take(parsed, HTTP)
        prices = _prices(parsed)
        cache = parsed.take("cache", "auto")
        parsed.finish([*SAMPLING, *HTTP, *OTHER])
        return OpenAIChat(
            parsed.name, sampling=sampling, prices=prices, cache=None if cache.lower() == "none" else cache, progress=progress, **options
        )
    except OptionError as error:
        raise OptionError(f"'{spec}': {error}") from None


def _take(spec: Spec, like: dict[str, Any]) -> dict[str, Any]:
    """Take the options out that are there."""
    return {name: spec.take(name, value) for name, value in like.items() if name in spec.options}


def _prices(spec: Spec) -> Prices | None:
    stated = {name: spec.take(name, 0.0) for name in ("price_in", "price_out") if name in spec.options}
    if not stated:
        return None
    if len(stated) < 2:
        raise SpecError(f"'{spec.text}' states {next(iter(stated))} alone: expected both price_in and price_out, per million tokens.")
    return Prices(stated["price_in"], stated["price_out"])
