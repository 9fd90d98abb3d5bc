"""Time and memory against size of what promises to be linear: SIGReg, and the greedy k-centre rule over a mapped pool.

`python -m benchmarks.scaling` measures, draws `docs/pictures/scaling.svg` and writes `results/benchmarks/scaling.json`, from which
`python -m benchmarks.pages` writes `docs/scaling.md`. Every size runs in a fresh process of one thread. Memory is the highest resident set
beyond what was resident when the data stood in it (SIGReg) or before the first row was read (k-centre). Linux.
"""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks import core_set
from benchmarks.measure import conditions
from benchmarks.vocabulary import resident
from tutelage import files, losses
from tutelage.errors import optional
from tutelage.report.figures import PALETTE

ROOT = Path(__file__).parents[1]
OUT, PICTURE = ROOT / "results" / "benchmarks" / "scaling.json", ROOT / "docs" / "pictures" / "scaling.svg"
SAMPLES, WIDTH, DIRECTIONS = 16_384, 64, 256
SIGREG: dict[str, tuple[int, ...]] = {
    "samples": tuple(2**power for power in range(14, 21)),
    "dimensions": tuple(2**power for power in range(6, 12)),
    "directions": tuple(2**power for power in range(6, 12)),
}
"""What is varied, over which sizes; the others stay at `SAMPLES`, `WIDTH` and `DIRECTIONS`."""
POOL = (10_000, 30_000, 100_000, 300_000, 1_000_000)
REPEATS = 3


def slope(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Return the least-squares slope of the logarithms: 1 for what is linear, 0 for what does not grow."""
    x, y = ([math.log(value) for value in each] for each in (sizes, values))
    middle, height = statistics.fmean(x), statistics.fmean(y)
    return sum((a - middle) * (b - height) for a, b in zip(x, y, strict=True)) / sum((a - middle) ** 2 for a in x)


def forward_and_backward(samples: int, width: int, directions: int) -> dict[str, float]:
    """Measure SIGReg in this fresh process: median processor seconds of loss and gradient, and extra megabytes."""
    torch.set_num_threads(1)
    chosen = losses.random_directions(directions, width, seed=0)
    embeddings = torch.randn(samples, width, generator=torch.Generator().manual_seed(1)).requires_grad_()
    small = torch.randn(64, width, requires_grad=True)
    losses.sigreg(small, chosen).backward()
    # Linux then counts the highest resident set anew.
    Path("/proc/self/clear_refs").write_text("5")
    before = resident() / 1e6
    seconds = []
    for _ in range(REPEATS):
        embeddings.grad = None
        started = time.process_time()
        losses.sigreg(embeddings, chosen).backward()
        seconds.append(time.process_time() - started)
    return {"seconds": statistics.median(seconds), "extra_mb": core_set.peak() - before}


def sigreg(varied: str, sizes: Sequence[int]) -> dict[str, Any]:
    """Measure SIGReg over sizes of one of its three dimensions."""
    found = []
    for size in sizes:
        given = {"samples": SAMPLES, "dimensions": WIDTH, "directions": DIRECTIONS} | {varied: size}
        command = [sys.executable, "-m", "benchmarks.scaling", "--sigreg", *(str(value) for value in given.values())]
        answer = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout)
        found.append({"size": size} | answer)
        print(varied, found[-1], file=sys.stderr)
    return with_slopes(found, ("seconds", "extra_mb"))


def k_centre(sizes: tuple[int, ...] = POOL) -> dict[str, Any]:
    """Measure the choice of `core_set.PICKS` rows from mapped pools of several sizes."""
    found = [
        {
            "size": its["rows"],
            "first_s": its["first_s"],
            "per_pick_ms": its["per_pick_ms"],
            "extra_mb": its["peak_mb"] - its["peak_before_mb"],
            "peak_mb": its["peak_mb"],
        }
        for its in core_set.sweep(sizes)
    ]
    return with_slopes(found, ("first_s", "per_pick_ms", "extra_mb"))


def with_slopes(found: list[dict[str, float]], names: Sequence[str]) -> dict[str, Any]:
    sizes = [each["size"] for each in found]
    return {"sizes": found, "slopes": {name: slope(sizes, [each[name] for each in found]) for name in names}}


def draw(result: Mapping[str, Any]) -> Any:
    """Return the figure: time and memory of both, each on logarithmic axes beside a line of slope 1."""
    figure = optional("matplotlib.figure", "report").Figure(figsize=(9.6, 6.4), layout="constrained")
    panels = figure.subplots(2, 2)
    for (row, column), (title, unit, lines) in panels_of(result).items():
        axes = panels[row][column]
        for number, (name, sizes, values, fitted) in enumerate(lines):
            axes.plot(sizes, values, "osD"[number], linestyle="-", color=PALETTE[number], markersize=4, label=f"{name}: slope {fitted:.2f}")
        guide, first = lines[0][1], lines[0][2][-1] / lines[0][1][-1]
        axes.plot(guide, [first * size for size in guide], "--", color="#8a8f98", linewidth=1, label="slope 1")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_ylim(top=8 * max(max(values) for _, _, values, _ in lines))  # room for the legend
        axes.set_title(title, fontsize=11)
        axes.set_xlabel("rows of the pool" if row else "size", fontsize=9)
        axes.set_ylabel(unit, fontsize=9)
        axes.grid(True, alpha=0.25, linewidth=0.7)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8, loc="upper left")
    return figure


def panels_of(result: Mapping[str, Any]) -> dict[tuple[int, int], tuple[str, str, list[tuple[str, list[float], list[float], float]]]]:
    """Return title, unit and lines (name, sizes, values, slope) of each panel by its row and column."""

    def line(name: str, its: Mapping[str, Any], key: str) -> tuple[str, list[float], list[float], float]:
        return name, [each["size"] for each in its["sizes"]], [each[key] for each in its["sizes"]], its["slopes"][key]

    pool = result["k_centre"]
    milliseconds = line("one pick", pool, "per_pick_ms")
    pick = (milliseconds[0], milliseconds[1], [value / 1000 for value in milliseconds[2]], milliseconds[3])
    return {
        (0, 0): ("SIGReg, time", "processor seconds", [line(name, its, "seconds") for name, its in result["sigreg"].items()]),
        (0, 1): ("SIGReg, memory", "MB", [line(name, its, "extra_mb") for name, its in result["sigreg"].items()]),
        (1, 0): ("k-centre, time", "seconds", [line("first pass", pool, "first_s"), pick]),
        (1, 1): ("k-centre, memory", "MB", [line("extra", pool, "extra_mb")]),
    }


def main() -> None:
    if "--sigreg" in sys.argv:
        print(json.dumps(forward_and_backward(*(int(word) for word in sys.argv[-3:]))))
        return
    result = {
        "conditions": conditions() | {"threads": "1"},
        "fixed": {"samples": SAMPLES, "dimensions": WIDTH, "directions": DIRECTIONS},
        "pool": {"classes": core_set.CLASSES, "labelled": core_set.LABELLED, "picks": core_set.PICKS},
        "sigreg": {name: sigreg(name, sizes) for name, sizes in SIGREG.items()},
        "k_centre": k_centre(),
    }
    files.write_json(OUT, result)
    with (
        optional("matplotlib", "report").rc_context({"svg.hashsalt": "scaling", "svg.fonttype": "none"}),
        files.replacing(PICTURE) as temporary,
    ):
        draw(result).savefig(temporary, format="svg", facecolor="white", bbox_inches="tight", metadata={"Date": None})


if __name__ == "__main__":
    main()
