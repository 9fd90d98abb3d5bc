"""ONNX files through onnxruntime, called like any model: its extra is `export`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tutelage.errors import ShapeError, SpecError, optional


def open_session(path: str | Path, *, threads: int = 0) -> Any:
    """Open an ONNX file for inference on the CPU.

    Args:
        path: the file.
        threads: threads of one operator; 0 leaves the choice to onnxruntime.

    Returns:
        An `onnxruntime.InferenceSession` that does not log warnings.

    Raises:
        SpecError: if the file is missing or not a valid ONNX model.
        MissingExtra: if onnxruntime is not installed.
    """
    runtime = optional("onnxruntime", "export")
    if not Path(path).is_file():
        raise SpecError(f"There is no ONNX file '{path}'; export one first.")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = threads
    try:
        return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises its own classes, which have no common base but Exception
        raise SpecError(f"'{path}' does not open as an ONNX model ({type(error).__name__}: {error}). Export it again.") from error


class OnnxModel:
    """An ONNX file that takes a batch of inputs and returns logits, for `evaluate.predictions` and for users.

    Args:
        path: the file.
        threads: threads of one operator; 0 leaves the choice to onnxruntime.
    """

    def __init__(self, path: str | Path, *, threads: int = 0) -> None:
        self.path = Path(path)
        self.session = open_session(path, threads=threads)
        self.input_name: str = self.session.get_inputs()[0].name

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return logits `[N, C]` for float32 inputs `[N, ...]`.

        Raises:
            ShapeError: if the model does not take inputs of this shape.
        """
        array = inputs.detach().cpu().numpy().astype(np.float32, copy=False)
        try:
            return torch.from_numpy(self.session.run(None, {self.input_name: array})[0])
        except Exception as error:  # onnxruntime raises its own classes, which have no common base but Exception
            expected = self.session.get_inputs()[0].shape
            raise ShapeError(f"'{self.path}' takes inputs {expected} and got {tuple(inputs.shape)}: {error}") from error

    def predict(self, batch: dict[str, Any]) -> Tensor:
        """Return logits for `batch["input"]`."""
        return self(batch["input"])


def metadata(path: str | Path) -> dict[str, Any]:
    """Read what an exported file says of itself.

    Args:
        path: an ONNX file that `export_onnx` or `quantise` wrote.

    Returns:
        `classes` (names), `input_shape` (one input's) and `input_range` (lowest and highest value; absent where any number is allowed),
        and whatever else other programs wrote, as text.
    """
    found: dict[str, Any] = dict(open_session(path).get_modelmeta().custom_metadata_map)
    for key in ("classes", "input_shape", "input_range"):
        if key in found:
            found[key] = json.loads(found[key])
    return found
