"""Places where a module keeps its parameters and buffers: they stay while sharding or moving replaces the tensors in them."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from tutelage.errors import ShapeError

Kind = Literal["parameters", "buffers"]


class Slot(NamedTuple):
    """One parameter or buffer by its place: the module that holds it, and its key there."""

    name: str
    module: nn.Module
    key: str


def unwrapped(module: nn.Module) -> nn.Module:
    """Return the user's own network inside DDP, Fabric and `torch.compile` wrappers.

    Args:
        module: a network, wrapped any number of times or not at all.

    Returns:
        The innermost network.
    """
    while True:
        if isinstance(module, nn.parallel.DistributedDataParallel | nn.DataParallel):
            inner = module.module
        else:  # the wrappers of torch.compile and of Fabric
            inner = module._modules.get("_orig_mod") or module._modules.get("_original_module")
        if inner is None:
            return module
        module = inner


def slots(module: nn.Module, kind: Kind) -> list[Slot]:
    """List a module's parameters or buffers by place, tied ones once.

    Args:
        module: any network.
        kind: which of the two.

    Returns:
        One slot per distinct tensor, in the order of `named_parameters` or `named_buffers`.
    """
    found: list[Slot] = []
    seen: set[int] = set()
    for prefix, part in module.named_modules():
        held = part._parameters if kind == "parameters" else part._buffers
        for key, tensor in held.items():
            if tensor is not None and id(tensor) not in seen:
                seen.add(id(tensor))
                found.append(Slot(f"{prefix}.{key}" if prefix else key, part, key))
    return found


def reshard(module: nn.Module) -> None:
    """Give back the full weights that FSDP2 may have left gathered after a forward pass without a backward pass.

    Args:
        module: any network; nothing happens unless parts of it are sharded.
    """
    if not _distributed():
        return
    from torch.distributed.fsdp import FSDPModule

    for part in module.modules():
        if isinstance(part, FSDPModule):
            part.reshard()


def locals_of(pairs: list[tuple[Slot, Slot]], kind: Kind) -> tuple[list[Tensor], list[Tensor]]:
    """Fetch the tensors of paired slots, of sharded ones this rank's shard.

    Args:
        pairs: slots of the source beside those of the target.
        kind: what the slots hold.

    Returns:
        The source's tensors and the target's, sharing memory with the modules.

    Raises:
        ShapeError: if a pair does not match in shape or sharding, or the source lost a tensor.
    """
    held = "_parameters" if kind == "parameters" else "_buffers"
    sources, targets = [], []
    for source_slot, target_slot in pairs:
        source = getattr(source_slot.module, held).get(source_slot.key)
        target = getattr(target_slot.module, held).get(target_slot.key)
        if source is None or target is None or source.shape != target.shape:
            raise ShapeError(
                f"EMA: '{source_slot.name}' is {_shape(source)} in the student but {_shape(target)} in its average. "
                "Build a new EMA after changing the student's structure."
            )
        sources.append(source)
        targets.append(target)
    return _shards(sources, targets, pairs) if _distributed() else (sources, targets)


def _shards(sources: list[Tensor], targets: list[Tensor], pairs: list[tuple[Slot, Slot]]) -> tuple[list[Tensor], list[Tensor]]:
    from torch.distributed.tensor import DTensor

    local_sources, local_targets = [], []
    for source, target, (slot, _) in zip(sources, targets, pairs, strict=True):
        if isinstance(source, DTensor) and isinstance(target, DTensor):
            if source.placements != target.placements or source.device_mesh != target.device_mesh:
                raise ShapeError(f"EMA: '{slot.name}' is sharded one way in the student and another in its average. Shard both alike.")
            source, target = source.to_local(), target.to_local()
        elif isinstance(source, DTensor) or isinstance(target, DTensor):
            raise ShapeError(
                f"EMA: '{slot.name}' is sharded in only one of student and average. Call fully_shard on the student and on ema.model alike."
            )
        local_sources.append(source)
        local_targets.append(target)
    return local_sources, local_targets


def _shape(tensor: Tensor | None) -> str:
    return "missing" if tensor is None else str(list(tensor.shape))


def _distributed() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()
