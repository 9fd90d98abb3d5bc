"""What every trained method is: a student, and what is learned from one batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from tutelage.teachers import Teacher

if TYPE_CHECKING:
    from tutelage.train.engine import Engine

Batch = dict[str, Any]
"""A batch: tensors by name (lists where sizes differ, nested dictionaries for companion streams)."""

OptimizerFactory = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


@dataclass
class Player:
    """One owner of parameters in a game of several: who moves, on which losses, and when.

    Players of the same turn share one forward and one backward pass; the method detaches what must not flow between
    them. Players of different turns move one after the other, each on a fresh forward pass, with every other
    player's parameters held still.

    Args:
        parameters: what this player owns. Each parameter has at most one owner.
        losses: names, among those that `Method.losses` returns, that this player descends; `None` for all.
        turn: players of lower turns move first.
        every: the player moves at each step whose number is a multiple of this.
        optimizer: builds its optimizer; `None` for the trainer's.
    """

    parameters: list[nn.Parameter]
    losses: tuple[str, ...] | None = None
    turn: int = 0
    every: int = 1
    optimizer: OptimizerFactory | None = None


class Method(nn.Module):
    """A sentence of the grammar: views, teacher, target, selector, loss and schedules, over one batch.

    A subclass sets `student` (what is deployed) and writes `losses`. The trainer sets `progress` (0 to 1), `steps_done`,
    `epoch`, `turn` and `generator` before each step, sums what `losses` returns, back-propagates it, and calls `update` on every
    teacher it finds inside the method after each optimizer step.
    """

    student: nn.Module

    def __init__(self) -> None:
        super().__init__()
        self.progress: float = 0.0
        self.steps_done: int = 0
        self.epoch: int = 0
        self.turn: int = 0
        self.generator: torch.Generator | None = None
        self._logged: dict[str, Tensor] = {}
        self._attentive: list[Teacher] | None = None

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return named scalar losses of one batch, which the trainer sums, logs and back-propagates.

        Args:
            batch: the keys that the method's docstring names.

        Returns:
            One scalar tensor per name.
        """
        raise TypeError(f"{type(self).__name__} must define losses(batch) or step(batch, engine)")

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return `losses(batch)`, of which teachers are told first; every distribution strategy can wrap it."""
        self.attend(batch)
        return self.losses(batch)

    def attend(self, batch: Batch) -> None:
        """Show a batch to every teacher inside the method that answers from memory.

        Args:
            batch: what `losses` will be given.
        """
        if self._attentive is None:
            teachers = [m for m in self.modules() if isinstance(m, Teacher)]
            self._attentive = [t for t in teachers if type(t).attend is not Teacher.attend]
        for teacher in self._attentive:
            teacher.attend(batch, self.epoch)

    def players(self) -> dict[str, Player]:
        """Return who owns which parameters; by default one player with all that are trainable and no teacher's."""
        held = {id(p) for m in self.modules() if isinstance(m, Teacher) for p in m.parameters()}
        return {"student": Player([p for p in self.parameters() if p.requires_grad and id(p) not in held])}

    step: Callable[[Batch, Engine], dict[str, Tensor]] | None = None
    """Optional `step(batch, engine)`: the whole step, for methods that need the optimizer itself (virtual futures, bilevel)."""

    def predict(self, batch: Batch) -> Tensor:
        """Return what the deployed student answers: its logits for `batch["input"]`."""
        logits: Tensor = self.student(batch["input"])
        return logits

    def log(self, name: str, value: Tensor | float) -> None:
        """Record a scalar that is watched but not descended (a share, a ratio, a temperature).

        Args:
            name: name in the metrics file.
            value: scalar; a tensor is detached and not synchronised.
        """
        self._logged[name] = value.detach() if isinstance(value, Tensor) else torch.tensor(float(value))

    def take_logged(self) -> dict[str, Tensor]:
        """Return what was logged since the last call, and forget it."""
        logged, self._logged = self._logged, {}
        return logged

    def update_teachers(self) -> None:
        """Call `update(progress)` on every teacher inside the method."""
        for module in self.modules():
            if isinstance(module, Teacher):
                module.update(self.progress)
