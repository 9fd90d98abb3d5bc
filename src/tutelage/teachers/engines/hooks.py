"""Hooks of a network that fire while another copy of it runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


def strip(model: nn.Module) -> None:
    """Remove every forward hook of a network (of a copy, say, which took them along)."""
    for module in model.modules():
        module._forward_hooks.clear()
        module._forward_pre_hooks.clear()


@contextmanager
def muted(model: nn.Module, hooked: Iterable[str]) -> Iterator[None]:
    """Keep the hooks of the named modules from firing while the block runs."""
    modules = [model.get_submodule(name) for name in hooked]
    kept = [(store, dict(store)) for m in modules for store in (m._forward_hooks, m._forward_pre_hooks)]
    for store, _ in kept:
        store.clear()
    try:
        yield
    finally:
        for store, items in kept:
            store.update(items)


@contextmanager
def relayed(model: nn.Module, twin: nn.Module, hooked: Iterable[str]) -> Iterator[None]:
    """Fire the hooks of a network's modules, with those modules as their first argument, when their namesakes in a twin run."""
    handles = []
    for name in hooked:
        before, after = _relays(model.get_submodule(name))
        namesake = twin.get_submodule(name)
        handles.append(namesake.register_forward_pre_hook(before, with_kwargs=True))
        handles.append(namesake.register_forward_hook(after, with_kwargs=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _relays(original: nn.Module) -> tuple[Any, Any]:
    """A pre-hook and a hook that do what `Module.__call__` does with the original's."""

    def before(module: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any]:
        for number, hook in list(original._forward_pre_hooks.items()):
            if number in original._forward_pre_hooks_with_kwargs:
                result: Any = hook(original, args, kwargs)
                args, kwargs = (args, kwargs) if result is None else result
            else:
                result = hook(original, args)
                args = args if result is None else result if isinstance(result, tuple) else (result,)
        return args, kwargs

    def after(module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        for number, hook in list(original._forward_hooks.items()):
            given = (args, kwargs, output) if number in original._forward_hooks_with_kwargs else (args, output)
            result: Any = hook(original, *given)
            output = output if result is None else result
        return output

    return before, after
