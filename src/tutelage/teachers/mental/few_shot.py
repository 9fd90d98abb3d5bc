"""A language model as the mental model: shown a few of the student's answers, it says how likely each answer comes next."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from tutelage.data.explained_questions import Question
from tutelage.errors import OptionError
from tutelage.models.chat.protocol import Chat, Reply, Sampling
from tutelage.models.chat.reading import choice_probabilities, digits_probability, read_answer
from tutelage.views.explaining import Demo, simulate


class FewShot:
    """Reads p(answer) off the first token that a language model says after the student's past answers.

    Of a number, p is the mean probability of its digits. A model that gives no log-probabilities is believed wholly: p is 1 for what it
    says and 0 for the rest.

    Args:
        chat: the language model; the teacher's own in the paper.
        gold: whether the right answer stands in the prompt, beside each question; True.
        sampling: how it is asked. Default: temperature 0, five tokens, 20 alternatives of each.

    Source:
        Section 3 of arXiv 2306.09299; the prompt of StrategyQA for every kind of question is ours, its words too.
    """

    def __init__(self, chat: Chat, *, gold: bool = True, sampling: Sampling | None = None) -> None:
        if not isinstance(chat, Chat):
            raise OptionError(f"chat is a {type(chat).__name__}; expected a chat model, with a method complete(conversations).")
        self.chat, self.gold = chat, gold
        self.sampling = sampling or Sampling(temperature=0.0, max_tokens=5, log_probs=20)
        if self.sampling.log_probs is None:
            self.sampling = dataclasses.replace(self.sampling, log_probs=20)
        self.pre: tuple[Demo, ...] = ()
        self.post: tuple[Demo, ...] = ()
        self.unread = 0

    def observe(self, pre: Sequence[Demo], post: Sequence[Demo]) -> None:
        """Take what the student answered, alone and with explanations, as demonstrations."""
        self.pre, self.post = tuple(pre), tuple(post)

    def predict(self, questions: Sequence[Question], references: Sequence[str], explanations: Sequence[str] | None = None) -> Tensor:
        """Return p(reference) as float32 `[N]`; where the reply cannot be read it is 0.5, and `unread` counts it.

        Raises:
            ChatError: if the model cannot be reached.
        """
        shown = self.pre if explanations is None else self.post
        told: Sequence[str | None] = [None] * len(questions) if explanations is None else explanations
        texts = [
            simulate(question, reference if self.gold else "", shown, why)
            for question, reference, why in zip(questions, references, told, strict=True)
        ]
        replies = self.chat.complete(texts, sampling=self.sampling) if texts else []
        found = [self._read(*row) for row in zip(questions, references, replies, strict=True)]
        return torch.tensor(found, dtype=torch.float32)

    def _read(self, question: Question, reference: str, reply: Reply) -> float:
        if reply.log_probs is None:
            said = read_answer(question, reply.text, leading=True)
            value = None if said is None else float(said == reference)
        elif question.kind == "number":
            value = digits_probability(reply, reference)
        else:
            likely = choice_probabilities(reply, question.choices)
            value = likely[reference] if likely and sum(likely.values()) > 0 else None
        if value is None:
            self.unread += 1
            return 0.5
        return value
