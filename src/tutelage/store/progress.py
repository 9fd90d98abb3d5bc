"""The progress bar of labelling: rows, rate and time left; nothing at all where no terminal watches."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Bar:
    """One line on the terminal while it is open.

    Args:
        console: where to draw.
        total: rows in all.
    """

    def __init__(self, console: Console, total: int) -> None:
        self._done, self._drawn, self._started = 0, 0.0, time.perf_counter()
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
        self._progress = Progress(*columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal)
        self._task = self._progress.add_task("labelling", total=total, rate="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._progress.stop()

    def add(self, rows: int, what: str) -> None:
        """Count rows that were answered.

        Args:
            rows: how many.
            what: where they lie.
        """
        self._done += rows
        now = time.perf_counter()
        if self._progress.disable or now - self._drawn < 0.2:
            return
        self._drawn = now
        rate = f"{self._done / (now - self._started):,.0f} rows/s"
        self._progress.update(self._task, completed=self._done, description=what, rate=rate)
