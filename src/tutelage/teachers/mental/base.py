"""What every mental model of a student can do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor

from tutelage.data.explained_questions import Question
from tutelage.views.explaining import Demo


@runtime_checkable
class MentalModel(Protocol):
    """Foretells how likely a student gives the reference answer, from what it answered before."""

    def observe(self, pre: Sequence[Demo], post: Sequence[Demo]) -> None:
        """Take what the student answered in place of all that was known before.

        Args:
            pre: questions that it answered alone; `answer` is the student's.
            post: questions that it answered with the explanation that stands beside them.
        """
        ...

    def predict(self, questions: Sequence[Question], references: Sequence[str], explanations: Sequence[str] | None = None) -> Tensor:
        """Return how likely the student answers as the references do.

        Args:
            questions: N questions.
            references: for each the right answer, or what the teacher takes for it.
            explanations: what the student is given; `None` if it is left alone.

        Returns:
            float32 `[N]` in [0, 1], without a graph.
        """
        ...
