"""Shipping in one call: export, check, quantise, measure, and say what each form costs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from tutelage.deploy.export import export_onnx, largest_difference
from tutelage.deploy.measure import latency, size_bytes
from tutelage.deploy.quantise import quantise
from tutelage.deploy.runtime import OnnxModel
from tutelage.errors import OptionError, nearest
from tutelage.evaluate import classification, predictions

if TYPE_CHECKING:
    from rich.table import Table

    from tutelage.data import Arrays

FORMATS = ("onnx", "int8")


@dataclass(frozen=True)
class Shipped:
    """What one form of a model costs and still knows.

    Args:
        format: `"pytorch"`, `"onnx"` or `"int8"`.
        path: its file, or `None` where none was asked for.
        size_bytes: bytes of the file, or of the module's tensors.
        latency_ms: median time for one sample on one thread, in milliseconds.
        accuracy: on test data, in percent.
        max_difference: largest absolute difference of a logit from PyTorch on test data.
    """

    format: str
    path: Path | None
    size_bytes: int
    latency_ms: float
    accuracy: float
    max_difference: float


def ship(
    model: nn.Module,
    outputs: Mapping[str, str | Path],
    *,
    test: Arrays,
    calibration: Arrays,
    calibration_samples: int = 256,
    bound: float = 1e-4,
    repeats: int = 200,
) -> list[Shipped]:
    """Write a student in the forms asked for and measure each against the one in PyTorch.

    Args:
        model: takes `batch["input"]` and returns logits `[N, C]`. It is not changed.
        outputs: the file to write for each format, of `onnx` and `int8`.
        test: samples on which accuracy and differences are measured.
        calibration: samples on which the ranges for int8 are measured: training data, never test data.
        calibration_samples: how many of them, evenly spaced.
        bound: largest difference from PyTorch that the ONNX file may have (see `export_onnx`).
        repeats: timed answers for the latency.

    Returns:
        One row for PyTorch, one for ONNX, and one for int8 if asked for.

    Raises:
        OptionError: if a format is unknown or none is given.
        ExportError: if the model does not export or the file answers otherwise than PyTorch.
    """
    for name in outputs:
        if name not in FORMATS:
            raise OptionError(f"Unknown export format '{name}'." + nearest(name, FORMATS))
    if not outputs:
        raise OptionError(f"ship: no format was asked for; give a file for one or more of {', '.join(FORMATS)}.")
    ranged = _inputs(calibration, calibration_samples)
    timed = _inputs(test, 64)
    with tempfile.TemporaryDirectory() as folder:
        onnx = Path(outputs.get("onnx", Path(folder) / "model.onnx"))
        input_range = (0.0, 1.0) if getattr(ranged, "ndim", 0) == 4 else None
        export_onnx(model, ranged, onnx, classes=test.classes, input_range=input_range, bound=bound)
        expected, labels = predictions(model, test)
        rows = [Shipped("pytorch", None, size_bytes(model), latency(model, timed, repeats=repeats), _accuracy(expected, labels), 0.0)]
        files = {"onnx": onnx}
        if "int8" in outputs:
            files["int8"] = quantise(onnx, ranged, outputs["int8"])
        for name, file in files.items():
            answers, _ = predictions(OnnxModel(file).predict, test)
            kept = file if name in outputs else None
            difference = largest_difference(answers, expected)
            rows.append(
                Shipped(name, kept, size_bytes(file), latency(file, timed, repeats=repeats), _accuracy(answers, labels), difference)
            )
    return rows


def _inputs(arrays: Arrays, most: int) -> Any:
    return arrays.gather(torch.linspace(0, len(arrays) - 1, min(most, len(arrays))).round().long())["input"]


def _accuracy(logits: torch.Tensor, labels: torch.Tensor) -> float:
    return classification(logits, labels)["accuracy"]


def shipped_table(rows: Iterable[Shipped]) -> Table:
    """Return the rows as a table for a terminal."""
    from rich.table import Table

    table = Table(title="What ships", caption="latency: one sample, one thread, median; difference: largest of a logit on test data")
    table.add_column("format")
    for name in ("size (kB)", "latency (ms)", "accuracy (%)", "difference"):
        table.add_column(name, justify="right")
    for row in rows:
        difference = "" if row.format == "pytorch" else f"{row.max_difference:.2g}"
        table.add_row(row.format, f"{row.size_bytes / 1000:,.1f}", f"{row.latency_ms:.3f}", f"{row.accuracy:.2f}", difference)
    return table
