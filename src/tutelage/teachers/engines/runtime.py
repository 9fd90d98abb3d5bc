"""The network as an ONNX graph in onnxruntime; its extra is `export`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from tutelage.errors import optional
from tutelage.models.onnx_graph import INPUT, OUTPUT, traced
from tutelage.models.quiet import quiet
from tutelage.teachers.engines.base import EngineError, resized

TYPES = {
    torch.float32: np.float32,
    torch.float64: np.float64,
    torch.float16: np.float16,
    torch.int64: np.int64,
    torch.int32: np.int32,
    torch.uint8: np.uint8,
    torch.bool: np.bool_,
}
LARGEST = 1 << 30
"""Bytes of weights from which on the graph goes through a temporary file: a message in memory ends at 2 GiB."""


class Runtime:
    """The network exported once, run by onnxruntime on torch's own memory, on the device and with the threads that torch uses.

    Args:
        model: takes one tensor and returns one tensor; it stays as it is.
        args: positional arguments of the call that it is built for: one tensor [N, ...].
        kwargs: keyword arguments of that call: none.

    Raises:
        EngineError: if the call or the answer is anything else, of a type that has no ONNX form, or on a device that onnxruntime does
            not serve.
        MissingExtra: if onnx, onnxscript or onnxruntime is not installed.
    """

    hooks: ClassVar[bool] = False
    fixes_shapes: ClassVar[bool] = True

    def __init__(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        inputs = _only_tensor(args, kwargs)
        if torch.is_autocast_enabled(inputs.device.type):
            raise EngineError("its graph has fixed types and does not follow autocast; give engine='folded' or 'compile'")
        for module in ("onnx", "onnxscript"):
            optional(module, "export")
        example: Tensor = resized(inputs, len(inputs), 2)
        with torch.no_grad():
            answer = model(example)
        if not isinstance(answer, Tensor) or answer.dtype not in TYPES or not answer.dim() or len(answer) != len(example):
            raise EngineError("it serves teachers that answer one tensor [N, ...]; give engine='folded' or 'compile'")
        self._tail, self._dtype = answer.shape[1:], answer.dtype
        with quiet(), torch.no_grad():
            proto = traced(model, example)
        self._session = _open(proto, inputs.device)

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any], hooked: frozenset[str] = frozenset()) -> Any:
        """Return the network's answer, written by onnxruntime straight into a tensor."""
        inputs = _only_tensor(args, kwargs).contiguous()
        answer = torch.empty((len(inputs), *self._tail), dtype=self._dtype, device=inputs.device)
        kind, number = inputs.device.type, inputs.device.index or 0
        binding = self._session.io_binding()
        binding.bind_input(INPUT, kind, number, TYPES[inputs.dtype], tuple(inputs.shape), inputs.data_ptr())
        binding.bind_output(OUTPUT, kind, number, TYPES[answer.dtype], tuple(answer.shape), answer.data_ptr())
        if kind == "cuda":  # onnxruntime works on a stream of its own
            torch.cuda.current_stream(inputs.device).synchronize()
        self._session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        return answer


def _only_tensor(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    if kwargs or len(args) != 1 or not isinstance(args[0], Tensor) or not args[0].dim():
        raise EngineError("it serves teachers that are called with one tensor [N, ...] and nothing else; give engine='folded' or 'compile'")
    if args[0].dtype not in TYPES:
        raise EngineError(f"it does not take {args[0].dtype}; give engine='folded' or 'compile'")
    return args[0]


def _open(proto: Any, device: torch.device) -> Any:
    runtime = optional("onnxruntime", "export")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    # Threads that spin while they wait would take the cores from the student, whose turn it then is.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers: list[Any] = ["CPUExecutionProvider"]
    if device.type == "cuda":
        if "CUDAExecutionProvider" not in runtime.get_available_providers():
            raise EngineError("this onnxruntime has no CUDA part; install onnxruntime-gpu in its place, or give engine='compile'")
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": device.index or 0}))
    elif device.type != "cpu":
        raise EngineError(f"it runs on 'cpu' and 'cuda', and the inputs are on '{device.type}'; give engine='folded' or 'compile'")
    if proto.ByteSize() < LARGEST:
        return runtime.InferenceSession(proto.SerializeToString(), options, providers=providers)
    onnx = optional("onnx", "export")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "teacher.onnx"
        onnx.save_model(proto, str(file), save_as_external_data=True)
        return runtime.InferenceSession(str(file), options, providers=providers)
