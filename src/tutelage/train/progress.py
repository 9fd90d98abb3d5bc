"""The progress bar: rate, time left, losses and memory; nothing at all where no terminal watches."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


def memory() -> str:
    """Return the peak memory of this process, and of the GPU where one is in use."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    text = f"{peak / 2**30:.1f} GB"
    if torch.cuda.is_available():
        text += f" + {torch.cuda.max_memory_allocated() / 2**30:.1f} GB GPU"
    return text


class Bar:
    """One line on the terminal for one training at a time; silent when the console is not a terminal.

    Args:
        console: where to draw; standard error by default.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self.live = self.console.is_terminal
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._drawn = 0.0
        self._started = 0.0
        self._done = 0

    def start(self, name: str, total: int, done: int) -> None:
        """Show a new training.

        Args:
            name: what is trained.
            total: optimizer steps in all.
            done: steps that an earlier run did.
        """
        if not self.live:
            return
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[losses]}"),
            TextColumn("[dim]{task.fields[memory]}"),
            console=self.console,
            transient=True,
            refresh_per_second=5,
        )
        self._task = self._progress.add_task(name, total=total, completed=done, rate="", losses="", memory=memory())
        self._started, self._done = time.perf_counter(), done
        self._progress.start()

    def step(self, done: int, losses: Callable[[], str]) -> None:
        """Show that `done` steps are done; `losses` is only asked for a few times a second."""
        if self._progress is None or self._task is None:
            return
        now = time.perf_counter()
        if now - self._drawn < 0.2:
            return
        self._drawn = now
        rate = (done - self._done) / max(now - self._started, 1e-9)
        self._progress.update(self._task, completed=done, rate=f"{rate:.0f} steps/s", losses=losses(), memory=memory())

    def stop(self) -> None:
        """Take the bar away."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
