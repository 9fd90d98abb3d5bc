"""Writes the documentation's pages of measurements from `results/benchmarks/`: `python -m benchmarks.pages`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
CHOSEN = "safetensors"


def row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def three(value: float) -> str:
    """Return a number with three digits that count, large ones with separators."""
    return f"{float(f'{value:.3g}'):,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def factor(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def ratios(found: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Return a table in which the chosen format is 1."""
    chosen = found[CHOSEN]
    lines = [row("format", "random reads", "p95 of a batch", "writing", "size", "memory of its own"), row("---", *["---:"] * 5)]
    for name, its in sorted(found.items(), key=lambda item: -item[1]["read_rows_per_s"]):
        cells = [
            factor(its["read_rows_per_s"] / chosen["read_rows_per_s"]),
            factor(its["batch_ms_p95"] / chosen["batch_ms_p95"]),
            factor(its["write_rows_per_s"] / chosen["write_rows_per_s"]),
            f"{its['bytes_per_row'] / chosen['bytes_per_row']:.3f}",
            f"{its['own_mb']:+.0f} MB",
        ]
        lines.append(row(f"**{name}**" if name == CHOSEN else name, *cells))
    return lines


def numbers(found: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Return a table of what was measured."""
    heads = ("rows/s read", "batch, median ms", "batch, p95 ms", "rows/s written", "bytes/row", "files", "open, ms", "own MB", "mapped MB")
    lines = [row("format", *heads), row("---", *["---:"] * len(heads))]
    for name, its in sorted(found.items(), key=lambda item: -item[1]["read_rows_per_s"]):
        cells = [three(its[key]) for key in ("read_rows_per_s", "batch_ms_median", "batch_ms_p95", "write_rows_per_s")]
        cells += [f"{its['bytes_per_row']:.1f}", f"{its['files']:,}", three(1000 * its["open_s"])]
        cells += [f"{its['own_mb']:.0f}", f"{its['mapped_mb']:.0f}"]
        lines.append(row(name, *cells))
    return lines


def reason(contents: Mapping[str, Mapping[str, Mapping[str, float]]]) -> list[str]:
    """Return why the chosen format was chosen, in the numbers that were measured."""

    def against(name: str) -> str:
        values = [found[CHOSEN]["read_rows_per_s"] / found[name]["read_rows_per_s"] for found in contents.values()]
        return " and ".join(factor(value) for value in values)

    return [
        f"A store is kept in **{CHOSEN}** shards, memory-mapped. Why, with two numbers each: for {' and for '.join(contents)} classes.",
        "",
        f"- **Random batches.** They come {against('Arrow, datasets')} times as fast as through `datasets`, "
        f"{against('Arrow IPC, take')} times Arrow's own `take`, {against('HDF5')} times HDF5, {against('Lance')} times Lance, "
        f"{against('Parquet')} times Parquet and {against('Zarr 3')} times Zarr. What counts is that rows of fixed width lie one after the "
        f"other in a mapped file: `.npy` shards ({against('NumPy .npy')} times) and an Arrow file read as plain memory "
        f"({against('Arrow IPC, views')} times) do the same, and what they differ by is chance.",
        "- **Among those three.** safetensors is a need of the package already, where Arrow is a large library; and it has every type of "
        "torch, bf16 too, and all outputs of a shard in one file, where `.npy` has neither.",
        "- **Safety.** It runs no code when it is read, and has no encoding to undo. A shard is one file that is written whole, renamed, "
        "and known by one checksum, so that labelling goes on where it was stopped.",
        "- **Memory** of the process does not grow with the store: mapped pages belong to the system's cache, which takes them back.",
        "",
        "What is given up: random batches straight from object storage, for which Lance, Zarr and Parquet were made. A store is read at "
        "random in every epoch, so copy it to a local disk first; its shards are plain objects of a few megabytes.",
    ]


def formats_page(result: Mapping[str, Any]) -> str:
    """Return the page of the formats.

    Args:
        result: what `benchmarks.formats` wrote.

    Returns:
        Markdown.
    """
    contents = result["contents"]
    lines = [
        "# Formats of the label store",
        "",
        *reason(contents),
        "",
        "## Ratios",
        "",
        f"{CHOSEN} is 1; more is better for reads and writing, ",
    ]
    lines[-1] += "less for the others. Memory is what the process itself took while it read, without mapped pages."
    for content, found in contents.items():
        lines += ["", f"### {content[0].upper()}{content[1:]} classes", "", *ratios(found)]
    lines += ["", "## Numbers", ""]
    lines += [
        f"{result['rows']:,} rows, random batches of {result['batch']}, shards of {result['shard_rows']:,}; {result['platform']}; files in "
        "the page cache; every format in a process of its own, reading the same rows in turns. Opening includes the first batch.",
    ]
    for content, found in contents.items():
        lines += ["", f"### {content[0].upper()}{content[1:]} classes, measured", "", *numbers(found)]
    lines += ["", "Dense: 10 logits in fp16. Top-32: log-probabilities in fp16, classes in uint16, log of the rest in fp32.", ""]
    lines += ["## How each was used, and object storage", "", row("format", "here", "from object storage"), row("---", "---", "---")]
    for name, about in result["formats"].items():
        links = " ".join(f"[[{number}]]({page})" for number, page in enumerate(about["pages"], 1))
        lines.append(row(name, about["layout"], f"{about['remote']} {links}"))
    used = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    lines += ["", f"{used}. Measure again with `make formats`; this page was written by `python -m benchmarks.pages`.", ""]
    return "\n".join(lines)


def scaling_page(result: Mapping[str, Any]) -> str:
    """Return the page of time and memory against size.

    Args:
        result: what `benchmarks.scaling` wrote.

    Returns:
        Markdown.
    """
    fixed, pool, where = result["fixed"], result["pool"], result["conditions"]
    largest = result["k_centre"]["sizes"][-1]
    seconds = largest["first_s"] + pool["picks"] * largest["per_pick_ms"] / 1000
    goal = "within" if largest["peak_mb"] <= 2000 else "**not** within"
    lines = [
        "# Time and memory against size",
        "",
        "Two parts promise to be linear in the number of samples: the SIGReg loss (`losses.sigreg`), and the choice of a core set by the "
        "greedy k-centre rule (`selection.greedy_k_centre`). A slope is that of a least-squares line through the logarithms: 1 is linear, "
        "0 does not grow, 2 would be quadratic; it is below 1 where a fixed part weighs at the small sizes.",
        "",
        "![Time and memory of SIGReg and of the k-centre rule against size, on logarithmic axes](pictures/scaling.svg)",
        "",
        "## SIGReg",
        "",
        f"Loss and gradient at {fixed['samples']:,} samples of {fixed['dimensions']} dimensions and {fixed['directions']} directions, of "
        "which one is varied. Memory is what comes beyond the embeddings: their gradient, and a tile of projections.",
    ]
    for name, its in result["sigreg"].items():
        lines += ["", row(name, "processor seconds", "extra memory, MB"), row(*["---:"] * 3)]
        lines += [row(f"{each['size']:,}", three(each["seconds"]), three(each["extra_mb"])) for each in its["sizes"]]
        lines.append(row("**slope**", *(f"**{its['slopes'][key]:.2f}**" for key in ("seconds", "extra_mb"))))
    lines += [
        "",
        "## k-centre",
        "",
        f"{pool['picks']} rows chosen from a pool of rows of {pool['classes']:,} probabilities in a memory-mapped file, {pool['labelled']} "
        "rows being covered already. The first pass compares the whole pool with those; a pick then looks at the rows whose bound is "
        "highest, so that it hardly depends on the pool. Memory is what comes beyond the started process, and that of the whole process.",
        "",
        row("rows", "first pass, s", "one pick, ms", "extra memory, MB", "whole process, MB"),
        row(*["---:"] * 5),
    ]
    keys = ("first_s", "per_pick_ms", "extra_mb", "peak_mb")
    lines += [row(f"{its['size']:,}", *(three(its[key]) for key in keys)) for its in result["k_centre"]["sizes"]]
    slopes = result["k_centre"]["slopes"]
    lines.append(row("**slope**", *(f"**{slopes[key]:.2f}**" for key in keys[:3]), ""))
    lines += [
        "",
        f"{largest['size']:,} rows of {pool['classes']:,} classes: {seconds:.0f} s for {pool['picks']} rows, and "
        f"{largest['peak_mb']:,.0f} MB at the highest, mapped pages included: {goal} 2 GB.",
        "",
        f"{where['date']}: {where['processor']}, 1 thread, Python {where['python']}, torch {where['torch']}. Measure again with "
        "`python -m benchmarks.scaling`; this page was written by `python -m benchmarks.pages`.",
        "",
    ]
    return "\n".join(lines)


PAGES: dict[str, tuple[str, Callable[[Mapping[str, Any]], str]]] = {
    "formats": ("store-formats.md", formats_page),
    "scaling": ("scaling.md", scaling_page),
}


def main() -> None:
    for name, (page, written) in PAGES.items():
        source = ROOT / "results" / "benchmarks" / f"{name}.json"
        if not source.is_file():
            sys.exit(f"{source} does not exist: measure first with 'python -m benchmarks.{name}'.")
        (ROOT / "docs" / page).write_text(written(json.loads(source.read_text())))
        print(f"docs/{page}")


if __name__ == "__main__":
    main()
