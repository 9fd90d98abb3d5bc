"""What all engines share: their names, the calls they serve, and a look at the network before each call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, get_args

import torch
from torch import Tensor, nn

from tutelage.errors import TutelageError

EngineName = Literal["auto", "eager", "folded", "compile", "onnxruntime"]
ENGINES: tuple[str, ...] = get_args(EngineName)


class EngineError(TutelageError):
    """An engine that cannot be built for a teacher, or answers otherwise than the teacher does."""


class Engine(Protocol):
    """A network made ready for forward passes; it holds its own copy of the weights where it changes them."""

    hooks: ClassVar[bool]
    """Whether hooks on the network's layers run."""
    fixes_shapes: ClassVar[bool]
    """Whether it is built for the shape of one sample, so that another shape needs another one."""

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any], hooked: frozenset[str] = frozenset()) -> Any:
        """Return the network's answer; `hooked` names the layers that have hooks."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a network is like at this moment.

    Args:
        training: whether any of its modules is in training mode.
        hooked: names of its modules that have forward hooks.
        stamp: differs after its weights, buffers or modules changed (except through a tensor's `.data`, which leaves no trace).
    """

    training: bool
    hooked: frozenset[str]
    stamp: tuple[Any, ...]


def look(model: nn.Module) -> Look:
    """Look at a network: its modes, its hooks and the state of its weights."""
    # This runs before every call, so it walks by hand: `model.modules()` takes several times as long.
    training = hooked = False
    stamp: list[int] = []
    seen: set[nn.Module] = set()
    waiting: list[nn.Module | None] = [model]
    while waiting:
        module = waiting.pop()
        if module is None or module in seen:
            continue
        seen.add(module)
        training = training or module.training
        hooked = hooked or bool(module._forward_hooks) or bool(module._forward_pre_hooks)
        stamp.append(id(module))
        for tensor in (*module._parameters.values(), *module._buffers.values()):
            if tensor is not None:
                stamp += _mark(tensor)
        waiting += module._modules.values()
    names = frozenset(n for n, m in model.named_modules() if m._forward_hooks or m._forward_pre_hooks) if hooked else frozenset()
    return Look(training, names, tuple(stamp))


def _mark(tensor: Tensor) -> tuple[int, int]:
    try:
        return tensor.data_ptr(), tensor._version
    except RuntimeError:  # tensors made under inference mode count no versions, and some kinds have no address
        return id(tensor), 0


def tensors_of(value: Any) -> list[Tensor]:
    """Return every tensor in a nesting of tuples, lists and mappings, in order."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, Mapping):
        return [t for item in value.values() for t in tensors_of(item)]
    if isinstance(value, tuple | list):
        return [t for item in value for t in tensors_of(item)]
    return []


def rows_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int | None:
    """Return how many samples a call brings: the length of its first tensor, else of its first list; `None` if unknown."""
    found = [t for t in tensors_of((args, kwargs)) if t.dim()]
    if found:
        return len(found[0])
    lists = [len(value) for value in (*args, *kwargs.values()) if isinstance(value, list)]
    return lists[0] if lists else None


def resized(value: Any, rows: int, to: int) -> Any:
    """Repeat or cut a call's samples to another number; what does not have `rows` of them stays.

    Args:
        value: arguments: tensors, lists, and nestings of these.
        rows: samples it has now.
        to: samples it shall have.

    Returns:
        The same nesting.
    """
    if isinstance(value, Tensor):
        if value.dim() and len(value) == rows:
            return value.index_select(0, torch.arange(to, device=value.device) % rows)
        return value
    if isinstance(value, Mapping):
        return {key: resized(item, rows, to) for key, item in value.items()}
    if isinstance(value, list) and len(value) == rows and not any(isinstance(item, Tensor) for item in value):
        return [value[i % rows] for i in range(to)]
    if isinstance(value, tuple | list):
        return type(value)(resized(item, rows, to) for item in value)
    return value


def first_line(error: BaseException) -> str:
    """Return an exception's class and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"
