"""A network in an ONNX file, run by onnxruntime: it answers but cannot train."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tutelage.errors import SpecError, nearest, optional
from tutelage.models.untraced import untraced

TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}


class OnnxModel(nn.Module):
    """A network in an ONNX file as a module without parameters, a frozen teacher.

    It runs on the GPU where onnxruntime has its CUDA part, else on the CPU; answers come back on the inputs' device. A file made for a
    fixed batch size is fed in pieces of that size.

    Args:
        file: the `.onnx` file, with one input.
        output: name of the output that holds the logits; the first by default.

    Raises:
        SpecError: if the file is missing or no readable ONNX network of one float input.
        MissingExtra: if onnxruntime is not installed.
    """

    digest: Tensor

    def __init__(self, file: str | Path, *, output: str | None = None) -> None:
        super().__init__()
        self.path = Path(file).resolve()
        if not self.path.is_file():
            raise SpecError(f"ONNX file '{file}' does not exist.")
        self.register_buffer("digest", torch.frombuffer(bytearray(hashlib.sha256(self.path.read_bytes()).digest()), dtype=torch.uint8))
        self._session = self._open()
        inputs, outputs = self._session.get_inputs(), [o.name for o in self._session.get_outputs()]
        if len(inputs) != 1 or inputs[0].type not in TYPES:
            described = ", ".join(f"{i.name}: {i.type}" for i in inputs)
            raise SpecError(f"ONNX file '{file}' takes {described}; expected one float input. Export the network with its inputs alone.")
        if output is not None and output not in outputs:
            raise SpecError(f"ONNX file '{file}' has no output '{output}'.{nearest(output, outputs)}")
        self.input_name: str = inputs[0].name
        self.output_name: str = output or outputs[0]
        self.input_shape: tuple[Any, ...] = tuple(inputs[0].shape)
        self._type = TYPES[inputs[0].type]

    @untraced
    def forward(self, inputs: Tensor) -> Tensor:
        """Return the network's answer, float32 [N, ...], to inputs [N, ...]."""
        array = inputs.detach().cpu().numpy().astype(self._type, copy=False)
        batch = self.input_shape[0]
        answer = self._run(array) if not isinstance(batch, int) else self._in_pieces(array, batch)
        return torch.from_numpy(answer).to(device=inputs.device, dtype=torch.float32)

    def _run(self, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        answer: np.ndarray[Any, Any] = self._session.run([self.output_name], {self.input_name: np.ascontiguousarray(array)})[0]
        return answer

    def _in_pieces(self, array: np.ndarray[Any, Any], size: int) -> np.ndarray[Any, Any]:
        count = len(array)
        padded = np.concatenate([array, np.repeat(array[-1:], -count % size, axis=0)])
        return np.concatenate([self._run(padded[i : i + size]) for i in range(0, len(padded), size)])[:count]

    def _open(self) -> Any:
        runtime = optional("onnxruntime", "export")
        wanted = ("CUDAExecutionProvider", "CPUExecutionProvider")
        providers = [p for p in wanted if p in runtime.get_available_providers()]
        try:
            return runtime.InferenceSession(str(self.path), providers=providers)
        except Exception as error:
            raise SpecError(f"'{self.path}' is not an ONNX network that onnxruntime can run ({type(error).__name__}: {error}).") from error

    def __getstate__(self) -> dict[str, Any]:
        """Leave the session out of copies; they open the file again."""
        return {key: value for key, value in self.__dict__.items() if key != "_session"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Open the file again."""
        self.__dict__.update(state)
        self._session = self._open()


def image_options(model: OnnxModel) -> dict[str, Any]:
    """Read from the graph what images it takes.

    Args:
        model: the loaded network.

    Returns:
        The options of `Adapted` that the graph fixes: channels and size, where they are numbers.
    """
    if len(model.input_shape) != 4:
        return {}
    _, channels, height, width = model.input_shape
    stated: dict[str, Any] = {"channels": channels} if channels in (1, 3) else {}
    if isinstance(height, int) and isinstance(width, int):
        stated["size"] = (height, width)
    return stated
