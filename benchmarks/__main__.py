"""Runs the benchmarks that are named, or all, and prints one ratio a line; with --write their table goes into the README."""

from __future__ import annotations

import importlib
import sys
from dataclasses import asdict
from pathlib import Path

from benchmarks.measure import Row, conditions, show
from tutelage import files
from tutelage.report import write_between_markers

NAMES = ("step", "ema", "pipeline", "startup", "store", "engines", "vocabulary", "mil", "core_set", "augmentation", "curriculum", "cascade")
ROOT = Path(__file__).parents[1]


def write(rows: list[Row]) -> None:
    measured = conditions()
    files.write_json(ROOT / "results" / "benchmarks" / "speed.json", {"conditions": measured, "rows": [asdict(row) for row in rows]})
    lines = ["| comparison | ours | alternative | ratio | goal | held |", "| --- | ---: | ---: | ---: | --- | --- |"]
    for row in rows:
        held = "yes" if row.held else "**no**"
        lines.append(f"| {row.name} | {row.ours:.4g} {row.unit} | {row.theirs:.4g} {row.unit} | {row.ratio:.3f} | {row.goal} | {held} |")
    lines += ["", f"Written by `python -m benchmarks --write`; {', '.join(f'{name} {value}' for name, value in measured.items())}."]
    write_between_markers(ROOT / "README.md", "\n".join(lines), name="speed")


def main() -> None:
    words = sys.argv[1:]
    names = [word for word in words if word != "--write"] or NAMES
    for name in names:
        if name not in NAMES:
            sys.exit(f"No benchmark is called '{name}'. Known: {', '.join(NAMES)}.")
    rows = [row for name in names for row in importlib.import_module(f"benchmarks.{name}").rows()]
    show(rows)
    if "--write" in words:
        write(rows)


main()
