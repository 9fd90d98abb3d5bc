"""The folded network through `torch.compile`."""

from __future__ import annotations

import itertools
import types
from typing import Any, ClassVar

import torch
from torch import nn

from tutelage.models.quiet import quiet
from tutelage.teachers.engines.base import EngineError, resized, rows_of, tensors_of
from tutelage.teachers.engines.folded import Folded

_numbers = itertools.count()


class Compiled:
    """The folded copy, compiled for a free number of samples; a single sample, which would need a second compilation, runs uncompiled.

    Args:
        model: the network, which stays as it is.
        args: positional arguments of the call that it is built for.
        kwargs: keyword arguments of that call.
        batch: samples for which the code is laid out; others run the same code.

    Raises:
        EngineError: if the call brings no tensors.
    """

    hooks: ClassVar[bool] = False
    fixes_shapes: ClassVar[bool] = False

    def __init__(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], batch: int) -> None:
        rows = rows_of(args, kwargs)
        if rows is None or not tensors_of((args, kwargs)):
            raise EngineError("it is compiled for tensors [N, ...], and this teacher is called without any")
        self._folded = Folded(model, args, kwargs)
        self._compiled: Any = torch.compile(_own_code(self._folded.twin))
        size = max(batch, 2)
        example, named = self._folded.arranged(resized(args, rows, size)), resized(kwargs, rows, size)
        for tensor in tensors_of((example, named)):
            if tensor.dim() and len(tensor) == size:
                torch._dynamo.maybe_mark_dynamic(tensor, 0)
        with quiet(), torch.no_grad():
            self._compiled(*example, **named)  # type: ignore[no-untyped-call]

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any], hooked: frozenset[str] = frozenset()) -> Any:
        """Return the network's answer."""
        run = self._folded.twin if rows_of(args, kwargs) == 1 else self._compiled
        return self._folded.restored(run(*self._folded.arranged(args), **kwargs))


def _own_code(network: nn.Module) -> Any:
    """A function that calls the network, with a code object of its own.

    What is compiled is kept by code object, up to a limit: teachers that share one would crowd each other out.
    """

    def run(*args: Any, **kwargs: Any) -> Any:
        return network(*args, **kwargs)

    code = run.__code__.replace(co_name=f"teacher_{next(_numbers)}")
    return types.FunctionType(code, run.__globals__, code.co_name, run.__defaults__, run.__closure__)
