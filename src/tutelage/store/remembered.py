"""Any chat model with a memory of its replies: what was answered once is never asked again, whatever happens to the process."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from tutelage.errors import ChatError, StoreError
from tutelage.models.chat.protocol import Chat, Conversation, Reply, Sampling, all_messages, digest
from tutelage.store.memory import Memory

KIND = "reply"
"""Table of the memory that holds replies."""


class Remembered:
    """A chat model whose replies are kept in a memory as soon as they arrive.

    Equal conversations under equal sampling get one reply. If the model fails half-way, what it did answer is kept before the error goes
    on, so that the next call asks the rest only.

    Args:
        chat: the model.
        memory: where replies are kept.
        name: the model's name there; models that answer differently need different names.
    """

    def __init__(self, chat: Chat, memory: Memory, *, name: str) -> None:
        self.chat, self.memory, self.name = chat, memory, name

    def complete(self, conversations: Sequence[Conversation], *, sampling: Sampling | None = None) -> list[Reply]:
        """Answer every conversation, from the memory where it can.

        Args:
            conversations: what to answer.
            sampling: how to draw the replies; by default as the model was set up.

        Returns:
            One reply per conversation; those from the memory are `cached`.

        Raises:
            ChatError: if some got no reply; those that did, and those from the memory, are in its `replies`.
            StoreError: if the memory is damaged.
        """
        asked = all_messages(conversations)
        drawn = None if sampling is None else dataclasses.asdict(sampling)
        keys = [digest([self.name, [[message.role, message.content] for message in said], drawn]) for said in asked]
        known = {key: self._read(key) for key in dict.fromkeys(keys)}
        new = {key: said for key, said in zip(keys, asked, strict=True) if known[key] is None}
        failure: ChatError | None = None
        said: Sequence[Reply | None] = []
        if new:
            try:
                said = self.chat.complete(list(new.values()), sampling=sampling)
            except ChatError as error:
                failure, said = error, error.replies
            with self.memory.transaction():
                for key, reply in zip(new, said, strict=failure is None):
                    if reply is not None:
                        self.memory.put(KIND, key, reply.to_json())
                        known[key] = reply
        if failure is not None:
            places = {key: [i for i, other in enumerate(keys) if other == key] for key in new}
            wrong = {
                i: what for key, at in zip(new, range(len(new)), strict=True) if (what := failure.failures.get(at)) for i in places[key]
            }
            raise type(failure)(str(failure), replies=[known[key] for key in keys], failures=wrong) from failure
        return [reply for key in keys if (reply := known[key]) is not None]

    def _read(self, key: str) -> Reply | None:
        found = self.memory.get(KIND, key)
        if found is None:
            return None
        try:
            return Reply.from_json(found, cached=True)
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(f"The memory '{self.memory.path}' holds a reply that cannot be read ({error}). Move the file away.") from error
