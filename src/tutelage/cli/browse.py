"""`tutelage list`, `show` and `results`: what there is, read without importing torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tutelage import catalog
from tutelage.cli.words import parse
from tutelage.errors import OptionError
from tutelage.report import results as files


@dataclass(frozen=True)
class ListArguments:
    """Search the methods by anything in their page."""

    text: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Words that the page must hold, in any order."""
    family: str | None = None
    """Only methods of this family."""
    json: bool = False
    """Print JSON."""


def list_(words: Sequence[str]) -> int:
    """Run `tutelage list`."""
    arguments = parse("tutelage list", ListArguments, words)
    found = catalog.search(" ".join(arguments.text), arguments.family)
    results = files.read_results(catalog.results_folder())
    if arguments.json:
        rows = [
            {
                "name": e.slug,
                "family": e.family,
                "title": e.title,
                "reference": e.section("Reference"),
                "tags": [t.strip() for t in e.section("Tags").split(",")],
                "results": e.slug in results,
            }
            for e in found
        ]
        print(json.dumps(rows, indent=1, ensure_ascii=False))
        return 0
    if not found:
        raise OptionError(f"No method's page holds '{' '.join(arguments.text)}'. 'tutelage list' shows all.")
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("method", "family", "what it does", "claims held"):
        table.add_column(heading)
    for entry in found:
        table.add_row(entry.slug, entry.family, escape(entry.title.partition(": ")[2] or entry.title), _held(results.get(entry.slug)))
    Console().print(table)
    return 0


def _held(result: dict[str, object] | None) -> str:
    if result is None:
        return "not run"
    claims = result["claims"]
    assert isinstance(claims, list)
    return f"{sum(bool(c['held']) for c in claims)} of {len(claims)}"


@dataclass(frozen=True)
class ShowArguments:
    """Show one method."""

    method: Annotated[str, tyro.conf.Positional]
    """Its name, as 'tutelage list' shows it."""


def show_(words: Sequence[str]) -> int:
    """Run `tutelage show METHOD`."""
    entry = catalog.find(parse("tutelage show", ShowArguments, words).method)
    console = Console(highlight=False)
    console.print(f"[bold]{entry.slug}[/]  ({entry.family})\n")
    console.print(escape(entry.summary) + "\n")
    for name in ("Reference", "Tags"):
        if entry.section(name):
            console.print(f"[bold]{name}:[/] {escape(entry.section(name))}")
    console.print(f"[bold]Python:[/] {entry.module}.{entry.class_name}\n")
    console.print(escape(entry.detail) + "\n")
    options = catalog.options(entry)
    if options:
        table = Table(title="options", title_justify="left", box=None, header_style="bold", pad_edge=False)
        for heading in ("option", "type", "default", "meaning"):
            table.add_column(heading)
        for option in options:
            table.add_row("--" + option.name.replace("_", "-"), escape(option.type), escape(option.default), escape(option.help))
        console.print(table)
    result = files.read_results(catalog.results_folder()).get(entry.slug)
    console.print()
    if result is None:
        console.print("No full-size run of this method is recorded.")
    else:
        report = files.as_report(result)
        console.print(report.table())
        console.print(report.claims_table())
    console.print(f"\nRun it: tutelage run {entry.slug} --quick")
    return 0


@dataclass(frozen=True)
class ResultsArguments:
    """Show the results of full-size runs; with --write put them into the README and the docs, or take a finished run in."""

    write: bool = False
    """Write the README's table and the docs pages of the checkout in the current folder."""
    add: Path | None = None
    """Copy the report of this finished run to results/METHOD.json first."""
    folder: Path = Path(".")
    """The checkout."""


def results_(words: Sequence[str]) -> int:
    """Run `tutelage results`."""
    arguments = parse("tutelage results", ResultsArguments, words)
    if arguments.add is not None or arguments.write:
        from tutelage.cli.write import add_result, write_pages

        if not (arguments.folder / "results").is_dir():
            raise OptionError(f"'{arguments.folder}' has no folder results/: give the checkout with --folder.")
        if arguments.add is not None:
            add_result(arguments.folder, arguments.add)
        if arguments.write:
            write_pages(arguments.folder)
        return 0
    folder = arguments.folder / "results" if (arguments.folder / "results").is_dir() else catalog.results_folder()
    print(files.markdown_table(files.read_results(folder)))
    return 0
