"""The chat-completions protocol: a conversation to a request's body, a response's body to a reply."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from tutelage.models.chat.limits import Prices
from tutelage.models.chat.protocol import Message, Reply, Sampling, TokenLogProb


class Malformed(Exception):
    """A response that is no reply.

    Args:
        what: what is wrong with it.
        tokens: tokens of conversation and reply that the server counted all the same, if it said so.
    """

    def __init__(self, what: str, tokens: tuple[int, int] | None = None) -> None:
        super().__init__(what)
        self.tokens = tokens


def body(model: str, messages: Sequence[Message], sampling: Sampling, *, max_tokens_field: str, extra: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON of a request.

    Args:
        model: the model's name.
        messages: the conversation.
        sampling: how to draw the reply; what is `None` is left out.
        max_tokens_field: what the server calls the longest reply.
        extra: further parameters.

    Returns:
        The body.
    """
    request: dict[str, Any] = {"model": model, "messages": [{"role": m.role, "content": m.content} for m in messages]}
    stated = {
        "temperature": sampling.temperature,
        max_tokens_field: sampling.max_tokens,
        "top_p": sampling.top_p,
        "seed": sampling.seed,
        "stop": list(sampling.stop) or None,
        "logprobs": None if sampling.log_probs is None else True,
        "top_logprobs": sampling.log_probs or None,
    }
    return {**request, **{name: value for name, value in stated.items() if value is not None}, **extra}


def reply(content: bytes, *, model: str, prices: Prices | None) -> Reply:
    """Read a response.

    Args:
        content: its body.
        model: the model that was asked, in case the server does not say.
        prices: what tokens cost.

    Returns:
        The reply.

    Raises:
        Malformed: if it holds no text, or something of another type than the protocol says.
    """
    try:
        payload = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"the response is not JSON ({error}); it begins {content[:60]!r}") from None
    if not isinstance(payload, dict):
        raise Malformed(f"the response is {_kind(payload)}: expected an object with 'choices'")
    tokens = _usage(payload)
    if isinstance(payload.get("error"), dict):  # some servers answer 200 and put the error inside
        raise Malformed(f"the response holds an error: {payload['error'].get('message', payload['error'])}", tokens)
    choices = payload.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise Malformed(f"'choices' is {_kind(choices)}: expected a list with one object", tokens)
    choice = choices[0]
    reason = choice.get("finish_reason")
    if reason is not None and not isinstance(reason, str):
        raise Malformed(f"'finish_reason' is {_kind(reason)}: expected a text", tokens)
    text = _text(choice.get("message"), reason, tokens)
    named = payload.get("model")
    return Reply(
        text=text,
        log_probs=_log_probs(choice.get("logprobs"), tokens),
        finish_reason=reason,
        prompt_tokens=tokens[0] if tokens else None,
        completion_tokens=tokens[1] if tokens else None,
        cost=prices.cost(*tokens) if prices and tokens else None,
        model=named if isinstance(named, str) and named else model,
    )


def _text(message: Any, reason: str | None, tokens: tuple[int, int] | None) -> str:
    if not isinstance(message, dict):
        raise Malformed(f"'message' is {_kind(message)}: expected an object with 'content'", tokens)
    text = message.get("content")
    if isinstance(text, list):  # a list of parts, of which the texts count
        parts = [part.get("text") for part in text if isinstance(part, dict) and part.get("type") == "text"]
        text = "".join(part for part in parts if isinstance(part, str))
    if text is not None and not isinstance(text, str):
        raise Malformed(f"'content' is {_kind(text)}: expected a text", tokens)
    if not text:
        refusal = message.get("refusal")
        why = f"the model refused: {refusal}" if isinstance(refusal, str) and refusal else "the reply is empty"
        cure = "; a higher max_tokens may help" if reason == "length" else ""
        raise Malformed(f"{why} (finish_reason {reason!r}){cure}", tokens)
    return text


def _log_probs(logprobs: Any, tokens: tuple[int, int] | None) -> tuple[TokenLogProb, ...] | None:
    if logprobs is None or (isinstance(logprobs, dict) and logprobs.get("content") is None):
        return None
    try:
        return tuple(
            TokenLogProb(
                _checked(entry["token"], str),
                _number(entry["logprob"]),
                tuple((_checked(top["token"], str), _number(top["logprob"])) for top in entry.get("top_logprobs") or ()),
            )
            for entry in logprobs["content"]
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Malformed(f"'logprobs' does not hold tokens with log-probabilities ({type(error).__name__}: {error})", tokens) from None


def _usage(payload: dict[str, Any]) -> tuple[int, int] | None:
    usage = payload.get("usage")
    if not isinstance(usage, dict):
        return None
    counts = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if None in counts:
        return None
    if any(not isinstance(count, int) or isinstance(count, bool) or count < 0 for count in counts):
        raise Malformed(f"'usage' counts {counts[0]!r} and {counts[1]!r} tokens: expected whole numbers")
    return counts  # type: ignore[return-value]


def _checked(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"{_kind(value)} in place of {kind.__name__}")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError(f"{value!r} is no finite number")
    return float(value)


def _kind(value: Any) -> str:
    return "missing" if value is None else f"a {type(value).__name__}"
