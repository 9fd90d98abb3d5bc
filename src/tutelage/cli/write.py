"""Puts the results of finished runs into a checkout: `results/`, the README's table, the docs' pages."""

from __future__ import annotations

from pathlib import Path

from tutelage import catalog, files
from tutelage.errors import OptionError
from tutelage.report import Report, markdown_page, markdown_table, read_results, write_between_markers, write_result


def add_result(checkout: Path, run: Path) -> None:
    """Copy a finished run's numbers to `results/METHOD.json`.

    Args:
        checkout: root of the checkout.
        run: directory of the run.

    Raises:
        OptionError: if it was a quick run, or one of no published method.
    """
    report = Report.load(run)
    if report.name not in catalog.slugs():
        raise OptionError(f"{run} is a run of '{report.name}', which is not a method: only runs of 'tutelage run METHOD' are results.")
    if report.config.get("quick"):
        raise OptionError(f"{run} is a quick run: results are those of the full size, 'tutelage run {report.name}'.")
    write_result(report.results(), checkout / "results")


def write_pages(checkout: Path) -> None:
    """Write the README's table of methods and one docs page per method.

    Args:
        checkout: root of the checkout.
    """
    results = read_results(checkout / "results")
    entries = catalog.entries()
    table = markdown_table(results, families={e.slug: e.family for e in entries})
    write_between_markers(checkout / "README.md", table)
    folder = checkout / "docs" / "methods"
    for entry in entries:
        lines = [f"# {entry.slug}", "", entry.summary, ""]
        lines += [f"**{name}:** {entry.section(name)}\n" for name in ("Reference", "Tags") if entry.section(name)]
        lines += [
            "Run it:",
            "",
            "```console",
            f"$ tutelage run {entry.slug}          # full size",
            f"$ tutelage run {entry.slug} --quick  # under a minute",
        ]
        lines += ["```", "", "## Options", "", "| option | type | default | meaning |", "|---|---|---|---|"]
        lines += [
            f"| `--{o.name.replace('_', '-')}` | `{_cell(o.type)}` | `{_cell(o.default)}` | {_cell(o.help)} |"
            for o in catalog.options(entry)
        ]
        lines += ["", "## Results", ""]
        lines += [markdown_page(results[entry.slug]) if entry.slug in results else "No full-size run is recorded yet."]
        lines += ["", "## Reference", "", f"::: {entry.module}.{entry.class_name}", ""]
        files.write_bytes(folder / f"{entry.slug}.md", "\n".join(lines).encode())
    index = ["# Methods", "", table.replace("`", ""), ""]
    for entry in entries:
        index[2] = index[2].replace(f"| {entry.slug} |", f"| [{entry.slug}]({entry.slug}.md) |")
    files.write_bytes(folder / "index.md", "\n".join(index).encode())


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
