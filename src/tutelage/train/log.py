"""The metrics file: JSON lines that a resumed run continues exactly where its checkpoint was written."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tutelage.errors import optional

Row = dict[str, Any]


@dataclass
class History:
    """What a training measured: one dictionary an epoch, of mean losses, logged values and validation metrics."""

    epochs: list[Row] = field(default_factory=list)
    best_step: int | None = None
    best_value: float | None = None
    steps: int = 0
    seconds: float = 0.0

    def series(self, name: str) -> list[float]:
        """Return one quantity over the epochs that have it."""
        return [row[name] for row in self.epochs if name in row]


class MetricsFile:
    """Appends rows to `metrics.jsonl`, and to TensorBoard when asked to. No row holds a time, so that a resumed run writes the same bytes.

    Args:
        directory: the training's directory.
        offset: bytes to keep of an existing file; what comes after is forgotten.
        step: the step at which a resumed training goes on.
        tensorboard: also write event files under `tensorboard/`.
    """

    def __init__(self, directory: Path, *, offset: int = 0, step: int = 0, tensorboard: bool = False) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.path = directory / "metrics.jsonl"
        self._file = self.path.open("ab")
        self._file.truncate(offset)
        self._file.seek(0, 2)
        self._events: Any = None
        if tensorboard:
            optional("tensorboard", "track")
            from torch.utils.tensorboard.writer import SummaryWriter

            self._events = SummaryWriter(str(directory / "tensorboard"), purge_step=step or None)

    def write(self, row: Row) -> None:
        """Append one row; its numbers other than `step` and `epoch` become scalars of TensorBoard."""
        self._file.write((json.dumps(row) + "\n").encode())
        if self._events is not None:
            for name, value in row.items():
                if isinstance(value, float) and name not in ("step", "epoch"):
                    self._events.add_scalar(f"{row['kind']}/{name}", value, row["step"])

    def flush(self) -> int:
        """Hand what was written to the system and return the file's length in bytes."""
        self._file.flush()
        if self._events is not None:
            self._events.flush()
        return self._file.tell()

    def close(self) -> None:
        """Close the files."""
        self._file.close()
        if self._events is not None:
            self._events.close()
