"""What every race has in common: lanes that take turns, ratios round by round, and the file that the page is written from."""

from __future__ import annotations

import gc
import importlib.metadata
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.measure import Row, conditions
from tutelage import files

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results" / "benchmarks" / "races"
PEERS = ("torchdistill", "textbrewer", "lightly", "stable-pretraining", "trl", "liger-kernel", "transformers", "lightning", "onnxruntime")


@dataclass(frozen=True)
class Lane:
    """One runner.

    Args:
        name: who.
        prepare: makes everything ready, untimed, and returns what is timed.
    """

    name: str
    prepare: Callable[[], Callable[[], object]]


@dataclass(frozen=True)
class Measured:
    """What a runner took.

    Args:
        name: who, or what.
        unit: of the three numbers.
        median: over the rounds.
        low: first quartile.
        high: third quartile.
        rounds: number of rounds.
    """

    name: str
    unit: str
    median: float
    low: float
    high: float
    rounds: int


@dataclass(frozen=True)
class Ratio:
    """One comparison.

    Args:
        name: what is compared.
        value: median of the ratios of the rounds.
        low: first quartile of them.
        high: third quartile.
        goal: `">= 2"`, say; empty where none is set.
        held: whether the goal is; `None` without one.
        ours_wins: whether ours is at least as good.
    """

    name: str
    value: float
    low: float
    high: float
    goal: str
    held: bool | None
    ours_wins: bool


@dataclass
class Section:
    """One task of a race.

    Args:
        name: its heading.
        about: what every lane did, in a sentence or two.
        measured: the lanes.
        ratios: the comparisons.
        notes: sentences below the tables.
    """

    name: str
    about: str
    measured: list[Measured] = field(default_factory=list)
    ratios: list[Ratio] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass
class Race:
    """All of a race.

    Args:
        name: as on the command line.
        title: heading of its part of the page.
        sections: its tasks.
        left_out: who did not run in what, and why.
    """

    name: str
    title: str
    sections: list[Section] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def turns(lanes: Sequence[Lane], *, rounds: int, warm_up: int = 1, console: Console | None = None) -> dict[str, list[float]]:
    """Time the lanes in turn.

    Args:
        lanes: who runs. Whoever goes first changes from round to round.
        rounds: timed turns of each.
        warm_up: turns before them that do not count.
        console: where progress goes.

    Returns:
        Seconds of each round by lane.
    """
    seconds: dict[str, list[float]] = {lane.name: [] for lane in lanes}
    for number in range(rounds + warm_up):
        for place in range(len(lanes)):
            lane = lanes[(place + number) % len(lanes)]
            go = lane.prepare()
            gc.collect()
            started = time.perf_counter()
            go()
            taken = time.perf_counter() - started
            del go
            if number >= warm_up:
                seconds[lane.name].append(taken)
            if console is not None:
                console.print(f"  round {number - warm_up + 1 or 'warm-up'} {lane.name}: {taken:.3g} s", style="dim", highlight=False)
    return seconds


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Return first quartile, median and third quartile; of one value, itself."""
    if len(values) < 2:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def measured(name: str, values: Sequence[float], unit: str) -> Measured:
    """Sum up the rounds of one lane."""
    low, middle, high = quartiles(values)
    return Measured(name, unit, middle, low, high, len(values))


def ratio(
    name: str,
    top: Sequence[float],
    bottom: Sequence[float],
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    less: bool = False,
) -> Ratio:
    """Compare round by round, which a machine whose speed drifts changes least.

    Args:
        name: what is compared.
        top: rounds of the numerator.
        bottom: rounds of the denominator.
        at_least: goal.
        at_most: goal, instead.
        less: whether a ratio below 1 is the better one for ours.

    Returns:
        The comparison.
    """
    low, middle, high = quartiles([a / b for a, b in zip(top, bottom, strict=True)])
    goal = f">= {at_least:g}" if at_least is not None else f"<= {at_most:g}" if at_most is not None else ""
    held = None if not goal else middle >= at_least if at_least is not None else middle <= at_most  # type: ignore[operator]
    return Ratio(name, middle, low, high, goal, held, middle <= 1 if less else middle >= 1)


def from_row(row: Row) -> tuple[list[Measured], Ratio]:
    """Return what another benchmark compared, in the form of a race."""
    both = [Measured(who, row.unit, value, value, value, 0) for who, value in (("ours", row.ours), ("alternative", row.theirs))]
    return both, Ratio(row.name, row.ratio, row.ratio, row.ratio, row.goal, row.held, row.held)


def versions() -> dict[str, str]:
    """Return the versions of the peers that are installed."""
    found = {}
    for name in ("tutelage", *PEERS):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def save(race: Race, options: Mapping[str, Any], folder: Path = RESULTS) -> Path:
    """Write a race's file.

    Args:
        race: what was measured.
        options: what it was run with, `threads` among it.
        folder: where files of races are.

    Returns:
        The file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    threads = options["threads"]
    path = folder / (f"{race.name}.json" if threads == 1 else f"{race.name}-{threads}-threads.json")
    content = asdict(race) | {"conditions": conditions(), "versions": versions(), "options": dict(options)}
    files.write_json(path, content)
    return path


def show(race: Race, console: Console) -> None:
    """Print a race's tables."""
    for section in race.sections:
        table = Table(title=f"{race.title}: {section.name}")
        for heading in ("lane", "median", "quartiles", "unit"):
            table.add_column(heading, justify="right" if heading in ("median", "quartiles") else "left")
        for lane in section.measured:
            spread = f"{lane.low:.4g} to {lane.high:.4g}" if lane.rounds > 1 else ""
            table.add_row(lane.name, f"{lane.median:.4g}", spread, lane.unit)
        console.print(table)
        for found in section.ratios:
            verdict = "" if found.held is None else f", goal {found.goal}: {'held' if found.held else 'NOT HELD'}"
            console.print(f"{found.name}: {found.value:.3f} ({found.low:.3f} to {found.high:.3f}){verdict}", highlight=False)
        for note in section.notes:
            console.print(note, style="dim", highlight=False)
