"""A teacher that answers from memory: what it said once is read back by sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from tutelage import views
from tutelage.errors import DataError, OptionError
from tutelage.teachers.base import Teacher


class Answers(Protocol):
    """Where stored answers are read from; `tutelage.store.Store` is one."""

    views: int
    view_seed: int

    def read(self, part: str, index: Tensor, view: int = 0) -> Any:
        """Return the answers for samples `index`, int64 `[B]` original rows, of one part and view."""
        ...


@dataclass(frozen=True)
class _Known:
    """Inputs whose samples are known: those of the batch, a view of them, or some of their rows."""

    inputs: Any
    index: Tensor
    view: int


class Stored(Teacher):
    """A teacher whose answers were computed once and are looked up by `batch["index"]`; it stands wherever a frozen one stands.

    A method attends to each batch before its losses; the teacher then knows the batch's inputs, and those that its own
    `view` made of them, when it is asked. It has nothing to say about any other inputs.

    Args:
        store: the answers: a `tutelage.store.Store`, or anything that reads like one.
        view: the augmentation under which the answers were stored, `(images, generator) -> images`; needed when the store has views.
        part: part of the data set whose samples are asked about. Default `"train"`.

    Raises:
        OptionError: if the store has views but none is given, or the other way round.
    """

    constant = True

    def __init__(self, store: Answers, view: views.View | None = None, *, part: str = "train") -> None:
        super().__init__()
        if (store.views > 0) != (view is not None):
            raise OptionError(
                f"The store holds answers to {store.views or 'no'} augmented views of each sample, but Stored got "
                f"{'no view' if view is None else 'a view'}. Give the view that the store was labelled under"
                f"{'' if store.views else ': none'}, or label anew with --view and --views."
            )
        self.store = store
        self.part = part
        self._view = view
        self._epoch = 0
        self._known: list[_Known] = []

    @property
    def view(self) -> views.View | None:
        """The view for the method: in epoch e each image as it was in stored view `e mod N`; `None` for a store without views."""
        return None if self._view is None else self._stored_view

    def of(self, part: str) -> Stored:
        """Return a teacher for another part of the data set, whose answers are to plain inputs.

        Args:
            part: `"validation"` or `"test"`.
        """
        return Stored(_Plain(self.store), part=part)

    def attend(self, batch: dict[str, Any], epoch: int = 0) -> None:
        """Take note of the samples of a batch, and of those of its companion streams.

        Args:
            batch: with `"input"` and `"index"`.
            epoch: number of the epoch, which chooses the stored view.
        """
        self._epoch = epoch
        streams = [batch, *(value for value in batch.values() if isinstance(value, dict))]
        self._known = [_Known(s["input"], s["index"], 0) for s in streams if "input" in s and "index" in s]

    def attend_rows(self, inputs: Any, chosen: Any, rows: Tensor) -> None:
        """Take note that `chosen` are some rows of inputs that are known already.

        Args:
            inputs: inputs of a batch, or a view of them.
            chosen: `inputs[rows]`.
            rows: int64 positions.
        """
        for known in self._known:
            if known.inputs is inputs:
                self._known.append(_Known(chosen, known.index[rows.to(known.index.device)], known.view))
                return

    def forward(self, inputs: Any) -> Any:
        """Return what the teacher said about these inputs.

        Args:
            inputs: `batch["input"]`, or what `view` made of it.

        Returns:
            Logits `[N, C]` in float32, or what else the store keeps, on the inputs' device.

        Raises:
            DataError: if the inputs are not known samples.
        """
        for known in self._known:
            if known.inputs is inputs:
                device = inputs.device if isinstance(inputs, Tensor) else known.index.device
                return _to(self.store.read(self.part, known.index.cpu(), known.view), device)
        raise DataError(
            "A stored teacher was asked about inputs that are not the samples of its batch"
            f"{', as its own view shows them' if self._view else ''}. It can only repeat what it said about stored samples: "
            "give the teacher itself where inputs are attacked, mixed or newly augmented."
        )

    def _stored_view(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        for known in self._known:
            if known.inputs is images:
                number = self._epoch % self.store.views
                assert self._view is not None
                changed = views.per_row(self._view, images, views.row_seeds(self.store.view_seed, known.index, number))
                self._known.append(_Known(changed, known.index, number))
                return changed
        raise DataError("A stored view was asked to change images that are not those of the batch. Change what it returns instead.")

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return type(self)(self.store, self._view, part=self.part)


class _Plain:
    """The answers to plain inputs of a store that may have views of its training part."""

    views, view_seed = 0, 0

    def __init__(self, store: Answers) -> None:
        self._store = store

    def read(self, part: str, index: Tensor, view: int = 0) -> Any:
        return self._store.read(part, index, view)


def _to(answer: Any, device: torch.device) -> Any:
    if isinstance(answer, Tensor):
        return answer.to(device, non_blocking=True)
    if isinstance(answer, tuple):
        parts = [_to(value, device) for value in answer]
        return type(answer)(*parts) if hasattr(answer, "_fields") else tuple(parts)
    return answer
