"""Counting what chat models cost, by the role in which they are asked."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tutelage.errors import ChatError
from tutelage.models.chat.protocol import Chat, Conversation, Reply, Sampling, all_messages
from tutelage.models.chat.transcript import Transcript


@dataclass(frozen=True)
class Usage:
    """What one role used.

    Args:
        calls: conversations that were answered.
        failed: conversations without a usable reply.
        prompt_tokens: tokens of the conversations, where the model's side counts them.
        completion_tokens: tokens of the replies.
        uncounted: replies whose tokens the model's side did not count.
        cost: what was paid now, in the currency of the models' prices; replies from a cache cost nothing.
    """

    calls: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    uncounted: int = 0
    cost: float = 0.0

    @property
    def tokens(self) -> int:
        """Tokens of conversations and replies together."""
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(getattr(self, f.name) + getattr(other, f.name) for f in dataclasses.fields(self)))

    def __sub__(self, other: Usage) -> Usage:
        return Usage(*(getattr(self, f.name) - getattr(other, f.name) for f in dataclasses.fields(self)))


class Meter:
    """Counts by role, for any number of chat models and threads.

    Args:
        transcript: file to which every conversation and what came of it is appended as JSON lines, or `None`.
    """

    def __init__(self, transcript: Transcript | None = None) -> None:
        self.transcript = transcript
        self._usage: dict[str, Usage] = {}
        self._lock = threading.Lock()

    def of(self, chat: Chat, role: str) -> Metered:
        """Return a chat model whose use is counted under a role.

        Args:
            chat: the model.
            role: `"student"`, `"teacher"`, `"judge"` for instance.
        """
        with self._lock:
            self._usage.setdefault(role, Usage())
        return Metered(chat, role, self)

    def add(self, role: str, usage: Usage) -> None:
        """Count something under a role."""
        with self._lock:
            self._usage[role] = self._usage.get(role, Usage()) + usage

    def snapshot(self) -> dict[str, Usage]:
        """Return what every role has used so far."""
        with self._lock:
            return dict(self._usage)

    def since(self, before: Mapping[str, Usage]) -> dict[str, Usage]:
        """Return what every role has used since a snapshot; roles that used nothing are left out."""
        used = {role: usage - before.get(role, Usage()) for role, usage in self.snapshot().items()}
        return {role: usage for role, usage in used.items() if usage != Usage()}


class Metered:
    """A chat model that is counted; `Meter.of` makes it.

    Args:
        chat: the model.
        role: what it is counted under.
        meter: counts.
    """

    def __init__(self, chat: Chat, role: str, meter: Meter) -> None:
        self.chat, self.role, self.meter = chat, role, meter

    def __repr__(self) -> str:
        return f"Metered({self.chat!r}, {self.role!r})"

    def complete(self, conversations: Sequence[Conversation], *, sampling: Sampling | None = None) -> list[Reply]:
        """Answer every conversation, and count; replies that arrived before an error are counted too.

        Args:
            conversations: what to answer.
            sampling: how to draw the replies; by default as the chat model was set up.

        Returns:
            One reply per conversation, in their order.

        Raises:
            ChatError: as the chat model.
        """
        try:
            replies = self.chat.complete(conversations, sampling=sampling)
        except ChatError as error:
            replied = list(error.replies) + [None] * (len(conversations) - len(error.replies))
            self._count(conversations, replied, sampling, error.failures, str(error))
            raise
        self._count(conversations, replies, sampling, {}, "")
        return replies

    def _count(
        self,
        conversations: Sequence[Conversation],
        replies: Sequence[Reply | None],
        sampling: Sampling | None,
        failures: Mapping[int, str],
        error: str,
    ) -> None:
        used = Usage()
        for reply in replies:
            if reply is None:
                used += Usage(failed=1)
                continue
            counted = reply.prompt_tokens is not None and reply.completion_tokens is not None
            paid = 0.0 if reply.cached else reply.cost or 0.0
            used += Usage(1, 0, reply.prompt_tokens or 0, reply.completion_tokens or 0, int(not counted), paid)
        self.meter.add(self.role, used)
        if self.meter.transcript is None:
            return
        for place, (said, reply) in enumerate(zip(all_messages(conversations), replies, strict=False)):
            came = {"error": failures.get(place, error)} if reply is None else {"reply": reply.to_json(), "cached": reply.cached}
            self.meter.transcript.add(
                role=self.role,
                messages=[dataclasses.asdict(message) for message in said],
                sampling=None if sampling is None else dataclasses.asdict(sampling),
                **came,
            )
