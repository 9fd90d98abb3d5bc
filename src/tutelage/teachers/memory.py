"""A frozen teacher's answers to one set of samples, computed once and kept in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.data import Arrays
from tutelage.errors import DataError, OptionError
from tutelage.views import View, per_row, row_seeds


class Memory:
    """Answers that `Stored` reads by sample: what a `tutelage.store.Store` is on disk, for what fits into memory.

    Args:
        index: int64 `[N]` original rows of the samples, each once.
        answers: one tensor `[N, ...]` per view, in the order of `index`; one for plain inputs where `views` is 0.
        views: number of augmented views of each sample, or 0.
        view_seed: seed of the views.

    Raises:
        DataError: if answers and samples do not fit.
    """

    def __init__(self, index: Tensor, answers: Sequence[Tensor], *, views: int = 0, view_seed: int = 0) -> None:
        if len(answers) != max(views, 1) or any(len(answer) != len(index) for answer in answers):
            raise DataError(f"{len(index)} samples of {views} views got answers of {[len(answer) for answer in answers]} rows.")
        self.views, self.view_seed = views, view_seed
        self.answers = tuple(answers)
        self._index = index
        self._order = index.argsort()
        self._sorted = index[self._order]

    @classmethod
    def of(
        cls, teacher: nn.Module, arrays: Arrays, *, view: View | None = None, views: int = 0, view_seed: int = 0, batch_size: int = 256
    ) -> Memory:
        """Ask a teacher about every sample once, without a graph and in eval mode.

        Args:
            teacher: answers `batch["input"]` with one tensor `[B, ...]`.
            arrays: the samples.
            view: augmentation that the teacher sees, or `None`.
            views: number of augmented views of each sample; 0 for plain inputs.
            view_seed: seed of the views.
            batch_size: samples asked about at once.

        Raises:
            OptionError: if there are views but no augmentation, or the other way round.
        """
        if (views > 0) != (view is not None) or views < 0:
            raise OptionError(f"Memory got views={views} and {'a' if view else 'no'} view; expected both, or neither for plain inputs.")
        modes = [(part, part.training) for part in teacher.modules()]
        teacher.eval()
        try:
            with torch.no_grad():
                answers = [_asked(teacher, arrays, view, number, view_seed, batch_size) for number in range(max(views, 1))]
        finally:
            for part, training in modes:
                part.training = training
        return cls(arrays.index, answers, views=views, view_seed=view_seed)

    def map(self, change: Callable[[Tensor], Tensor]) -> Memory:
        """Return the same samples with other answers: a head's logits from stored features, say.

        Args:
            change: answers `[N, ...]` of one view to others.
        """
        with torch.no_grad():
            return Memory(self._index, [change(answer) for answer in self.answers], views=self.views, view_seed=self.view_seed)

    def read(self, part: str, index: Tensor, view: int = 0) -> Tensor:
        """Return the answers for some samples.

        Args:
            part: not looked at; a memory is of one set of samples.
            index: int64 `[B]` original rows.
            view: number of the view.

        Raises:
            DataError: if one is not among the samples.
        """
        place = torch.searchsorted(self._sorted, index).clamp_max(len(self._sorted) - 1)
        known = self._sorted[place] == index
        if not bool(known.all()):
            missing = index[~known]
            raise DataError(f"The teacher was not asked about row {int(missing[0])} ({len(missing)} of {len(index)} rows are unknown).")
        return self.answers[view][self._order[place]]


def _asked(teacher: nn.Module, arrays: Arrays, view: View | None, number: int, seed: int, batch_size: int) -> Tensor:
    first = next(teacher.parameters(), None)
    found = []
    for batch in arrays.blocks(batch_size):
        inputs: Any = batch["input"]
        if view is not None:
            inputs = per_row(view, inputs, row_seeds(seed, batch["index"], number))
        if first is not None and isinstance(inputs, Tensor):
            inputs = inputs.to(first.device)
        found.append(teacher(inputs).cpu())
    return torch.cat(found)
