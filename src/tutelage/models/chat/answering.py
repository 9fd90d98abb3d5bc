"""Asking chat models few-shot questions: with an explanation of their own, with one that is given, or the answer first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tutelage.data.explained_questions import Question
from tutelage.errors import ChatError
from tutelage.models.chat.protocol import Chat, Reply, Sampling
from tutelage.models.chat.reading import choice_probabilities, digits_probability, read_answer, read_explanation, read_reason
from tutelage.views import explaining
from tutelage.views.explaining import Demo


@dataclass(frozen=True)
class Answered:
    """What a model answered to one question.

    Args:
        answer: as the question's choices write it, or a number; `None` where the reply has none.
        explanation: what it said before (or, answering first, after) the answer; of a given explanation, that.
        probabilities: how likely each choice was at the answer; `None` where the model gives no log-probabilities, or for numbers.
        again: whether it was asked again, with its own explanation, because no answer could be read.
        replies: what it said, one or two.
    """

    answer: str | None
    explanation: str
    probabilities: Mapping[str, float] | None
    again: bool
    replies: tuple[Reply, ...]

    def likely(self, reference: str) -> float:
        """Return how likely the model made an answer: of a choice its token, of a number the mean over its digits.

        Args:
            reference: the answer.

        Returns:
            In [0, 1]; without log-probabilities 1 for what it answered and 0 for the rest.
        """
        if self.probabilities:
            return self.probabilities.get(reference, 0.0)
        found = digits_probability(self.replies[-1], reference) if self.replies and not reference.isalpha() else None
        return float(self.answer == reference) if found is None else found


def explain_then_answer(
    chat: Chat, questions: Sequence[Question], demos: Sequence[Sequence[Demo]] | None = None, *, sampling: Sampling | None = None
) -> list[Answered]:
    """Let a model explain and answer (chain of thought); where no answer can be read, it is asked again with its own explanation.

    Args:
        chat: the model.
        questions: what to ask, N.
        demos: the demonstrations of each question; by default none.
        sampling: how replies are drawn; by default as the model was set up.

    Returns:
        N answers.

    Raises:
        ChatError: if some got no reply; the others are in its `replies`.
    """
    seen = demos or [()] * len(questions)
    texts = [explaining.explain_first(question, shown) for question, shown in zip(questions, seen, strict=True)]
    found = [
        _read(question, reply, read_explanation(reply.text), last=True)
        for question, reply in zip(questions, _asked(chat, texts, sampling), strict=True)
    ]
    lost = [place for place, answered in enumerate(found) if answered.answer is None]
    if lost:
        texts = [explaining.own(questions[place], found[place].explanation, seen[place]) for place in lost]
        for place, reply in zip(lost, _asked(chat, texts, sampling), strict=True):
            second = _read(questions[place], reply, found[place].explanation, leading=True)
            found[place] = replace(second, again=True, replies=(*found[place].replies, reply))
    return found


def answer_given(
    chat: Chat,
    questions: Sequence[Question],
    explanations: Sequence[str],
    demos: Sequence[Sequence[Demo]] | None = None,
    *,
    sampling: Sampling | None = None,
) -> list[Answered]:
    """Let a model answer with explanations in place of its own.

    Args:
        chat: the model.
        questions: what to ask, N.
        explanations: one for each; of `number` questions only the first sentence is shown.
        demos: the demonstrations of each question; by default none.
        sampling: how replies are drawn; by default as the model was set up.

    Returns:
        N answers; an explanation is that which was given.

    Raises:
        ChatError: if some got no reply; the others are in its `replies`.
    """
    seen = demos or [()] * len(questions)
    texts = [explaining.explained(*row) for row in zip(questions, explanations, seen, strict=True)]
    replies = _asked(chat, texts, sampling)
    return [
        _read(question, reply, explanation, leading=True, last=question.kind == "number")
        for question, explanation, reply in zip(questions, explanations, replies, strict=True)
    ]


def answer_alone(
    chat: Chat, questions: Sequence[Question], demos: Sequence[Sequence[Demo]] | None = None, *, sampling: Sampling | None = None
) -> list[Answered]:
    """Let a model answer without any explanation (an ablation).

    Args:
        chat: the model.
        questions: what to ask, N.
        demos: the demonstrations of each question; by default none.
        sampling: how replies are drawn; by default as the model was set up.

    Returns:
        N answers with empty explanations.

    Raises:
        ChatError: if some got no reply; the others are in its `replies`.
    """
    seen = demos or [()] * len(questions)
    texts = [explaining.answer_only(question, shown) for question, shown in zip(questions, seen, strict=True)]
    replies = _asked(chat, texts, sampling)
    return [_read(question, reply, "", leading=True) for question, reply in zip(questions, replies, strict=True)]


def answer_then_reason(
    chat: Chat, questions: Sequence[Question], demos: Sequence[Sequence[Demo]] | None = None, *, sampling: Sampling | None = None
) -> list[Answered]:
    """Let a model answer and then say because of what (rationalisation).

    Args:
        chat: the model.
        questions: what to ask, N.
        demos: the demonstrations of each question; by default none.
        sampling: how replies are drawn; by default as the model was set up.

    Returns:
        N answers.

    Raises:
        ChatError: if some got no reply; the others are in its `replies`.
    """
    seen = demos or [()] * len(questions)
    texts = [explaining.answer_first(question, shown) for question, shown in zip(questions, seen, strict=True)]
    replies = _asked(chat, texts, sampling)
    return [_read(question, reply, read_reason(reply.text), leading=True) for question, reply in zip(questions, replies, strict=True)]


def _asked(chat: Chat, texts: Sequence[str], sampling: Sampling | None) -> list[Reply]:
    """Ask, and refuse what is no reply: chat models are the user's own."""
    replies: list[Any] = list(chat.complete(texts, sampling=sampling)) if texts else []
    strange = next((type(reply).__name__ for reply in replies if not isinstance(reply, Reply)), None)
    if strange is not None or len(replies) != len(texts):
        got = f"a {strange} in place of a Reply" if strange else f"{len(replies)} replies to {len(texts)} conversations"
        raise ChatError(f"A chat model returned {got}. Correct its complete(conversations, *, sampling=None).")
    return replies


def _read(question: Question, reply: Reply, explanation: str, *, leading: bool = False, last: bool = False) -> Answered:
    answer = read_answer(question, reply.text, leading=leading)
    found = choice_probabilities(reply, question.choices, last=last) if question.choices else None
    return Answered(answer, explanation, found, False, (reply,))
