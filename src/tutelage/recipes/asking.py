"""An oracle of active learning: whoever reveals labels, asked about each sample once."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from tutelage import files
from tutelage.data import Arrays
from tutelage.errors import CheckpointError, DataError

Oracle = Callable[[Arrays], "Tensor | Sequence[int]"]
"""Takes samples without labels, columns `input` and `index`, and returns a label from 0 for each."""


class Asked:
    """Asks an oracle about samples, each once, and keeps its answers in a file.

    Args:
        oracle: who answers; `None` for the labels that `pool` has.
        pool: all samples.
        path: JSON file that keeps answers, read if it exists; `None` keeps them in memory.

    Raises:
        DataError: if there is neither an oracle nor a label.
        CheckpointError: if the file is damaged.
    """

    def __init__(self, oracle: Oracle | None, pool: Arrays, path: Path | None = None) -> None:
        if oracle is None and "label" not in pool.columns:
            raise DataError(f"'{pool.name}' has no labels to reveal: give an oracle, or samples with a column 'label'.")
        self.oracle = oracle
        self.classes = pool.num_classes
        self.path = path
        self._own = dict(zip(pool.index.tolist(), pool.labels.tolist(), strict=True)) if oracle is None else {}
        self.answers: dict[int, int] = {}
        if path is not None and path.exists():
            try:
                self.answers = {int(row): int(label) for row, label in json.loads(path.read_text()).items()}
            except (OSError, ValueError, AttributeError) as error:
                raise CheckpointError(f"{path} is damaged ({error}). Mend it, or remove it to ask the oracle again.") from error

    def about(self, samples: Arrays) -> Arrays:
        """Return samples with their labels, asking the oracle about those that are new.

        Args:
            samples: some of the pool.

        Raises:
            DataError: if the oracle gives no label from 0 to C - 1 for a sample.
        """
        rows = samples.index.tolist()
        new = [place for place, row in enumerate(rows) if row not in self.answers]
        if new:
            given = self._reveal(samples.subset(new))
            if len(given) != len(new) or not all(0 <= label < self.classes for label in given):
                begins = f"{given[:8]}{'...' if len(given) > 8 else ''}"
                raise DataError(
                    f"The oracle was asked about {len(new)} samples and answered {begins} ({len(given)} labels); expected one for each, "
                    f"from 0 to {self.classes - 1}."
                )
            self.answers |= {rows[place]: label for place, label in zip(new, given, strict=True)}
            if self.path is not None:
                files.write_json(self.path, self.answers)
        return samples.replace(label=torch.tensor([self.answers[row] for row in rows], dtype=torch.int64))

    def _reveal(self, samples: Arrays) -> list[int]:
        if self.oracle is None:
            return [self._own[row] for row in samples.index.tolist()]
        return [int(label) for label in self.oracle(samples)]
