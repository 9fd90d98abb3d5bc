"""Chat models that are programs, for tests and simulators."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tutelage.errors import ChatError
from tutelage.models.chat.protocol import Conversation, Message, Reply, Sampling, all_messages


class Scripted:
    """A chat model whose replies a function makes.

    Args:
        program: is called with the messages of one conversation and returns the reply, as a text or a `Reply`.
        name: what replies, and label stores, call the model.
    """

    def __init__(self, program: Callable[[tuple[Message, ...]], str | Reply], *, name: str = "scripted") -> None:
        self.program = program
        self.name = name

    def __repr__(self) -> str:
        return f"Scripted({self.name!r})"

    def complete(self, conversations: Sequence[Conversation], *, sampling: Sampling | None = None) -> list[Reply]:
        """Answer every conversation, one after the other.

        Args:
            conversations: what to answer.
            sampling: taken for the protocol's sake; the program decides alone.

        Returns:
            One reply per conversation. Tokens are counted in words, and cost nothing.

        Raises:
            ChatError: if the program returned neither a text nor a reply.
        """
        replies: list[Reply] = []
        for position, conversation in enumerate(all_messages(conversations)):
            said: object = self.program(conversation)
            if isinstance(said, str):
                words = sum(len(message.content.split()) for message in conversation)
                said = Reply(said, None, "stop", words, len(said.split()), 0.0, False, self.name)
            if not isinstance(said, Reply):
                what = f"Conversation {position}: the program '{self.name}' returned a {type(said).__name__}: expected a text or a Reply."
                missing = [None] * (len(conversations) - len(replies))
                raise ChatError(what, replies=[*replies, *missing], failures={position: what})
            replies.append(said)
        return replies
