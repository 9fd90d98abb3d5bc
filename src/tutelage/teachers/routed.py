"""Specialist teachers, each asked only about the samples that belong to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.errors import OptionError, ShapeError
from tutelage.teachers.base import Teacher
from tutelage.teachers.frozen import as_teachers

FILL = -1e4
"""Logit of a class that nobody was asked about: its sigmoid and softmax are exactly zero in fp32, and it is finite even in fp16."""


class Routed(Teacher):
    """Specialists over parts of a class list: each sample goes to its own specialists, and their answers land in the full list.

    A specialist runs only on the samples routed to it, and not at all if there are none. Where several specialists are
    asked about one sample and share a class, that class gets the mean of their logits.

    Args:
        teachers: the specialists; a plain network becomes `Frozen`.
        outputs: for each specialist the positions of its own outputs in the full class list: `outputs[t][j]` is the class of its
            j-th output. Different lengths are usual.
        num_classes: length of the full class list; one more than the largest position by default.
        fill: logit of the classes nobody was asked about.

    Raises:
        OptionError: if there is not one list of distinct, valid positions per specialist.

    Source: Gao, Guo, Li and Nevatia, Knowledge Concentration, arXiv 1711.07607.
    """

    def __init__(
        self,
        teachers: Iterable[nn.Module],
        outputs: Sequence[Sequence[int] | Tensor],
        *,
        num_classes: int | None = None,
        fill: float = FILL,
    ) -> None:
        super().__init__()
        members = as_teachers(teachers)
        positions = [torch.as_tensor(o, dtype=torch.int64).flatten() for o in outputs]
        if len(members) != len(positions):
            raise OptionError(
                f"Routed takes one list of output positions per teacher: got {len(members)} teachers, {len(positions)} lists."
            )
        size = num_classes if num_classes is not None else 1 + max(int(p.max()) if len(p) else -1 for p in positions)
        for number, position in enumerate(positions):
            if not len(position) or len(set(position.tolist())) != len(position) or position.min() < 0 or position.max() >= size:
                raise OptionError(f"Routed(outputs[{number}]) must name distinct classes from 0 to {size - 1}, got {position.tolist()}.")
        self.teachers = members
        self.num_classes = size
        self.fill = fill
        for number, position in enumerate(positions):
            self.register_buffer(f"outputs_{number}", position)
        self.constant = all(isinstance(t, Teacher) and t.constant for t in members)
        self.freeze()

    @property
    def outputs(self) -> list[Tensor]:
        """For each specialist the positions of its outputs in the full class list, int64."""
        return [self.get_buffer(f"outputs_{number}") for number in range(len(self.teachers))]

    def forward(self, inputs: Any, route: Tensor) -> Tensor:
        """Return each sample's logits in the full class list, from its own specialists.

        Args:
            inputs: a batch (tensor, list, or dictionary of these).
            route: int64 [N], each sample's specialist; or bool [N, T], all that are asked about it (none is allowed).

        Returns:
            Logits [N, num_classes], `fill` where nobody was asked.

        Raises:
            ShapeError: if the route or a specialist's width does not fit.
        """
        return run_routed(list(self.teachers), inputs, route, outputs=self.outputs, num_classes=self.num_classes, fill=self.fill)


def run_routed(
    teachers: Sequence[Callable[[Any], Tensor]],
    inputs: Any,
    route: Tensor,
    *,
    outputs: Sequence[Tensor] | None,
    num_classes: int | None,
    fill: float,
) -> Tensor:
    """Run each teacher on its own samples and scatter the answers back to their rows and classes.

    Args:
        teachers: T callables from a batch to logits.
        inputs: a batch (tensor, list, or dictionary of these).
        route: int64 [N], or bool [N, T].
        outputs: T lists of class positions; `None` if all teachers share one class list.
        num_classes: length of the class list; `None` if all teachers share one.
        fill: logit where nobody was asked.

    Returns:
        Logits [N, C].

    Raises:
        ShapeError: if the route or an answer does not fit.
    """
    asked = _asked(route, len(teachers), _length(inputs))
    total: Tensor | None = None
    times: Tensor | None = None
    for number, teacher in enumerate(teachers):
        rows = asked[:, number].nonzero().flatten()
        if not len(rows):
            continue
        answer = teacher(inputs if len(rows) == len(asked) else _chosen(teacher, inputs, rows))
        rows = rows.to(answer.device)
        width = num_classes if num_classes is not None else answer.shape[-1]
        own = torch.arange(width, device=answer.device) if outputs is None else outputs[number].to(answer.device)
        if answer.shape != (len(rows), len(own)) or (total is not None and total.shape[-1] != width):
            raise ShapeError(f"Teacher {number} answered {list(answer.shape)} for {len(rows)} samples; expected [{len(rows)}, {len(own)}].")
        if total is None or times is None:
            total = answer.new_zeros(len(asked), width)
            times = answer.new_zeros(len(asked), width)
        cells = (rows[:, None], own[None, :])
        total.index_put_(cells, answer.to(total.dtype), accumulate=True)
        times.index_put_(cells, times.new_ones(()), accumulate=True)
    if total is None or times is None:
        if num_classes is None:
            raise ShapeError("No sample was routed to any teacher, so the width of the answer is unknown.")
        return torch.full((len(asked), num_classes), fill, device=route.device)
    return torch.where(times > 0, total / times.clamp(min=1), fill)


def _chosen(teacher: Callable[[Any], Tensor], inputs: Any, rows: Tensor) -> Any:
    """Take some rows, of which teachers that answer from memory are told."""
    chosen = _take(inputs, rows)
    for part in teacher.modules() if isinstance(teacher, nn.Module) else ():
        if isinstance(part, Teacher):
            part.attend_rows(inputs, chosen, rows)
    return chosen


def _asked(route: Tensor, members: int, samples: int) -> Tensor:
    """Who is asked about whom, bool [N, T]."""
    if route.dtype == torch.bool and route.shape == (samples, members):
        return route
    if route.dtype != torch.int64 or route.shape != (samples,):
        raise ShapeError(
            f"A route is int64 [{samples}] or bool [{samples}, {members}] (samples, teachers) for this batch, "
            f"got {route.dtype} {list(route.shape)}."
        )
    if samples and not 0 <= int(route.min()) <= int(route.max()) < members:
        raise ShapeError(f"A route names teachers 0 to {members - 1}, got values from {int(route.min())} to {int(route.max())}.")
    return route[:, None] == torch.arange(members, device=route.device)


def _length(inputs: Any) -> int:
    return _length(next(iter(inputs.values()))) if isinstance(inputs, Mapping) else len(inputs)


def _take(inputs: Any, rows: Tensor) -> Any:
    if isinstance(inputs, Tensor):
        return inputs[rows.to(inputs.device)]
    if isinstance(inputs, Mapping):
        return {key: _take(value, rows) for key, value in inputs.items()}
    return [inputs[i] for i in rows.tolist()]
