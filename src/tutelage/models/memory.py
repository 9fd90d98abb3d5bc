"""Where images and convolution weights lie in memory: channels first, or last, which most convolutions run faster on."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tutelage.errors import OptionError, ShapeError


def channels_last(model: nn.Module) -> bool:
    """Store the 4-D weights of a convolutional network channels-last, in place; values, names and shapes stay.

    Inputs stored the same way, `images.contiguous(memory_format=torch.channels_last)`, spare its first layer a conversion.

    Args:
        model: any network.

    Returns:
        Whether it has two-dimensional convolutions; one without is left as it is.
    """
    if not any(isinstance(module, nn.Conv2d | nn.ConvTranspose2d) for module in model.modules()):
        return False
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return True


def overrun(model: nn.Module) -> str | None:
    """Return the name of a layer that must not learn channels-last on a CPU, or `None`.

    There the gradient of a strided 1x1 convolution of fewer than 16 channels writes past its memory: it is wrong, or ends the process.

    Args:
        model: any network.

    Source: uxlfoundation/oneDNN, issue 6035 (open with torch 2.13).
    """
    for name, module in model.named_modules():
        if not isinstance(module, nn.Conv2d) or set(module.kernel_size) != {1}:
            continue
        if max(module.stride) > 1 and module.in_channels // module.groups < 16:
            return str(name)
    return None


@dataclass(frozen=True)
class Formats:
    """How long a training step's forward and backward pass took in each memory format.

    Args:
        contiguous: median seconds, channels first.
        last: median seconds, channels last; infinite where the network has no convolutions, or does not run so (see `overrun`).
    """

    contiguous: float
    last: float

    @property
    def channels_last(self) -> bool:
        """Whether channels-last is faster, by at least 5 %: less is within what a machine's speed drifts."""
        return self.last < 0.95 * self.contiguous


def time_formats(model: nn.Module, images: Tensor, *, rounds: int = 3) -> Formats:
    """Time a network's forward and backward pass in both memory formats, in turns.

    Copies are timed: weights, gradients, batch-norm statistics, mode and the global random state stay as they are.

    Args:
        model: the network, in the mode in which it will run; its answer is a tensor or a nesting of tensors in tuples, lists, dictionaries.
        images: a real batch, float [N, C, H, W].
        rounds: timed passes of each, after one that is not.

    Returns:
        The seconds of each.

    Raises:
        ShapeError: if the batch is no batch of images.
        OptionError: for fewer than one round.
    """
    if images.dim() != 4 or not images.is_floating_point():
        raise ShapeError(f"Memory formats are timed on float images [N, C, H, W], got {images.dtype} {list(images.shape)}.")
    if rounds < 1:
        raise OptionError(f"rounds={rounds}: give at least one.")
    first, last = copy.deepcopy(model), copy.deepcopy(model)
    runs = [_pass(first, images.contiguous())]
    if (images.device.type != "cpu" or overrun(model) is None) and channels_last(last):
        runs.append(_pass(last, images.contiguous(memory_format=torch.channels_last)))
    seconds: list[list[float]] = [[] for _ in runs]
    with torch.random.fork_rng(devices=[images.device] if images.device.type == "cuda" else []):
        runs[0]()
        try:
            runs[-1]()
        except RuntimeError:  # `view` on a feature map, which asks for channels first
            del runs[1:]
        for _ in range(rounds):
            for number, run in enumerate(runs):
                seconds[number].append(_clock(run, images.device))
    return Formats(statistics.median(seconds[0]), statistics.median(seconds[1]) if len(runs) > 1 else float("inf"))


def _pass(model: nn.Module, images: Tensor) -> Callable[[], None]:
    def run() -> None:
        with torch.enable_grad():
            parts = [part.float().sum() for part in _tensors(model(images)) if part.requires_grad]
            if parts:
                torch.stack(parts).sum().backward()  # type: ignore[no-untyped-call]
        model.zero_grad(set_to_none=True)

    return run


def _tensors(answer: object) -> list[Tensor]:
    if isinstance(answer, Tensor):
        return [answer]
    items = list(answer.values()) if isinstance(answer, Mapping) else list(answer) if isinstance(answer, tuple | list) else []
    return [tensor for item in items for tensor in _tensors(item)]


def _clock(run: Callable[[], None], device: torch.device) -> float:
    started = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started
