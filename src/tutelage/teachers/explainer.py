"""Teachers that explain: chat models, blind or shown what helped this student before, and explanations that are there already."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Literal

from tutelage.data.explained_questions import Question
from tutelage.errors import DataError, OptionError
from tutelage.models.chat.answering import Answered, answer_then_reason, explain_then_answer
from tutelage.models.chat.protocol import Chat, Sampling
from tutelage.views.explaining import Demo

Kind = Literal["cot", "rationalise", "personalised", "human", "harmful"]
KINDS = ("cot", "rationalise", "personalised", "human", "harmful")


class Explainer:
    """Explains questions to a student.

    Args:
        chat: the teacher; `None` where the kind is "human" or "harmful".
        kind: "cot" (explain, then answer), "rationalise" (answer, then because), "personalised" (as "cot", with demonstrations that helped
            this student), "human" (the question's own explanation) or "harmful" (one of its harmful ones, drawn once for each).
        demos: the student's own demonstrations, which a blind teacher sees.
        useful: demonstrations that helped the student, which a personalised one sees; without any it is blind.
        per_topic: show those of the question's own topic, where there are any.
        seed: of the choice among harmful explanations.

    Raises:
        OptionError: for an unknown kind, or one that needs a chat model and has none.

    Source: arXiv 2306.09299, sections 5.3 and 5.5.
    """

    def __init__(
        self,
        chat: Chat | None,
        kind: Kind = "cot",
        *,
        demos: Sequence[Demo] = (),
        useful: Sequence[Demo] = (),
        per_topic: bool = False,
        seed: int = 0,
    ) -> None:
        if kind not in KINDS:
            raise OptionError(f"explainer is '{kind}'; expected one of {', '.join(KINDS)}.")
        if chat is None and kind not in ("human", "harmful"):
            raise OptionError(f"There is no teacher, so nobody explains: give one, or explainer='human' in place of '{kind}'.")
        self.chat, self.kind, self.per_topic, self.seed = chat, kind, per_topic, seed
        self.demos, self.useful = list(demos), list(useful)

    def __call__(self, questions: Sequence[Question], *, sampling: Sampling | None = None) -> list[Answered]:
        """Return an explanation of each question, and the teacher's own answer to it.

        Args:
            questions: what to explain.
            sampling: how replies are drawn.

        Raises:
            DataError: if a question lacks the explanation that the kind asks for.
            ChatError: if the teacher cannot be reached.
        """
        if self.chat is None or self.kind in ("human", "harmful"):
            return [self._there(question) for question in questions]
        ask = answer_then_reason if self.kind == "rationalise" else explain_then_answer
        return ask(self.chat, questions, [self.shown(question) for question in questions], sampling=sampling)

    def shown(self, question: Question) -> list[Demo]:
        """Return the demonstrations in the prompt about a question."""
        if self.kind != "personalised" or not self.useful:
            return self.demos
        own = [demo for demo in self.useful if demo.question.topic == question.topic]
        return own if self.per_topic and own else self.useful

    def _there(self, question: Question) -> Answered:
        texts = (question.explanation,) if self.kind == "human" else question.harmful
        if not any(texts):
            raise DataError(f"The question {question.question!r} has no {self.kind} explanation. Add one, or take it out.")
        text = random.Random(f"{self.seed} {question.question}").choice(texts)
        return Answered(question.answer if self.kind == "human" and question.answer else None, text, None, False, ())
