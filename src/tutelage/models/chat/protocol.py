"""The one protocol of chat models: messages in, text out, with log-probabilities where the model gives them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from tutelage.errors import DataError, OptionError, nearest

ROLES = ("system", "developer", "user", "assistant")
"""Who may speak in a conversation."""


@dataclass(frozen=True)
class Message:
    """One turn of a conversation.

    Args:
        role: who speaks: `"system"`, `"developer"`, `"user"` or `"assistant"`.
        content: what is said. It is data: never run, never part of a path or a command.

    Raises:
        OptionError: for an unknown role.
        DataError: if the content is not a text.
    """

    role: str
    content: str

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise OptionError(f"A message has the role {self.role!r}.{nearest(str(self.role), ROLES)}")
        if not isinstance(self.content, str):
            raise DataError(f"The content of a {self.role} message is a {type(self.content).__name__}: expected a text.")


Conversation = str | Sequence[Message | Mapping[str, str]]
"""A text, which is what a user says, or messages (`Message` or `{"role": ..., "content": ...}`)."""


@dataclass(frozen=True)
class Sampling:
    """How a reply is drawn.

    Args:
        temperature: divides the logits; 0 takes the likeliest token, `None` leaves it to the server (1 for local models).
        max_tokens: longest reply in tokens; `None` leaves it to the server (for local models: as far as the context reaches).
        top_p: draw only from the likeliest tokens whose probabilities sum to this, in (0, 1]; `None` draws from all.
        seed: seed of the draw. Servers promise at most to try.
        stop: texts that end the reply and are not part of it.
        log_probs: number of alternatives to report beside every token's log-probability; `None` asks for none of it.

    Raises:
        OptionError: for a value out of range.
    """

    temperature: float | None = 0.0
    max_tokens: int | None = 256
    top_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    log_probs: int | None = None

    def __post_init__(self) -> None:
        given: Any = self.stop
        stop = (given,) if isinstance(given, str) else tuple(given)
        object.__setattr__(self, "stop", stop)
        for name in ("temperature", "top_p"):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else float(value))
        checks = {
            "temperature": ("a finite number of at least 0", self.temperature is None or 0 <= self.temperature < math.inf),
            "max_tokens": ("a whole number of at least 1", self.max_tokens is None or _whole(self.max_tokens, 1)),
            "top_p": ("a number in (0, 1]", self.top_p is None or 0 < self.top_p <= 1),
            "seed": ("a whole number of at least 0", self.seed is None or _whole(self.seed, 0)),
            "stop": ("texts that are not empty", all(isinstance(s, str) and s for s in stop)),
            "log_probs": ("a whole number from 0 to 20", self.log_probs is None or (_whole(self.log_probs, 0) and self.log_probs <= 20)),
        }
        for name, (expected, good) in checks.items():
            if not good:
                raise OptionError(f"Sampling option {name}={getattr(self, name)!r}: expected {expected}, or None.")


@dataclass(frozen=True)
class TokenLogProb:
    """One token of a reply and how likely it was.

    Args:
        token: its text; a token that holds part of a character is shown with a replacement character.
        log_prob: natural logarithm of its probability, before temperature and `top_p`.
        top: the likeliest tokens at this place with their log-probabilities, likeliest first.
    """

    token: str
    log_prob: float
    top: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Reply:
    """What a chat model said.

    Args:
        text: the reply. It is data: never run, never part of a path or a command; `printable` makes it safe on a terminal.
        log_probs: per token, or `None` where none were asked for or the server gave none.
        finish_reason: why it ended: `"stop"`, `"length"` (cut at `max_tokens`), or what else the server says.
        prompt_tokens: length of the conversation, counted by the model's side; `None` if it does not say.
        completion_tokens: length of the reply.
        cost: what it cost when it was paid, in the currency of the stated prices; `None` where no price is stated.
        cached: whether it was read from the cache, so that nothing was paid now.
        model: the model that answered, in its own words.
    """

    text: str
    log_probs: tuple[TokenLogProb, ...] | None = None
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cost: float | None = None
    cached: bool = False
    model: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return everything but `cached` as values that JSON can hold."""
        values = dataclasses.asdict(self)
        del values["cached"]
        if self.log_probs is not None:
            values["log_probs"] = [[t.token, t.log_prob, [list(pair) for pair in t.top]] for t in self.log_probs]
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any], *, cached: bool = False) -> Reply:
        """Return the reply that `to_json` took apart.

        Args:
            values: what it returned.
            cached: whether the reply comes from a cache.

        Returns:
            The reply.

        Raises:
            KeyError: or TypeError or ValueError, if `values` is something else.
        """
        values = dict(values)
        tokens = values.pop("log_probs", None)
        if tokens is not None:
            tokens = tuple(TokenLogProb(token, value, tuple((t, p) for t, p in top)) for token, value, top in tokens)
        if not isinstance(values["text"], str):
            raise TypeError("text")
        return cls(log_probs=tokens, cached=cached, **values)


@runtime_checkable
class Chat(Protocol):
    """A model that answers conversations: behind HTTP, on this machine, or a program."""

    def complete(self, conversations: Sequence[Conversation], *, sampling: Sampling | None = None) -> list[Reply]:
        """Answer every conversation.

        Args:
            conversations: what to answer.
            sampling: how to draw the replies; by default as the model was set up.

        Returns:
            One reply per conversation, in their order.

        Raises:
            ChatError: if some got no usable reply; it carries the others.
        """
        ...


def messages(conversation: Conversation, position: int = 0) -> tuple[Message, ...]:
    """Return a conversation as messages.

    Args:
        conversation: a text, or messages.
        position: its place in the list, for the errors.

    Returns:
        The messages; a text is one message of the user.

    Raises:
        DataError: if it is empty or no conversation.
    """
    if isinstance(conversation, str):
        if not conversation.strip():
            raise DataError(f"Conversation {position} is an empty text: expected something to answer. Leave it out.")
        return (Message("user", conversation),)
    if not isinstance(conversation, Sequence) or not conversation:
        got = "empty" if isinstance(conversation, Sequence) else f"a {type(conversation).__name__}"
        raise DataError(f"Conversation {position} is {got}: expected a text or a list of messages.")
    return tuple(_message(entry, position) for entry in conversation)


def all_messages(conversations: Sequence[Conversation]) -> list[tuple[Message, ...]]:
    """Return conversations as messages.

    Args:
        conversations: a list of texts or of lists of messages.

    Returns:
        One tuple of messages per conversation.

    Raises:
        OptionError: if a single text was given in place of a list.
        DataError: naming the first that is empty or no conversation.
    """
    if isinstance(conversations, str):
        raise OptionError("complete() was given one text: expected a list of conversations, such as complete([text]).")
    return [messages(conversation, position) for position, conversation in enumerate(conversations)]


def digest(value: Any) -> str:
    """Return the SHA-256 of a value that JSON can hold, whatever the order of its keys, in hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":")).encode()).hexdigest()


def _message(entry: Any, position: int) -> Message:
    if isinstance(entry, Message):
        return entry
    if not isinstance(entry, Mapping) or not {"role", "content"} <= set(entry):
        raise DataError(f"Conversation {position} holds a {type(entry).__name__}: expected messages with 'role' and 'content'.")
    try:
        return Message(entry["role"], entry["content"])
    except (OptionError, DataError) as error:
        raise type(error)(f"Conversation {position}: {error}") from None


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
