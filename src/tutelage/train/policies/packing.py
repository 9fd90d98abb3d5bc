"""Arrays as tensors and back, for states that checkpoints keep."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor


def pack(tree: Any) -> Any:
    """Turn NumPy arrays and numbers inside a nested state into tensors and Python numbers."""
    if isinstance(tree, np.ndarray):
        return torch.from_numpy(np.array(tree))
    if isinstance(tree, np.generic):
        return tree.item()
    if isinstance(tree, dict):
        return {key: pack(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [pack(value) for value in tree]
    return tree


def unpack(tree: Any) -> Any:
    """Turn the tensors inside a nested state into NumPy arrays."""
    if isinstance(tree, Tensor):
        return tree.cpu().numpy().copy()
    if isinstance(tree, dict):
        return {key: unpack(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [unpack(value) for value in tree]
    return tree
