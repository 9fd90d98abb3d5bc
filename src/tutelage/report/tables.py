"""Tables of a report, and how its numbers are written."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.table import Table

    from tutelage.report.parts import Claim
    from tutelage.report.report import Report

_LOWER = {
    "ece", "nll", "brier", "latency", "size", "loss", "error", "errors", "mae",
    "mse", "rmse", "kl", "divergence", "entropy", "parameters", "bytes", "seconds", "ms",
    "time", "memory", "flops", "macs", "distance", "perplexity", "gap", "forgetting",
    "length", "cut", "unreadable", "tokens", "cost",
}  # fmt: skip


def lower_is_better(metric: str) -> bool:
    """Return whether a smaller number of this metric is better, by the words of its name, of a rate by those before "per".

    Args:
        metric: name such as `"accuracy"`, `"ece"` or `"latency_ms"`.
    """
    measured = re.split(r"[ _]per[ _]", metric.lower())[0]
    return not _LOWER.isdisjoint(re.split(r"[^a-z0-9]+", measured))


def number(value: float, *, like: float | None = None, signed: bool = False) -> str:
    """Return a number as a reader wants it: few digits, as many decimals as its size asks for.

    Args:
        value: the number.
        like: another number whose decimals are used, so that a mean and its spread align.
        signed: whether to write the plus sign.
    """
    if not math.isfinite(value):
        return "not finite"
    if value == 0:
        return "0"
    size = abs(value if like is None else like)
    if 0 < size < 1e-3:
        return f"{value:{'+' if signed else ''}.2e}"
    decimals = 0 if size >= 1000 else 2 if size >= 1 else 4
    return f"{value:{'+' if signed else ''},.{decimals}f}"


def cells(report: Report) -> tuple[list[str], list[tuple[str, list[tuple[str, bool]]]]]:
    """Return the table of arms and metrics as text.

    Returns:
        The metrics, and for each arm its name and per metric the text (`mean ± spread`) and whether it is the best.
    """
    metrics = list(dict.fromkeys(metric for row in report.values.values() for metric in row))
    means = {m: {arm: report.mean(arm, m) for arm, row in report.values.items() if m in row} for m in metrics}
    best = {}
    for metric, by_arm in means.items():
        finite = [v for v in by_arm.values() if math.isfinite(v)]
        if len(finite) > 1 and min(finite) < max(finite):
            best[metric] = min(finite) if lower_is_better(metric) else max(finite)
    rows = []
    for arm, row in report.values.items():
        line = []
        for metric in metrics:
            if metric not in row:
                line.append(("", False))
                continue
            centre = means[metric][arm]
            text = number(centre)
            spread = report.spread(arm, metric)
            if spread > 0:
                text += f" ± {number(spread, like=centre)}"
            line.append((text, centre == best.get(metric)))
        rows.append((arm, line))
    return metrics, rows


def bounds(interval: tuple[float, float] | None) -> str:
    """Return a confidence interval as text, or that there is but one value (one seed, or the worst of all)."""
    if interval is None:
        return "one value"
    return f"[{number(interval[0], signed=True)}, {number(interval[1], signed=True)}]"


def verdict(claim: Claim) -> str:
    """Return `held` or `not held`."""
    return "held" if claim.held else "not held"


def heading(metric: str) -> str:
    """Return a metric's name for a column: words, and an arrow towards the better end."""
    units = {"accuracy": "accuracy %", "agreement": "agreement %"}
    return f"{units.get(metric, metric.replace('_', ' '))} {'↓' if lower_is_better(metric) else '↑'}"


class ArmsTable:
    """The table of arms and metrics for a terminal; where that is too narrow, several tables below each other.

    Args:
        report: the report.
    """

    def __init__(self, report: Report) -> None:
        self.title = report.title
        self.metrics, self.rows = cells(report)
        most = max((len(seeds) for row in report.values.values() for seeds in row.values()), default=0)
        self.caption = f"mean ± standard deviation over {most} seeds; best in bold" if most > 1 else "one seed; best in bold"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield as many tables as the width asks for."""
        groups = self._groups(options.max_width)
        for place, group in enumerate(groups):
            yield self._table(group, first=place == 0, last=place == len(groups) - 1)

    def _groups(self, width: int) -> list[list[int]]:
        names = max((len(arm) for arm, _ in self.rows), default=3) + 4
        groups: list[list[int]] = [[]]
        used = names
        for place, metric in enumerate(self.metrics):
            needs = max(len(heading(metric)), *(len(line[place][0]) for _, line in self.rows)) + 3
            if groups[-1] and used + needs > width:
                groups.append([])
                used = names
            groups[-1].append(place)
            used += needs
        return groups

    def _table(self, places: list[int], *, first: bool, last: bool) -> Table:
        from rich.markup import escape
        from rich.table import Table

        table = Table(title=escape(self.title) if first else None, caption=self.caption if last else None)
        table.add_column("arm", no_wrap=True)
        for place in places:
            table.add_column(heading(self.metrics[place]), justify="right", no_wrap=True)
        for arm, line in self.rows:
            shown = [line[place] for place in places]
            if any(text for text, _ in shown):
                table.add_row(escape(arm), *(f"[bold]{text}[/bold]" if best else text for text, best in shown))
        return table


def rich_claims(report: Report) -> Table:
    """Return the table of claims for a terminal."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(title="Claims", caption="improvements are positive; 95% intervals, paired over seeds")
    table.add_column("claim")
    for name in ("measured", "95% interval", "asked for"):
        table.add_column(name, justify="right")
    table.add_column("verdict")
    for claim in report.claims:
        colour = "green" if claim.held else "red"
        asked = f"≥ {number(claim.at_least)}"
        measured = (number(claim.value, signed=True), escape(bounds(claim.interval)), asked)
        table.add_row(escape(claim.text), *measured, f"[{colour}]{verdict(claim)}[/{colour}]")
    return table
