"""How far an engine's answer is from the network's own, and how far it may be."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tutelage.teachers.engines.base import tensors_of

HALF = (torch.float16, torch.bfloat16)


def difference(expected: Any, answer: Any) -> float:
    """Return the largest absolute difference between two answers, as a share of the largest absolute number in the tensor where it is.

    Args:
        expected: what the network itself answers: a tensor, or a nesting of tensors.
        answer: what the engine answers.

    Returns:
        0 where all is equal (NaN and infinity are equal to themselves); infinity where kinds, shapes or types differ, or where one
        answer is finite and the other is not.
    """
    ours, theirs = tensors_of(expected), tensors_of(answer)
    if type(expected) is not type(answer) or len(ours) != len(theirs):
        return float("inf")
    if not ours:
        return 0.0 if isinstance(expected, str | int | float | list) and expected == answer else float("inf")
    return max(_apart(a, b) for a, b in zip(ours, theirs, strict=True))


def _apart(a: Tensor, b: Tensor) -> float:
    if a.shape != b.shape or a.dtype != b.dtype:
        return float("inf")
    if not a.numel() or torch.equal(a, b):
        return 0.0
    a, b = a.detach().double(), b.detach().double()
    finite = a.isfinite()
    if not torch.equal(finite, b.isfinite()) or not torch.equal(a[~finite].nan_to_num(), b[~finite].nan_to_num()):
        return float("inf")
    a, b = a[finite], b[finite]
    apart = float((a - b).abs().max()) if a.numel() else 0.0
    return apart / float(a.abs().max()) if apart and float(a.abs().max()) else (float("inf") if apart else 0.0)


def default_bound(answer: Any) -> float:
    """Return the largest difference (see `difference`) that rounding explains.

    Args:
        answer: what the network itself answers.

    Returns:
        1e-4 in single and double precision; 5e-3 on a GPU that multiplies with TF32, which has 10 bits of mantissa; 2e-2 where the
        answers are half-precision numbers or autocast is on.
    """
    found = tensors_of(answer)
    device = found[0].device.type if found else "cpu"
    if torch.is_autocast_enabled(device) or any(t.dtype in HALF for t in found):
        return 2e-2
    if device == "cuda" and (torch.backends.cudnn.allow_tf32 or torch.backends.cuda.matmul.allow_tf32):
        return 5e-3
    return 1e-4
