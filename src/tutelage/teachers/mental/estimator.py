"""Counting as the mental model: how often the student was right on a topic, alone and with explanations of a style."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from tutelage.data.explained_questions import Question
from tutelage.errors import OptionError
from tutelage.views.explaining import Demo

_STEPS = 50


def topic_of(question: Question) -> str:
    """Return the question's own topic."""
    return question.topic


def one_style(explanation: str) -> str:
    """Return the same style for every explanation."""
    del explanation
    return "explained"


class Estimator:
    """P(right | topic, style) from a few observed answers, smoothed.

    "beta": `(right + a m) / (n + a)`, the posterior mean under a Beta prior of strength a around m. A topic's prior mean is the rate over
    all topics (itself smoothed towards 1/2), that of a style within a topic is the topic's. "logistic": ridge logistic regression on
    indicators of topic, style and both together, by Newton's method.

    Args:
        kind: "beta" (default) or "logistic".
        strength: a, in observations; of the logistic regression the ridge penalty. Default 1.
        topic: from a question to what it is about; by default its `topic`.
        style: from an explanation to its style; by default all are of one.

    Raises:
        OptionError: for an unknown kind, or a strength that is not above 0.

    Source:
        The statistical route of this library; the paper has the few-shot language model only.
    """

    def __init__(
        self,
        *,
        kind: Literal["beta", "logistic"] = "beta",
        strength: float = 1.0,
        topic: Callable[[Question], str] = topic_of,
        style: Callable[[str], str] = one_style,
    ) -> None:
        if kind not in ("beta", "logistic"):
            raise OptionError(f"kind is '{kind}'; expected 'beta' or 'logistic'.")
        if not strength > 0:
            raise OptionError(f"strength is {strength}; expected a number above 0.")
        self.kind, self.strength, self.topic, self.style = kind, strength, topic, style
        self.pre: list[tuple[str, str, bool]] = []
        self.post: list[tuple[str, str, bool]] = []

    def observe(self, pre: Sequence[Demo], post: Sequence[Demo]) -> None:
        """Take what the student answered; those questions whose right answer nobody knows say nothing."""
        self.pre = [(self.topic(d.question), "", d.answer == d.question.answer) for d in pre if d.question.answer]
        self.post = [(self.topic(d.question), self.style(d.explanation), d.answer == d.question.answer) for d in post if d.question.answer]

    def predict(self, questions: Sequence[Question], references: Sequence[str], explanations: Sequence[str] | None = None) -> Tensor:
        """Return P(right) as float32 `[N]`; the references are taken to be right."""
        del references
        told = [""] * len(questions) if explanations is None else [self.style(text) for text in explanations]
        cells = [(self.topic(question), style) for question, style in zip(questions, told, strict=True)]
        seen = self.pre if explanations is None else self.post
        found = self._logistic(seen, cells) if self.kind == "logistic" else [self._beta(seen, *cell) for cell in cells]
        return torch.tensor(found, dtype=torch.float32)

    def _beta(self, seen: Sequence[tuple[str, str, bool]], topic: str, style: str) -> float:
        """Return the posterior mean, each level of which is the prior of the next."""
        mean = 0.5
        for level in (seen, [s for s in seen if s[0] == topic], [s for s in seen if s[:2] == (topic, style)]):
            mean = (sum(right for *_, right in level) + self.strength * mean) / (len(level) + self.strength)
        return mean

    def _logistic(self, seen: Sequence[tuple[str, str, bool]], cells: Sequence[tuple[str, str]]) -> list[float]:
        """Return the regression's probabilities; topics or styles never seen have no indicator."""
        names = sorted({name for topic, style, _ in seen for name in _indicators(topic, style)})
        x = _design([(topic, style) for topic, style, _ in seen], names)
        y = torch.tensor([float(right) for *_, right in seen], dtype=torch.float64)
        weight = torch.zeros(x.shape[1], dtype=torch.float64)
        penalty = torch.full_like(weight, self.strength)
        penalty[0] = 1e-3  # the intercept is hardly held back
        for _ in range(_STEPS):
            p = (x @ weight).sigmoid()
            gradient = x.T @ (p - y) + penalty * weight
            curvature = x.T @ (x * (p * (1 - p))[:, None]) + penalty.diag()
            move = torch.linalg.solve(curvature, gradient)
            weight = weight - move
            if float(move.abs().max()) < 1e-10:
                break
        found: list[float] = (_design(cells, names) @ weight).sigmoid().tolist()
        return found


def _indicators(topic: str, style: str) -> tuple[str, ...]:
    return (f"topic:{topic}", f"style:{style}", f"both:{topic}\0{style}")


def _design(cells: Sequence[tuple[str, str]], names: Sequence[str]) -> Tensor:
    """Return float64 `[N, 1 + F]`: a one, and which indicators each cell has."""
    rows = [[1.0, *(float(name in _indicators(*cell)) for name in names)] for cell in cells]
    return torch.tensor(rows, dtype=torch.float64).reshape(len(cells), 1 + len(names))
