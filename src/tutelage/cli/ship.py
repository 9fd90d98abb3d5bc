"""`tutelage export` and `tutelage report`: what a finished run gives away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console

from tutelage.cli.words import parse
from tutelage.errors import OptionError


@dataclass(frozen=True)
class ExportArguments:
    """Write the student of a run as a file to ship."""

    run: Annotated[Path, tyro.conf.Positional]
    """Directory of a run of 'tutelage distill'."""
    format: Literal["onnx", "int8"] = "onnx"
    """onnx (float32) or int8 (quantised ONNX)."""
    out: Path | None = None
    """File to write; RUN/student.onnx or RUN/student-int8.onnx by default."""
    data: str | None = None
    """Data to check and calibrate with; those of the run by default."""


def export_(words: Sequence[str]) -> int:
    """Run `tutelage export RUN`."""
    arguments = parse("tutelage export", ExportArguments, words)

    import json

    from tutelage import data, deploy
    from tutelage.recipes import trained

    about = trained.read(arguments.run, "student")
    spec = arguments.data or json.loads((arguments.run / "run.json").read_text())["data"]
    if spec is None:
        raise OptionError("This run's data were given in Python: name data to check the export with by --data.")
    ready = data.load(spec)
    student = trained.load(arguments.run, "student", ready)
    default = arguments.run / ("student.onnx" if arguments.format == "onnx" else "student-int8.onnx")
    rows = deploy.ship(student, {arguments.format: arguments.out or default}, test=ready.test, calibration=ready.train)
    console = Console()
    console.print(deploy.shipped_table(rows))
    console.print(f"Wrote {arguments.out or default} from the {about['model']} of {arguments.run}", highlight=False)
    return 0


@dataclass(frozen=True)
class ReportArguments:
    """Write the HTML page of a run again and print its tables."""

    run: Annotated[Path, tyro.conf.Positional]
    """Directory of a finished run."""
    pictures: Path | None = None
    """Also write the page's curves into this folder, as SVG files."""


def report_(words: Sequence[str]) -> int:
    """Run `tutelage report RUN`."""
    arguments = parse("tutelage report", ReportArguments, words)

    from tutelage.cli.run import show_report
    from tutelage.report import Report

    report = Report.load(arguments.run)
    show_report(report, arguments.run)
    if arguments.pictures is not None:
        from tutelage.report.figures import save_curves

        for path in save_curves(report, arguments.pictures):
            print(f"Picture: {path}")
    return 0
