"""Functions that compilers leave alone."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")


def untraced(function: Callable[P, R]) -> Callable[P, R]:
    """Keep `torch.compile` out of a function.

    `torch.compiler.disable` as a decorator would import the compiler with the package, which takes seconds; here only code that is
    being compiled does.

    Args:
        function: what runs as it is.

    Returns:
        The function.
    """

    @functools.wraps(function)
    def either(*args: P.args, **kwargs: P.kwargs) -> R:
        if torch.compiler.is_compiling():
            alone: Callable[P, R] = torch.compiler.disable(function)  # type: ignore[no-untyped-call]
            return alone(*args, **kwargs)
        return function(*args, **kwargs)

    return either
