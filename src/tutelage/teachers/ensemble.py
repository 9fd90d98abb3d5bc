"""Several teachers as one: a weighted ensemble over the same classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from tutelage.errors import OptionError, ShapeError, nearest
from tutelage.teachers.base import Teacher, without_graph
from tutelage.teachers.frozen import as_teachers
from tutelage.teachers.routed import run_routed

Combine = Literal["logits", "probs"]


class Ensemble(Teacher):
    """Several teachers of the same classes, averaged with fixed or per-sample weights, or routed to sample by sample.

    Args:
        teachers: the members; a plain network becomes `Frozen`.
        weights: one number per member, not negative; equal by default. Divided by their sum.
        combine: `"logits"` averages the members' logits (a geometric mean of their probabilities, up to scale); `"probs"`
            averages their probabilities and returns the logarithm, which is a set of logits too.

    Raises:
        OptionError: for no members, an unknown `combine`, or weights that are not one per member or sum to zero.
    """

    weights: Tensor

    def __init__(self, teachers: Iterable[nn.Module], *, weights: Sequence[float] | None = None, combine: Combine = "logits") -> None:
        super().__init__()
        if combine not in get_args(Combine):
            raise OptionError(f"Ensemble(combine={combine!r}) is not an option.{nearest(str(combine), get_args(Combine))}")
        self.teachers = as_teachers(teachers)
        given = [1.0] * len(self.teachers) if weights is None else [float(w) for w in weights]
        if len(given) != len(self.teachers) or not all(0 <= w < float("inf") for w in given) or sum(given) <= 0:
            raise OptionError(
                f"Ensemble(weights={weights}) takes {len(self.teachers)} finite numbers, one per teacher, none negative and not all zero."
            )
        self.combine: Combine = combine
        self.register_buffer("weights", torch.tensor(given) / sum(given))
        self.constant = all(isinstance(t, Teacher) and t.constant for t in self.teachers)
        self.freeze()

    def forward(self, inputs: Any, weights: Tensor | None = None) -> Tensor:
        """Return the combined logits.

        Args:
            inputs: a batch, as each member takes it.
            weights: [N, T] (per sample) or [T] for T members, not negative, divided by their sum; the fixed weights by default.

        Returns:
            Logits [N, C].

        Raises:
            ShapeError: if the members' answers or the weights do not fit each other.
        """
        answers = torch.stack(self._answers(inputs))
        share = self._shares(answers, weights)
        if self.combine == "logits":
            return (share * answers).sum(0)
        return torch.logsumexp(share.log() + answers.log_softmax(-1), 0)

    @without_graph
    def each(self, inputs: Any) -> list[Tensor]:
        """Return every member's own logits.

        Args:
            inputs: a batch, as each member takes it.

        Returns:
            T tensors [N, C].
        """
        return self._answers(inputs)

    @without_graph
    def route(self, inputs: Any, route: Tensor) -> Tensor:
        """Ask one member per sample; a member runs only on its own samples, and not at all if it has none.

        Args:
            inputs: a batch (tensor, list, or dictionary of these).
            route: int64 [N], each sample's member; such as `member_of_class[labels]`.

        Returns:
            Logits [N, C].

        Raises:
            ShapeError: if the route is not one valid member per sample, or members answer with different widths.
        """
        return run_routed(list(self.teachers), inputs, route, outputs=None, num_classes=None, fill=0.0)

    def _answers(self, inputs: Any) -> list[Tensor]:
        answers: list[Tensor] = [teacher(inputs) for teacher in self.teachers]
        shapes = {tuple(a.shape) for a in answers}
        if len(shapes) > 1:
            raise ShapeError(
                f"The ensemble's teachers answer with different shapes: {sorted(shapes)}. They must share their classes; "
                "specialists with classes of their own belong in Routed."
            )
        return answers

    def _shares(self, answers: Tensor, weights: Tensor | None) -> Tensor:
        """Weights that sum to one, shaped [T, N or 1, 1, ...] like the stacked answers."""
        members, samples = answers.shape[:2]
        given = self.weights if weights is None else weights
        given = given.to(device=answers.device, dtype=answers.dtype)
        if given.shape not in {(members,), (samples, members)}:
            raise ShapeError(
                f"Ensemble weights are [{members}] or [{samples}, {members}] (samples, teachers) for this batch, got {list(given.shape)}."
            )
        share = given / given.sum(-1, keepdim=True)
        columns = share.T if share.dim() == 2 else share[:, None]
        return columns.reshape(*columns.shape, *[1] * (answers.dim() - 2))
