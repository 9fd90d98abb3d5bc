"""The page of a report: one HTML file with everything in it, which opens offline, in light, in dark and on paper."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING

from tutelage.errors import optional
from tutelage.files import write_bytes
from tutelage.report import figures
from tutelage.report.tables import bounds, cells, heading, number, verdict

if TYPE_CHECKING:
    from tutelage.report.parts import Curve
    from tutelage.report.report import Report

_TEMPLATE = "page.html.jinja"
_COSTS = {
    "size": "size", "size_bytes": "size (bytes)", "size_kb": "size (kB)", "parameters": "parameters",
    "latency": "latency", "latency_ms": "single-sample latency (ms)", "seconds": "seconds",
}  # fmt: skip


def write_page(report: Report, path: str | Path) -> Path:
    """Write the page of a report.

    Args:
        report: the report.
        path: the HTML file, or a folder that then gets `report.html`.

    Returns:
        The file's path.

    Raises:
        MissingExtra: if matplotlib or Jinja are not installed (extra `report`).
    """
    path = Path(path)
    if path.suffix.lower() not in (".html", ".htm"):
        path = path / "report.html"
    write_bytes(path, render(report).encode())
    return path


def render(report: Report) -> str:
    """Return the page of a report as HTML.

    Raises:
        MissingExtra: if matplotlib or Jinja are not installed (extra `report`).
    """
    jinja2 = optional("jinja2", "report")
    optional("matplotlib", "report")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    metrics, rows = cells(report)
    most = max((len(seeds) for row in report.values.values() for seeds in row.values()), default=0)
    page: str = environment.get_template(_TEMPLATE).render(
        report=report,
        headings=[heading(metric) for metric in metrics],
        rows=rows,
        seeds=most,
        claims=[
            {
                "text": claim.text,
                "value": number(claim.value, signed=True),
                "interval": bounds(claim.interval),
                "asked": f"≥ {number(claim.at_least)}",
                "verdict": verdict(claim),
                "held": claim.held,
            }
            for claim in report.claims
        ],
        held=sum(claim.held for claim in report.claims),
        curves=[_curve(curve, f"curve{place}") for place, curve in enumerate(report.curves)],
        calibration=[_calibration(report, arm, f"calibration{place}") for place, arm in enumerate(report.calibration)],
        costs=_costs(report),
        pictures=[{"title": p.title, "caption": p.caption, "base64": base64.b64encode(p.png).decode()} for p in report.pictures],
        config=[(key, _option(value)) for key, value in report.config.items()],
        wall_time=duration(report.wall_seconds),
    )
    return page


def _option(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def duration(seconds: float) -> str:
    """Return a time as hours, minutes and seconds, the largest two units that matter."""
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole % 3600 // 60, whole % 60
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def _curve(curve: Curve, identity: str) -> dict[str, str]:
    figure = figures.curves(curve.x, curve.y, x_label=curve.x_label, y_label=curve.y_label)
    ends = "; ".join(f"{arm}: {number(line[0])} to {number(line[-1])}" for arm, line in curve.y.items() if line)
    alt = f"Line chart of {curve.y_label or curve.title} by {curve.x_label}. {ends}."
    return {"title": curve.title, "svg": figures.svg(figure, identity), "alt": alt}


def pooled(tables: list[dict[str, list[float]]]) -> dict[str, list[float]]:
    """Return one calibration table from those of several seeds, each bin's means weighted by its counts.

    Args:
        tables: what `evaluate.reliability` returns, all with the same bins.
    """
    merged: dict[str, list[float]] = {
        "lower": tables[0]["lower"],
        "upper": tables[0]["upper"],
        "count": [],
        "confidence": [],
        "accuracy": [],
    }
    for place in range(len(merged["lower"])):
        counts = [table["count"][place] for table in tables]
        total = sum(counts)
        merged["count"].append(total)
        for key in ("confidence", "accuracy"):
            weighted = sum(count * table[key][place] for count, table in zip(counts, tables, strict=True) if count)
            merged[key].append(weighted / total if total else 0.0)
    return merged


def _calibration(report: Report, arm: str, identity: str) -> dict[str, str]:
    bins = pooled(list(report.calibration[arm].values()))
    total = sum(bins["count"]) or 1.0
    gap = sum(n * abs(c - a) for n, c, a in zip(bins["count"], bins["confidence"], bins["accuracy"], strict=True)) / total
    alt = f"Reliability diagram of {arm}: accuracy differs from confidence by {100 * gap:.1f} points on average, over {int(total)} answers."
    return {"title": arm, "svg": figures.svg(figures.reliability_diagram(bins, title=arm), identity), "alt": alt}


def _costs(report: Report) -> list[dict[str, str]]:
    """Draw accuracy against each cost that at least two arms report."""
    drawn: list[dict[str, str]] = []
    for metric, label in _COSTS.items():
        points: dict[str, list[tuple[float, float]]] = {}
        for arm, row in report.values.items():
            common: list[int] = [seed for seed in row.get(metric, {}) if seed in row.get("accuracy", {})]
            if common:
                points[arm] = [(row[metric][seed], row["accuracy"][seed]) for seed in common]
        if len(points) < 2:
            continue
        figure = figures.scatter(points, x_label=label)
        parts: list[str] = []
        for arm, pairs in points.items():
            n = len(pairs)
            parts.append(f"{arm}: {number(sum(p[1] for p in pairs) / n)}% at {number(sum(p[0] for p in pairs) / n)}")
        alt = f"Accuracy against {label}. " + "; ".join(parts) + "."
        drawn.append({"title": f"Accuracy against {label}", "svg": figures.svg(figure, f"cost{len(drawn)}"), "alt": alt})
    return drawn
