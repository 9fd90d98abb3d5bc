"""From a float ONNX file to one whose weights and activations are 8-bit integers."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from tutelage.deploy.export import ExportError, describe
from tutelage.deploy.runtime import open_session
from tutelage.errors import ShapeError, optional
from tutelage.files import replacing
from tutelage.models.quiet import quiet


class _Reader:
    """Hands calibration inputs to the quantizer one batch at a time, and starts over when asked to."""

    def __init__(self, name: str, inputs: np.ndarray[Any, Any], batch_size: int) -> None:
        self.name, self.inputs, self.batch_size = name, inputs, batch_size
        self.at = 0

    def get_next(self) -> dict[str, np.ndarray[Any, Any]] | None:
        if self.at >= len(self.inputs):
            return None
        self.at += self.batch_size
        return {self.name: self.inputs[self.at - self.batch_size : self.at]}

    def rewind(self) -> None:
        self.at = 0


def quantise(source: str | Path, inputs: Tensor, path: str | Path, *, per_channel: bool = True, batch_size: int = 32) -> Path:
    """Quantise an ONNX model to int8 with onnxruntime's static quantizer (QDQ), its ranges measured on real inputs.

    Args:
        source: the float model, as `export_onnx` wrote it.
        inputs: real inputs `[N, ...]` on which the ranges of activations are measured; a few hundred from training data.
        path: file to write.
        per_channel: whether each output channel of a weight has a scale of its own.
        batch_size: inputs at once while measuring.

    Returns:
        The path.

    Raises:
        ShapeError: if there is no input.
        ExportError: if the quantizer refuses the model.
        MissingExtra: if the extra `export` is not installed.
    """
    if not len(inputs):
        raise ShapeError("quantise: got no calibration inputs; give real ones, a few hundred from training data.")
    onnx = optional("onnx", "export")
    tool = optional("onnxruntime.quantization", "export")
    prepare = optional("onnxruntime.quantization.shape_inference", "export").quant_pre_process
    session = open_session(source)
    name, described = session.get_inputs()[0].name, dict(session.get_modelmeta().custom_metadata_map)
    reader = _Reader(name, inputs.detach().cpu().float().numpy(), batch_size)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, replacing(path) as temporary:
        prepared, raw = Path(folder) / "prepared.onnx", Path(folder) / "int8.onnx"
        try:
            with quiet():
                prepare(str(source), str(prepared), skip_symbolic_shape=True)
                tool.quantize_static(
                    str(prepared),
                    str(raw),
                    reader,
                    quant_format=tool.QuantFormat.QDQ,
                    per_channel=per_channel,
                    activation_type=tool.QuantType.QUInt8,
                    weight_type=tool.QuantType.QInt8,
                )
                proto = onnx.load_model(str(raw))
        except Exception as error:  # the quantizer raises bare Exception, ValueError and protobuf's own classes
            raise ExportError(
                f"onnxruntime cannot quantise '{source}': {type(error).__name__}: {error}. Ship the float model instead."
            ) from error
        describe(proto, {})
        have = {item.key for item in proto.metadata_props}
        for key, text in described.items():
            if key not in have:
                proto.metadata_props.add(key=key, value=text)
        onnx.save_model(proto, str(temporary))
        open_session(temporary)
    return path
