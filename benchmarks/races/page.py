"""Writes `docs/races.md` from the files of the races that were run: no number on it is typed by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.races.harness import RESULTS, ROOT
from tutelage import files

ORDER = ("distillation", "vocabulary", "on_policy", "training", "self_supervised", "store")
PAGE = ROOT / "docs" / "races.md"
INTRODUCTION = (
    "Tutelage beside the libraries that do the same work, on the same models, starting weights, data, batch order, steps and threads. "
    "All lanes of a race run in one process tree and take turns, so that a machine whose speed drifts favours none. Where lanes train, "
    "it is checked first that they do the same work: that their students end with the same weights.",
    "A ratio is the median of the ratios of the rounds, with their quartiles. What is **worse** than a peer, or does **not** hold its "
    "goal, stays on the page.",
    "Run them again: `make race`, or `python -m benchmarks.races NAME --rounds N` in the environment that `tools/setup-peers.sh` "
    "makes. This page is written by `python -m benchmarks.races --write`.",
)


def row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def table(heading: Sequence[str], right: Sequence[bool], rows: Sequence[Sequence[str]]) -> list[str]:
    return [row(heading), row(["---:" if place else "---" for place in right]), *(row(cells) for cells in rows)]


def number(value: float) -> str:
    """Return three digits that count, with commas."""
    if value == 0 or not abs(value) < float("inf"):
        return f"{value:g}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def spread(found: Mapping[str, Any]) -> str:
    """Return the quartiles; nothing where there was one measurement."""
    return "" if found["low"] == found["high"] else f"{number(found['low'])} to {number(found['high'])}"


def verdict(found: Mapping[str, Any]) -> str:
    """Return what a ratio says of ours."""
    if found["held"] is not None:
        return "held" if found["held"] else "**not held**"
    return "" if found["ours_wins"] else "**worse than the other**"


def ratio_table(ratios: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the comparisons of a section."""
    cells = [[r["name"], number(r["value"]), spread(r), r["goal"], verdict(r)] for r in ratios]
    return table(("comparison", "ratio", "quartiles", "goal", ""), (False, True, True, False, False), cells)


def section_lines(section: Mapping[str, Any]) -> list[str]:
    """Return one task of a race."""
    lines = [f"### {section['name']}", "", section["about"], ""]
    if section["ratios"]:
        lines += [*ratio_table(section["ratios"]), ""]
    cells = [[m["name"], number(m["median"]), spread(m), m["unit"]] for m in section["measured"]]
    lines += table(("lane", "median", "quartiles", "unit"), (False, True, True, False), cells)
    for note in section["notes"]:
        lines += ["", note]
    return [*lines, ""]


def conditions(race: Mapping[str, Any]) -> str:
    """Return when, where and with what a race was run."""
    where, options = race["conditions"], race["options"]
    said = [f"{where['date']}: {where['processor']}, {where['cores']} cores, {options['threads']} thread(s), {options['rounds']} rounds"]
    said.append(f"Python {where['python']}, torch {where['torch']}")
    said += [f"{name} {version}" for name, version in race["versions"].items()]
    return ", ".join(said) + "."


def title(race: Mapping[str, Any]) -> str:
    """Return a race's heading, with its threads where they are several."""
    threads = race["options"]["threads"]
    return f"{race['title']}{f', {threads} threads' if threads > 1 else ''}"


def goals(races: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the comparisons that have a goal, of all races."""
    cells = [
        [title(race), section["name"], r["name"], number(r["value"]), r["goal"], verdict(r)]
        for race in races
        for section in race["sections"]
        for r in section["ratios"]
        if r["goal"]
    ]
    if not cells:
        return []
    heading = ("race", "task", "comparison", "ratio", "goal", "")
    return ["## Goals", "", *table(heading, (False, False, False, True, False, False), cells), ""]


def text(races: Sequence[Mapping[str, Any]]) -> str:
    """Return the page.

    Args:
        races: what the files of races hold, in the page's order.

    Returns:
        Markdown.
    """
    lines = ["# Races", ""]
    for paragraph in INTRODUCTION:
        lines += [paragraph, ""]
    if not races:
        lines += ["No race has been run yet.", ""]
    lines += goals(races)
    for race in races:
        lines += [f"## {title(race)}", ""]
        for section in race["sections"]:
            lines += section_lines(section)
        if race["left_out"]:
            lines += ["Left out:", "", *(f"- {who}" for who in race["left_out"]), ""]
        lines += [conditions(race), ""]
    return "\n".join(lines)


def read(folder: Path = RESULTS) -> list[dict[str, Any]]:
    """Return the races that were run, in the page's order."""
    paths = [path for name in ORDER for path in (folder / f"{name}.json", *sorted(folder.glob(f"{name}-*-threads.json")))]
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.is_file()]


def write(folder: Path = RESULTS, page: Path = PAGE) -> Path:
    """Write the page and return where it is."""
    files.write_bytes(page, text(read(folder)).encode())
    return page
