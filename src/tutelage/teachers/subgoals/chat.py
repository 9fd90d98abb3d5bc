"""A language model as the teacher: asked once per level, its replies read with care and counted where they cannot be used."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tutelage.environments.cells import size
from tutelage.environments.subgoals import Subgoal
from tutelage.errors import ChatError, OptionError
from tutelage.models.chat import Chat, Reply, Sampling, from_spec
from tutelage.teachers.subgoals.prompt import Parsed, filled, parse, prompt


@dataclass(frozen=True)
class Tally:
    """How many replies there were, and how many could not be used.

    Args:
        replies: replies that were read.
        malformed: those without a list of subgoals.
        empty: those whose list is empty, or of whose entries none could be used.
        bad: entries that are no subgoal.
        outside: entries out of the grid.
    """

    replies: int = 0
    malformed: int = 0
    empty: int = 0
    bad: int = 0
    outside: int = 0

    def add(self, parsed: Parsed) -> Tally:
        """Return the tally with one more reply."""
        return replace(
            self,
            replies=self.replies + 1,
            malformed=self.malformed + parsed.malformed,
            empty=self.empty + (not parsed.malformed and not parsed.subgoals),
            bad=self.bad + parsed.bad,
            outside=self.outside + parsed.outside,
        )


class ChatTeacher:
    """Asks a chat model for the subgoals of a level: ASCII grid, legend, rules and mission in, a JSON list of [object, x, y] out.

    Each level is asked about once; levels with the same picture share the answer. A reply that is malformed, empty or out of the grid is
    counted in `tally` and names no subgoal: the student then sees the fallback and is paid by the environment alone. Replies outlive the
    process through the chat model's own cache: `ChatTeacher.named("chat:MODEL?cache=PATH")` asks a server, and keeps in that file what
    it said.

    A client of a server does not travel to other processes: for environments in processes of their own, `record` its answers first and
    teach with `Recorded`.

    Args:
        chat: the chat model; `tutelage.models.chat` has servers, local models and programs.
        sampling: how replies are drawn; by default as the chat model was set up.
        question: from the environment to the text to ask.

    Source: arXiv 2410.08632; its prompts were not published, the wording is ours.
    """

    def __init__(self, chat: Chat, *, sampling: Sampling | None = None, question: Callable[[Any], str] = prompt) -> None:
        if not isinstance(chat, Chat):
            raise OptionError(f"chat is a {type(chat).__name__}; expected a chat model, with a method complete(conversations).")
        self.chat, self.sampling, self.question = chat, sampling, question
        self.tally = Tally()
        self._known: dict[str, Parsed] = {}

    @classmethod
    def named(cls, spec: str) -> ChatTeacher:
        """Return the teacher of a specification, `chat:MODEL?base_url=...` or `hf-chat:NAME` (see `tutelage.models.chat.from_spec`)."""
        return cls(from_spec(spec))

    def __call__(self, env: Any, level: int, generator: np.random.Generator) -> list[Subgoal]:
        """Return the subgoals of a level.

        Raises:
            ChatError: if the model cannot be reached.
        """
        del level, generator
        text = self.question(env)
        if text not in self._known:
            self._read(text, self.chat.complete([text], sampling=self.sampling)[0], env)
        return filled(env, self._known[text].subgoals)

    def prepare(self, env: Any, levels: Iterable[int]) -> Tally:
        """Ask about many levels at once, as fast as the chat model allows.

        Args:
            env: the environment; it is reset to each level.
            levels: seeds of levels.

        Returns:
            The tally so far.

        Raises:
            ChatError: if some got no reply; those that did are kept.
        """
        texts: dict[str, None] = {}
        for level in levels:
            env.reset(seed=int(level))
            texts[self.question(env)] = None
        new = [text for text in texts if text not in self._known]
        if not new:
            return self.tally
        try:
            replies: list[Reply | None] = list(self.chat.complete(new, sampling=self.sampling))
        except ChatError as error:
            for text, reply in zip(new, error.replies, strict=False):
                self._read(text, reply, env)
            raise
        for text, reply in zip(new, replies, strict=True):
            self._read(text, reply, env)
        return self.tally

    def _read(self, text: str, reply: Reply | None, env: Any) -> None:
        if reply is not None:
            parsed = parse(reply.text, *size(env))
            self._known[text] = parsed
            self.tally = self.tally.add(parsed)
