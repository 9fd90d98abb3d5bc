"""What every teacher is: a module that answers without a graph and may change as training goes on."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, Self, TypeVar

import torch
from torch import Tensor, nn

P = ParamSpec("P")
R = TypeVar("R")


def plain(value: Any) -> Any:
    """Cut every tensor inside a value from whatever graph it hangs on.

    Tensors made under inference mode are copied, because autograd refuses to save them; all others share memory with
    what was given.

    Args:
        value: a tensor, or any nesting of tuples, lists and mappings with tensors in it; other things pass through.

    Returns:
        The same structure with detached tensors.
    """
    if isinstance(value, Tensor):
        if not torch.compiler.is_compiling() and value.is_inference() and not torch.is_inference_mode_enabled():
            return value.clone()
        return value.detach() if value.requires_grad else value
    if isinstance(value, tuple):
        parts = [plain(v) for v in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    if isinstance(value, list):
        return [plain(v) for v in value]
    if isinstance(value, dict) and type(value) is not dict:  # an ordered or attribute dictionary keeps its type
        for key in list(value):
            value[key] = plain(value[key])
        return value
    if isinstance(value, Mapping):
        return {k: plain(v) for k, v in value.items()}
    return value


def without_graph(function: Callable[P, R]) -> Callable[P, R]:
    """Wrap a function so that it builds no graph and what it returns carries none.

    Args:
        function: any function; a teacher's method that is called other than through the teacher itself.

    Returns:
        The function, run under `torch.no_grad`, its result passed through `plain`.
    """

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        with torch.no_grad():
            result: R = plain(function(*args, **kwargs))
        return result

    return wrapped


class Teacher(nn.Module):
    """A module that teaches: calling it never builds a graph, its parameters never train, and it stays in eval mode.

    Write a new teacher as any module (sub-modules in `__init__`, the answer in `forward`), call `freeze()` at the end of
    `__init__`, and override `update` if it changes while the student learns. The trainer calls `update` on every
    teacher it finds inside the method, nested ones too, so a teacher made of teachers does not pass the call on.

    Attributes:
        constant: True if the weights never change, so that they are saved once per run and not with each checkpoint.
    """

    constant: bool = False

    def update(self, progress: float) -> None:
        """Change with the student's progress; called after each optimizer step. Does nothing unless overridden.

        Args:
            progress: share of the training that is done, 0 to 1.
        """
        return

    def attend(self, batch: dict[str, Any], epoch: int = 0) -> None:
        """Take note of a batch before it is taught. Does nothing unless overridden, by a teacher that answers from memory.

        Args:
            batch: what the method will be given.
            epoch: number of the epoch.
        """
        return

    def attend_rows(self, inputs: Any, chosen: Any, rows: Tensor) -> None:
        """Take note that some rows of inputs are asked about on their own. Does nothing unless overridden.

        Args:
            inputs: inputs of a batch.
            chosen: `inputs[rows]`.
            rows: int64 positions.
        """
        return

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Answer without building a graph: `forward` under `torch.no_grad`, the outputs detached."""
        with torch.no_grad():
            return plain(super().__call__(*args, **kwargs))

    def freeze(self) -> Self:
        """Switch every parameter's gradient off and put the teacher into eval mode.

        Returns:
            The teacher itself.
        """
        self.requires_grad_(False)
        return self.train(False)

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode whatever is asked; teachers inside this one decide for themselves.

        Args:
            mode: what the method that holds the teacher switches to.

        Returns:
            The teacher itself.
        """
        self.training = False
        for child in self.children():
            child.train(mode if isinstance(child, Teacher) or _holds_teachers(child) else False)
        return self


def _holds_teachers(module: nn.Module) -> bool:
    """Whether a module is only a list or dictionary, all of whose members are teachers."""
    return isinstance(module, nn.ModuleList | nn.ModuleDict) and all(isinstance(m, Teacher) for m in module.children())
