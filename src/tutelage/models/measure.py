"""Facts about a model: its size, and a fingerprint of its weights."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor, nn


def count_parameters(model: nn.Module, *, trainable_only: bool = False) -> int:
    """Count a model's parameters, tied ones once.

    Args:
        model: any module.
        trainable_only: leave out those whose gradient is switched off.

    Returns:
        How many numbers they hold.
    """
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trainable_only)


def fingerprint(model: nn.Module) -> str:
    """Identify a model by its weights: the same names, shapes, types and bytes give the same fingerprint.

    Args:
        model: any module, on any device; wrappers around files that are not torch models keep a digest among their buffers.

    Returns:
        SHA-256 of its state dictionary, in hexadecimal.
    """
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        if not isinstance(value, Tensor):
            digest.update(f"{name}={value!r};".encode())
            continue
        whole = value.full_tensor() if hasattr(value, "full_tensor") else value
        digest.update(f"{name}:{whole.dtype}:{list(whole.shape)};".encode())
        flat = whole.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()
