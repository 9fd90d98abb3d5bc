"""What a shipped model costs: bytes on disk, and milliseconds for one sample."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.deploy.runtime import OnnxModel
from tutelage.errors import OptionError


def size_bytes(model: nn.Module | str | Path) -> int:
    """Return the size of a model: of its file, or of the parameters and buffers of a module.

    Args:
        model: an ONNX file or a module.
    """
    if isinstance(model, nn.Module):
        return sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values() if isinstance(tensor, Tensor))
    return Path(model).stat().st_size


def latency(model: nn.Module | str | Path, inputs: Tensor | list[Any], *, repeats: int = 200, warm_up: int = 20) -> float:
    """Return the median time of answering one sample, on one thread, after a warm-up.

    Args:
        model: an ONNX file (run by onnxruntime) or a module (run eagerly where its parameters are, in evaluation mode).
        inputs: real inputs, `[N, ...]` or a list of N texts; they take turns, one at a time.
        repeats: timed answers.
        warm_up: answers before the clock starts.

    Returns:
        Milliseconds.
    """
    if repeats < 1 or not len(inputs):
        raise OptionError(f"latency: got {repeats} repeats of {len(inputs)} inputs; both must be at least 1.")
    if not isinstance(model, nn.Module):
        return _median(OnnxModel(model, threads=1), _on(inputs, torch.device("cpu")), repeats, warm_up)
    first = next(model.parameters(), None)
    modes = [(part, part.training) for part in model.modules()]
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        model.eval()
        with torch.inference_mode():
            return _median(model, inputs if first is None else _on(inputs, first.device), repeats, warm_up)
    finally:
        torch.set_num_threads(threads)
        for part, training in modes:
            part.training = training


def _on(inputs: Tensor | list[Any], device: torch.device) -> Tensor | list[Any]:
    return inputs.to(device) if isinstance(inputs, Tensor) else inputs


def _median(answer: Callable[[Any], Tensor], inputs: Tensor | list[Any], repeats: int, warm_up: int) -> float:
    rows = [inputs[i : i + 1] for i in range(min(len(inputs), 64))]
    samples = [row.contiguous() if isinstance(row, Tensor) else row for row in rows]
    times = []
    for turn in range(warm_up + repeats):
        start = time.perf_counter_ns()
        answered = answer(samples[turn % len(samples)])
        if isinstance(answered, Tensor) and answered.is_cuda:
            torch.cuda.synchronize(answered.device)
        if turn >= warm_up:
            times.append(time.perf_counter_ns() - start)
    return statistics.median(times) / 1e6
