"""What `linear_divergence` refuses, and the form in which it takes heads."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from tutelage.errors import OptionError, ShapeError
from tutelage.losses.linear.kinds import KINDS
from tutelage.losses.linear.walk import Head
from tutelage.targets import TopK


def options(kind: str, beta: float, temperature: float) -> None:
    """Refuse options outside their range."""
    if kind not in KINDS:
        raise OptionError(f"kind is {kind!r}; expected one of {', '.join(KINDS)}")
    if not 0.0 <= beta <= 1.0:
        raise OptionError(f"beta is {beta!r}; expected a number from 0 (forward KL) to 1 (reverse KL)")
    if not isinstance(temperature, int | float) or not 0.0 < temperature < math.inf:
        raise OptionError(f"temperature is {temperature!r}; expected a finite number above 0 (1 leaves logits as they are)")


def head_of(head: Tensor | nn.Linear, hidden: Tensor, whose: str) -> Head:
    """Return weight and bias of a head that fits its hidden states; one sharded over processes is gathered, and its gradient scattered."""
    if isinstance(head, Tensor):
        made = Head(head, None)
    elif isinstance(head, nn.Linear):
        made = Head(head.weight, head.bias)
    else:
        raise ShapeError(
            f"{whose}_head is a {type(head).__name__}; expected a weight [V, D] or an nn.Linear. "
            "Of a wrapped or adapted head give the merged weight"
        )
    made = Head(_whole(made.weight), None if made.bias is None else _whole(made.bias))
    weight = made.weight
    if weight.ndim != 2 or hidden.ndim < 1 or hidden.shape[-1] != weight.shape[1]:
        raise ShapeError(
            f"{whose}_hidden of shape {tuple(hidden.shape)} does not fit {whose}_head of shape {tuple(weight.shape)}; "
            "expected [..., D] and [V, D] (classes first, as in nn.Linear)"
        )
    if not (hidden.is_floating_point() and weight.is_floating_point()):
        raise ShapeError(f"{whose}_hidden and {whose}_head are {hidden.dtype} and {weight.dtype}; expected floating-point tensors")
    if hidden.dtype != weight.dtype and not torch.is_autocast_enabled(hidden.device.type):
        raise ShapeError(
            f"{whose}_hidden and {whose}_head are {hidden.dtype} and {weight.dtype}; give both in one type, or run under torch.autocast"
        )
    return made


def _whole(part: Tensor) -> Tensor:
    return part.full_tensor() if hasattr(part, "full_tensor") else part


def same_vocabulary(student: int, teacher: int) -> None:
    """Refuse heads of different numbers of classes."""
    if student != teacher:
        raise ShapeError(
            f"the heads of student and teacher have {student} and {teacher} classes; both must be of one vocabulary. "
            "Where one is only padded, cut it: head.weight[:V]"
        )


def per_token(name: str, shape: tuple[int, ...], leading: tuple[int, ...]) -> None:
    """Refuse what is not of the student's tokens."""
    if tuple(shape) != tuple(leading):
        raise ShapeError(f"{name} is of tokens {tuple(shape)}, student_hidden of tokens {tuple(leading)}; expected the same leading shape")


def classes(name: str, indices: Tensor, vocabulary: int, ignored: int | None = None) -> None:
    """Refuse classes outside the vocabulary; on a CPU only, since elsewhere it would wait for the device (which refuses them itself)."""
    if indices.is_floating_point() or indices.dtype == torch.bool:
        raise ShapeError(f"{name} is {indices.dtype}; expected int64 classes")
    if indices.device.type != "cpu" or not indices.numel():
        return
    outside = (indices < 0) | (indices >= vocabulary)
    if ignored is not None:
        outside &= indices != ignored
    if outside.any():
        raise ShapeError(
            f"{name} holds {int(indices[outside][0])}, which is outside the vocabulary of {vocabulary}"
            + (f"; expected 0 to {vocabulary - 1}, or ignore_index ({ignored}) for none" if ignored is not None else "")
        )


def stored(top_k: TopK, leading: tuple[int, ...], vocabulary: int, temperature: float) -> None:
    """Refuse a stored teacher of other tokens, of other classes, or of another temperature."""
    kept = top_k.indices.shape[-1]
    per_token("top_k", top_k.log_rest.shape, leading)
    if top_k.log_probs.shape != top_k.indices.shape or top_k.indices.shape[:-1] != top_k.log_rest.shape or kept > vocabulary:
        raise ShapeError(
            f"top_k has log_probs, indices and log_rest of shapes {tuple(top_k.log_probs.shape)}, {tuple(top_k.indices.shape)} and "
            f"{tuple(top_k.log_rest.shape)}; expected [..., k], [..., k] and [...], with k at most {vocabulary}"
        )
    classes("top_k.indices", top_k.indices, vocabulary)
    if kept < vocabulary and temperature != top_k.temperature:
        raise OptionError(
            f"the top {kept} of {vocabulary} classes were kept at temperature {top_k.temperature:g}, but temperature is {temperature:g}. "
            "What the classes left out would have at another is not known: use the stored one, or store again"
        )
