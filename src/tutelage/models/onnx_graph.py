"""From a torch network to an ONNX graph in memory, its batch size free."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

INPUT, OUTPUT = "input", "logits"
"""Names of the graph's input and output."""


def traced(model: nn.Module, example: Tensor) -> Any:
    """Trace a network into ONNX.

    Args:
        model: takes one tensor `[N, ...]` and returns one tensor `[N, ...]`; in eval mode.
        example: inputs `[N, ...]`, N of at least 2: a batch of one would be compiled into the graph as a constant.

    Returns:
        The `onnx.ModelProto`, with one input `input` and one output `logits`.

    Raises:
        Exception: the exporter raises many classes, some of them private, if the network cannot be traced or its batch size is fixed.
    """
    shapes = ({0: torch.export.Dim("batch")},)
    names: dict[str, Any] = {"input_names": [INPUT], "output_names": [OUTPUT], "verbose": False}
    program = torch.onnx.export(model, (example,), dynamo=True, dynamic_shapes=shapes, **names)
    if not _batch_is_free(program):
        # Running the model, as the exporter does, turns `len(x)` into a number and writes it into the graph without an error.
        # Reading its code (strict) is slower, and keeps such sizes free or says what fixes them.
        read = torch.export.export(model, (example,), dynamic_shapes=shapes, strict=True)
        program = torch.onnx.export(read, (example,), dynamo=True, **names)
        if not _batch_is_free(program):
            raise RuntimeError("its batch size is fixed in the graph")
    assert program is not None
    proto: Any = program.model_proto
    return proto


def _batch_is_free(program: torch.onnx.ONNXProgram | None) -> bool:
    return program is not None and bool(program.model_proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param)
