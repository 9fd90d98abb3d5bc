"""Slopes of what should be linear, and the page that is written from what was measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks import pages, scaling

ROOT = Path(__file__).parents[2]
SIZES = [10.0, 30.0, 100.0, 1000.0]


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0])
def test_a_slope_is_the_exponent_of_a_power_law(power):
    assert scaling.slope(SIZES, [3.0 * size**power for size in SIZES]) == pytest.approx(power)


def test_a_slope_is_that_of_least_squares():
    numpy = pytest.importorskip("numpy")
    values = [1.0, 5.0, 4.0, 80.0]
    assert scaling.slope(SIZES, values) == pytest.approx(numpy.polyfit(numpy.log(SIZES), numpy.log(values), 1)[0])


@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc")
def test_sigreg_is_measured_in_a_process_of_its_own():
    command = [sys.executable, "-m", "benchmarks.scaling", "--sigreg", "65536", "64", "8"]
    found = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)
    assert found["seconds"] > 0
    assert 16 < found["extra_mb"] < 40  # the gradient, 16.8 MB, and little else: all projections at once would be 17 times 2.1 MB more


def kept() -> dict:
    return json.loads(scaling.OUT.read_text())


def test_the_page_in_the_documentation_is_what_the_program_writes():
    assert (ROOT / "docs" / "scaling.md").read_text() == pages.scaling_page(kept())
    assert (ROOT / "docs" / "pictures" / "scaling.svg").is_file()


def test_what_was_measured_is_linear_and_keeps_within_its_memory():
    result = kept()
    grown = {name: its["slopes"] for name, its in result["sigreg"].items()}
    assert max(slope for slopes in grown.values() for slope in slopes.values()) < 1.15
    assert grown["directions"]["extra_mb"] < 0.1
    assert max(result["k_centre"]["slopes"].values()) < 1.15
    largest = result["k_centre"]["sizes"][-1]
    assert (largest["size"], result["pool"]["classes"]) == (1_000_000, 1000)
    assert largest["peak_mb"] < 2000


def test_the_figure_states_every_slope():
    pytest.importorskip("matplotlib")
    figure = scaling.draw(kept())
    said = [text.get_text() for axes in figure.axes for text in axes.get_legend().get_texts()]
    assert sum("slope" in text and text != "slope 1" for text in said) == 9
