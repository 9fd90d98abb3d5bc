"""What a model answers on a whole data set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from tutelage.errors import DataError, ShapeError, TrainingError
from tutelage.teachers import Teacher

if TYPE_CHECKING:
    from tutelage.data import Arrays

Predict = Callable[[dict[str, Any]], Tensor]
"""What answers a batch with logits."""


@contextmanager
def evaluating(module: nn.Module | None) -> Iterator[None]:
    """Put a module in evaluation mode, and every part of it back in its own mode afterwards."""
    modes = [] if module is None else [(part, part.training) for part in module.modules()]
    if module is not None:
        module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def _module_of(predict: Predict | nn.Module) -> nn.Module | None:
    owner = predict if isinstance(predict, nn.Module) else getattr(predict, "__self__", None)
    return owner if isinstance(owner, nn.Module) else None


def _to(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, list):
        return [_to(item, device) for item in value]
    return {key: _to(item, device) for key, item in value.items()} if isinstance(value, dict) else value


def predictions(
    predict: Predict | nn.Module, arrays: Arrays, *, batch_size: int = 512, device: torch.device | str | None = None
) -> tuple[Tensor, Tensor]:
    """Return what a model answers on every sample, in order, without gradients and in evaluation mode.

    Args:
        predict: takes a batch and returns logits `[B, C]`; or a module, which is called with `batch["input"]`. A module, or the module
            whose bound method this is (`method.predict`), is evaluated in evaluation mode and then put back as it was.
        arrays: the samples, with columns `input` and `label`.
        batch_size: samples at once.
        device: where to run; `None` for where the module's parameters are.

    Returns:
        Logits `[N, C]` in float32 and labels as stored, `[N]` int64 for single labels, both on the CPU.

    Raises:
        DataError: if there is no sample.
        ShapeError: if the answer has no row per sample.
        TrainingError: if an answer is NaN.
    """
    if not len(arrays):
        raise DataError(f"'{arrays.name}' has no samples to evaluate; check how it was split.")
    module = _module_of(predict)
    first = next(module.parameters(), None) if module is not None else None
    place = torch.device(device) if device is not None else None if first is None else first.device
    logits: list[Tensor] = []
    labels: list[Tensor] = []
    with evaluating(module), torch.no_grad():
        for start in range(0, len(arrays), batch_size):
            batch = arrays.gather(torch.arange(start, min(start + batch_size, len(arrays))))
            if place is not None:
                batch = _to(batch, place)
            if isinstance(predict, Teacher):
                predict.attend(batch)
            answer = predict(batch["input"]) if isinstance(predict, nn.Module) else predict(batch)
            rows = len(batch["input"])
            if not isinstance(answer, Tensor) or answer.ndim < 2 or len(answer) != rows:
                got = tuple(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
                raise ShapeError(
                    f"The model answered {rows} samples of '{arrays.name}' with {got}; expected logits of shape ({rows}, classes)."
                )
            logits.append(answer.float().cpu())
            labels.append(batch["label"].cpu())
    answers, truth = torch.cat(logits), torch.cat(labels)
    wrong = torch.isnan(answers).flatten(1).any(1)
    if wrong.any():
        raise TrainingError(
            f"The model answered NaN for {int(wrong.sum())} of {len(truth)} samples of '{arrays.name}' "
            f"(first: row {int(wrong.int().argmax())}); its training diverged: lower the learning rate or clip gradients."
        )
    return answers, truth
