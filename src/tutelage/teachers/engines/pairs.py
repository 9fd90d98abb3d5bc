"""Which batch normalisations of a network follow directly on a convolution or linear layer."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterable
from typing import Any

import torch
from torch import fx, nn

FOLLOWERS: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv1d: nn.BatchNorm1d,
    nn.Conv2d: nn.BatchNorm2d,
    nn.Conv3d: nn.BatchNorm3d,
    nn.ConvTranspose1d: nn.BatchNorm1d,
    nn.ConvTranspose2d: nn.BatchNorm2d,
    nn.ConvTranspose3d: nn.BatchNorm3d,
    nn.Linear: nn.BatchNorm1d,
}
"""Kinds of layer that take a batch normalisation in, and the kind they take."""


class _Tracer(fx.Tracer):
    """Takes every batch normalisation as one layer, also those that bring an activation along (timm's)."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, nn.modules.batchnorm._BatchNorm) or super().is_leaf_module(m, module_qualified_name)


def consecutive(model: nn.Module, args: tuple[Any, ...] = (None,), kwargs: dict[str, Any] | None = None) -> list[tuple[str, str]]:
    """Find the layers whose only reader is a batch normalisation that reads nothing else.

    The proof is the network's graph, traced by torch.fx without running it. Where a network cannot be traced (branches on shapes
    or values), each of its children is traced by itself. Layers that are used twice are left out.

    Args:
        model: any network, in eval mode and without hooks.
        args: positional arguments it will be called with; only their number matters.
        kwargs: keyword arguments it will be called with; only their names matter.

    Returns:
        Pairs of names (layer, batch normalisation).
    """
    names = Counter(id(module) for _, module in model.named_modules(remove_duplicate=False))
    modules = dict(model.named_modules())
    found = _search(model, "", _unused(model, len(args), kwargs or {}))
    return [pair for pair in found if all(names[id(modules[name])] == 1 for name in pair) and _fits(*(modules[n] for n in pair))]


def _search(module: nn.Module, prefix: str, defaults: dict[str, Any]) -> list[tuple[str, str]]:
    if not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in module.modules()):
        return []
    if type(module).forward is not nn.Module.forward and not isinstance(module, torch.jit.ScriptModule):
        try:
            graph = _Tracer().trace(module, concrete_args=defaults or None)
        except Exception:  # a network may raise anything at all when it is run on stand-ins
            graph = None
        if graph is not None:
            return [(prefix + a, prefix + b) for a, b in _pairs(graph)]
    return [p for name, child in module.named_children() for p in _search(child, f"{prefix}{name}.", _unused(child, 1, {}))]


def _pairs(graph: fx.Graph) -> Iterable[tuple[str, str]]:
    """Pairs of modules called once each, the first read by the second alone."""
    calls = Counter(str(node.target) for node in graph.nodes if node.op == "call_module")
    for node in graph.nodes:
        source = node.args[0] if node.op == "call_module" and len(node.args) == 1 and not node.kwargs else None
        if not isinstance(source, fx.Node) or source.op != "call_module" or len(source.users) != 1:
            continue
        first, second = str(source.target), str(node.target)
        if calls[first] == calls[second] == 1:
            yield first, second


def _fits(layer: Any, norm: Any) -> bool:
    """Whether fixed statistics follow on weights that can take them in."""
    wanted = FOLLOWERS.get(type(layer))
    if wanted is None or not isinstance(norm, nn.modules.batchnorm._BatchNorm) or layer._parameters.get("weight") is None:
        return False
    if norm.running_mean is None or norm.running_var is None or norm.training or layer.training:
        return False
    if isinstance(layer, nn.Linear):
        return type(norm) is wanted and norm.affine and layer.out_features == norm.num_features
    known = type(norm) is wanted or (wanted is nn.BatchNorm2d and with_activation(norm))
    single = not layer.transposed or layer.groups == 1
    return known and single and layer.out_channels == norm.num_features


def with_activation(norm: nn.Module) -> bool:
    """Whether this is timm's batch normalisation that drops and activates as well."""
    return type(norm).__name__ == "BatchNormAct2d" and type(norm).__module__.startswith("timm.")


def _unused(module: nn.Module, positional: int, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments of `forward` that a call leaves out, with the values they then take."""
    parameters = [p for p in inspect.signature(module.forward).parameters.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return {p.name: p.default for p in parameters[positional:] if p.default is not p.empty and p.name not in kwargs}
