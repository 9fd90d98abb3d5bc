"""How sure a teacher is: several passes with its dropout switched on, their mean and their spread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.errors import OptionError, ShapeError


@dataclass(frozen=True)
class MeanAndSpread:
    """What several passes say together; nothing carries a graph.

    Args:
        mean: averaged class distribution, float32 `[N, C]`.
        label: most probable class of the mean, int64 `[N]`.
        top: its probability in the mean, `[N]`.
        spread: standard deviation of its probability over the passes (divisor passes - 1; 0 for a single pass), `[N]`.
    """

    mean: Tensor
    label: Tensor
    top: Tensor
    spread: Tensor


def dropouts(module: nn.Module) -> list[nn.Module]:
    """Return the dropout layers inside a module that drop anything; paths and attention weights dropped by other means do not count.

    Args:
        module: any network.
    """
    return [m for m in module.modules() if isinstance(m, nn.modules.dropout._DropoutNd) and m.p > 0]


@contextmanager
def dropout_on(module: nn.Module) -> Iterator[None]:
    """Put a module in evaluation mode except for its dropout layers; afterwards every part is in its own mode again.

    Args:
        module: any network.
    """
    before = [(m, m.training) for m in module.modules()]
    for part, _ in before:
        part.training = False
    for part in dropouts(module):
        part.training = True
    try:
        yield
    finally:
        for part, mode in before:
            part.training = mode


@torch.no_grad()
def passes(teacher: nn.Module, inputs: Any, count: int = 10, *, at_once: int | None = None) -> MeanAndSpread:
    """Ask a network several times with its dropout on: Monte Carlo samples of what it believes.

    Passes are batched: the inputs are repeated along the batch. A network without dropout is asked once, and its spread is 0. Masks
    come from the global random state.

    Args:
        teacher: takes `inputs` and returns logits `[N, C]`; any teacher or network.
        inputs: tensor `[N, ...]`, or nested lists and dictionaries of such.
        count: number of passes, at least 1. Default 10.
        at_once: passes in one forward pass, for memory's sake; all when `None`.

    Returns:
        Mean and spread.

    Raises:
        OptionError: if a number is out of range.
        ShapeError: if the inputs cannot be repeated, or the answers are not `[N, C]`.

    Source: Gal and Ghahramani, Dropout as a Bayesian approximation, ICML 2016.
    """
    if count < 1 or (at_once is not None and at_once < 1):
        raise OptionError(f"Monte Carlo dropout got {count} passes, {at_once} at once: expected at least 1.")
    if not dropouts(teacher):
        count = 1
    answers = []
    with dropout_on(teacher):
        for start in range(0, count, at_once or count):
            times = min(at_once or count, count - start)
            logits: Tensor = teacher(inputs if times == 1 else _repeated(inputs, times))
            if logits.ndim != 2 or len(logits) % times:
                raise ShapeError(f"A network asked {times} times at once answered {list(logits.shape)}: expected logits [{times} N, C].")
            answers.append(logits.float().softmax(-1).view(times, -1, logits.shape[-1]))
    probs = torch.cat(answers)
    mean = probs.mean(0)
    top, label = mean.max(-1)
    chosen = probs.gather(-1, label.expand(count, -1)[..., None])[..., 0]
    spread = chosen.std(0) if count > 1 else torch.zeros_like(top)
    return MeanAndSpread(mean, label, top, spread)


def _repeated(inputs: Any, times: int) -> Any:
    if isinstance(inputs, Tensor):
        return inputs.repeat(times, *[1] * (inputs.ndim - 1))
    if isinstance(inputs, list | tuple) and inputs and isinstance(inputs[0], Tensor | list | tuple | dict):
        return type(inputs)(_repeated(part, times) for part in inputs)
    if isinstance(inputs, dict):
        return {name: _repeated(part, times) for name, part in inputs.items()}
    raise ShapeError(f"Inputs of the kind {type(inputs).__name__} cannot be repeated for passes at once: give tensors, or at_once=1.")
