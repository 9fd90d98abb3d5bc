"""Kernels: a network's tangent kernel, how it is aligned with the labels, and what regression with it would learn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from tutelage.errors import OptionError, ShapeError

Centring = Literal["columns", "both"]


def tangent_kernel(model: nn.Module, inputs: Tensor, others: Tensor | None = None, *, chunk: int | None = None) -> Tensor:
    """Return the Gram matrix of per-sample gradients of a network's answers, summed over its outputs.

    Args:
        model: a network without batch statistics, of answers `[N]` or `[N, C]`; its trainable parameters count.
        inputs: `[N, ...]`.
        others: `[M, ...]`; by default the inputs themselves.
        chunk: samples whose gradients are held at once while they are computed; all by default.

    Returns:
        `[N, M]`.

    Raises:
        ShapeError: if nothing in the network is trainable.

    Source: Jacot, Gabriel, Hongler, Neural Tangent Kernel, NeurIPS 2018.
    """
    weights = {name: value.detach() for name, value in model.named_parameters() if value.requires_grad}
    if not weights:
        raise ShapeError(f"This {type(model).__name__} has no parameter that requires a gradient: its tangent kernel is empty.")

    def one(values: dict[str, Tensor], sample: Tensor) -> Tensor:
        found: Tensor = functional_call(model, values, (sample[None],))
        return found.flatten()

    per_sample = vmap(jacrev(one), in_dims=(None, 0), chunk_size=chunk)
    left = per_sample(weights, inputs)
    right = left if others is None else per_sample(weights, others)
    parts = [left[name].flatten(1) @ right[name].flatten(1).mT for name in weights]
    return torch.stack(parts).sum(0)


def centre(kernel: Tensor, centring: Centring = "both") -> Tensor:
    """Subtract means from a kernel: of every column, or of columns and rows.

    Args:
        kernel: `[..., N, N]`.
        centring: which.
    """
    if centring not in ("columns", "both"):
        raise OptionError(f"centring is '{centring}'; expected columns or both.")
    centred = kernel - kernel.mean(-2, keepdim=True)
    return centred if centring == "columns" else centred - centred.mean(-1, keepdim=True)


def cka(kernel: Tensor, target: Tensor, *, centring: Centring = "columns") -> Tensor:
    """Return the alignment of a kernel with labels, `y_c' K_c y_c / (|K_c| |y_c|^2)`: 1 where the kernel is `y_c y_c'`.

    Args:
        kernel: `[..., N, N]`.
        target: `[..., N]`.
        centring: of the kernel; `columns` as in the study of grokking, `both` as in Cortes et al.

    Returns:
        `[...]`, in [-1, 1]; 0 for a kernel or labels that are constant.

    Source: Cortes, Mohri, Rostamizadeh, Algorithms for Learning Kernels Based on Centered Alignment, JMLR 2012.
    """
    _square(kernel, target)
    labels = target - target.mean(-1, keepdim=True)
    centred = centre(kernel, centring)
    product = torch.einsum("...i,...ij,...j->...", labels, centred, labels)
    size = torch.linalg.matrix_norm(centred) * (labels**2).sum(-1)
    return torch.where(size > 0, product / size.clamp_min(torch.finfo(size.dtype).tiny), torch.zeros_like(size))


def kernel_change(kernel: Tensor, start: Tensor) -> Tensor:
    """Return how far a kernel has moved, `|K - K_0| / |K_0|` in the Frobenius norm.

    Args:
        kernel: `[..., N, M]`.
        start: the kernel at initialisation, of the same shape.
    """
    found: Tensor = torch.linalg.matrix_norm(kernel - start) / torch.linalg.matrix_norm(start)
    return found


def kernel_regression(kernel: Tensor, target: Tensor, cross: Tensor, *, ridge: float = 0.0) -> Tensor:
    """Predict by regression with a kernel: `cross (K + ridge I)^-1 y`, of least norm where K has no inverse.

    Args:
        kernel: of the training samples, `[N, N]`.
        target: `[N]`.
        cross: between test and training samples, `[M, N]`.
        ridge: penalty, at least 0, in units of the kernel.

    Returns:
        `[M]`.
    """
    _square(kernel, target)
    if ridge < 0:
        raise OptionError(f"ridge is {ridge}; expected a number of at least 0.")
    values, vectors = torch.linalg.eigh(kernel)
    dual: Tensor = vectors @ (_inverse(values, ridge) * (vectors.mT @ target))
    return cross @ dual


def kernel_descent(kernel: Tensor, target: Tensor, cross: Tensor, *, rate: float, steps: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return what a linearised network predicts after given numbers of full-batch steps from 0, in closed form.

    The loss is the mean squared error, each step `f <- f - rate * (2 / N) K (f - y)`.

    Args:
        kernel: tangent kernel of the training samples, `[N, N]`.
        target: `[N]`; what the network says at the start is subtracted beforehand.
        cross: between test and training samples, `[M, N]`.
        rate: length of a step.
        steps: numbers of steps, at least 0 each.

    Returns:
        Predictions on training samples `[T, N]` and on test samples `[T, M]`.

    Raises:
        OptionError: if the steps are so long that the descent diverges.
    """
    _square(kernel, target)
    values, vectors = torch.linalg.eigh(kernel)
    values = values.clamp_min(0.0)
    pace = rate * 2 / len(target) * values
    if float(pace.max()) >= 2:
        raise OptionError(f"rate is {rate:g}, but this kernel diverges above {rate * 2 / float(pace.max()):g}: take a smaller one.")
    count = torch.tensor(list(steps), dtype=kernel.dtype)[:, None]
    # log1p keeps the slow directions, in which nearly nothing happens per step, exact over many steps.
    kept = torch.where(pace < 1, torch.exp(count * torch.log1p(-pace.clamp_max(1 - 1e-16))), (1 - pace) ** count)
    slow = pace < 1e-14
    share = torch.where(slow, count * rate * 2 / len(target), (1 - kept) / values.clamp_min(torch.finfo(values.dtype).tiny))
    dual = (share * (vectors.mT @ target)) @ vectors.mT
    return dual @ kernel.mT, dual @ cross.mT


def _inverse(values: Tensor, ridge: float) -> Tensor:
    """Inverse eigenvalues; those that are zero up to rounding, of a singular kernel without a ridge, are left out."""
    floor = len(values) * torch.finfo(values.dtype).eps * float(values.abs().max())
    shifted = values + ridge
    return torch.where(shifted > floor, 1 / shifted.clamp_min(torch.finfo(values.dtype).tiny), torch.zeros_like(values))


def _square(kernel: Tensor, target: Tensor) -> None:
    if kernel.ndim < 2 or kernel.shape[-1] != kernel.shape[-2] or target.shape[-1:] != kernel.shape[-1:]:
        raise ShapeError(f"A kernel {list(kernel.shape)} does not fit labels {list(target.shape)}: expected [..., N, N] and [..., N].")
