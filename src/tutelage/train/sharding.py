"""Methods too large for one device: every model of a method sharded by itself (FSDP2), checkpoints whole."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tutelage.teachers import Teacher


def shard(method: nn.Module, mesh: Any) -> nn.Module:
    """Shard the models of a method over the data-parallel processes.

    Each model is sharded by itself, the blocks of its module lists one by one, so that a method may call any of them at any
    time. A moving average is cut as its student is, and so follows it shard by shard.

    Args:
        method: the method.
        mesh: the device mesh of Fabric's model-parallel strategy, not used: models are cut over all processes.

    Returns:
        The method.
    """
    from torch.distributed.fsdp import fully_shard

    for model in _models(method):
        for block in [b for m in model.modules() if isinstance(m, nn.ModuleList) for b in m]:
            fully_shard(block)
        fully_shard(model)
    return method


def _models(module: nn.Module) -> list[nn.Module]:
    """Return the largest modules inside a method or teacher that are neither teachers nor lists of modules."""
    found: list[nn.Module] = []
    for child in module.children():
        if isinstance(child, Teacher | nn.ModuleList | nn.ModuleDict):
            found += _models(child)
        elif any(True for _ in child.parameters()) and all(child is not other for other in found):
            found.append(child)
    return found


def whole(tree: Any) -> Any:
    """Return a nested state with every sharded tensor gathered; all processes must call it."""
    if isinstance(tree, dict):
        return {key: whole(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [whole(value) for value in tree]
    if isinstance(tree, Tensor) and hasattr(tree, "full_tensor"):
        return tree.full_tensor()
    return tree


def _like(value: Tensor, reference: Tensor) -> Tensor:
    from torch.distributed.tensor import DTensor, distribute_tensor

    if isinstance(reference, DTensor) and value.shape == reference.shape:
        return distribute_tensor(value.to(reference.device), reference.device_mesh, reference.placements)
    return value


def cut_method(state: dict[str, Tensor], method: nn.Module) -> dict[str, Tensor]:
    """Cut whole tensors as those of a sharded method are."""
    own = method.state_dict()
    return {name: _like(value, own[name]) if name in own else value for name, value in state.items()}


def cut_optimizer(state: dict[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Cut the whole tensors of an optimizer's state as its parameters are."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    cut = {
        number: {name: _like(value, parameters[number]) if isinstance(value, Tensor) else value for name, value in entry.items()}
        for number, entry in state["state"].items()
    }
    return state | {"state": cut}
