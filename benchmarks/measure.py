"""Taking turns: two functions are timed one after the other, round by round, and their ratio is that of the medians."""

from __future__ import annotations

import datetime
import gc
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Row:
    """One comparison.

    Args:
        name: what is compared.
        ours: median seconds, or what else is measured, of ours.
        theirs: the same of the alternative.
        unit: of both.
        ratio: the number that the goal speaks of.
        goal: what it should be.
        held: whether it is.
    """

    name: str
    ours: float
    theirs: float
    unit: str
    ratio: float
    goal: str
    held: bool


def conditions() -> dict[str, str]:
    """Return what a measurement depends on besides the code: processor, cores, threads, versions, day."""
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), platform.processor()
    )
    return {
        "processor": model or platform.machine(),
        "cores": str(os.cpu_count()),
        "threads": str(torch.get_num_threads()),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "date": datetime.date.today().isoformat(),
    }


def _lines(path: str) -> list[str]:
    try:
        with open(path) as file:
            return file.read().splitlines()
    except OSError:
        return []


def take_turns(*functions: Callable[[], object], rounds: int = 7, warm_up: int = 1) -> list[list[float]]:
    """Time functions in turn and return the seconds of each round of each."""
    seconds: list[list[float]] = [[] for _ in functions]
    for number in range(rounds + warm_up):
        # Whoever goes first in a round gets no lasting advantage: the order turns.
        for place in range(len(functions)):
            which = (place + number) % len(functions)
            gc.collect()
            started = time.perf_counter()
            functions[which]()
            if number >= warm_up:
                seconds[which].append(time.perf_counter() - started)
    return seconds


def paired_ratio(top: list[float], bottom: list[float]) -> float:
    """Return the median of the ratios round by round, which a machine whose speed drifts changes least."""
    return statistics.median(a / b for a, b in zip(top, bottom, strict=True))


def show(rows: Iterable[Row]) -> None:
    """Print the rows as a table."""
    table = Table(title="benchmarks")
    for heading in ("comparison", "ours", "alternative", "unit", "ratio", "goal", "held"):
        table.add_column(heading, justify="right" if heading in ("ours", "alternative", "ratio") else "left")
    for row in rows:
        table.add_row(row.name, f"{row.ours:.4g}", f"{row.theirs:.4g}", row.unit, f"{row.ratio:.3f}", row.goal, "yes" if row.held else "NO")
    Console(width=150).print(table)
