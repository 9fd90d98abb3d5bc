"""The linear probe as papers of self-supervised learning run it: a norm without parameters, one linear layer, some epochs of training."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tutelage.errors import DataError, OptionError
from tutelage.evaluate.probe import check_parts

PLACES205: dict[str, Any] = {
    "norm": "batch",
    "optimizer": "SGD",
    "learning_rate": 0.01,
    "weight_decay": 1e-4,
    "epochs": 28,
    "decay": (10, 20),
}
"""Options of the published probe on Places205 (Goyal et al., Scaling and benchmarking self-supervised visual representation learning, ICCV
2019; OBoW, CVPR 2021)."""

IMAGENET: dict[str, Any] = {
    "norm": "none",
    "optimizer": "SGD",
    "learning_rate": 10.0,
    "weight_decay": 0.0,
    "epochs": 100,
    "batch_size": 1024,
    "decay": "cosine",
}
"""Options of OBoW's probe on ImageNet (CVPR 2021)."""


def trained_probe(
    train: Tensor,
    train_labels: Tensor,
    test: Tensor,
    test_labels: Tensor,
    *,
    epochs: int = 100,
    learning_rate: float = 1e-2,
    weight_decay: float = 1e-6,
    batch_size: int = 256,
    norm: Literal["layer", "batch", "none"] = "layer",
    optimizer: Literal["AdamW", "SGD"] = "AdamW",
    momentum: float = 0.9,
    decay: tuple[int, ...] | Literal["cosine"] = (),
    seed: int = 0,
) -> float:
    """Return the test accuracy of a linear classifier that is trained for some epochs on normalised features, in percent.

    Unlike `linear_probe`, which finds the best classifier, it stops after a number of steps, so that classes which only a badly
    conditioned direction tells apart, as in collapsed features, count as not told apart.

    Args:
        train: features `[N, D]`.
        train_labels: int64 `[N]`.
        test: features `[M, D]`.
        test_labels: int64 `[M]`.
        epochs: passes over the training part.
        learning_rate: of the optimizer.
        weight_decay: of the optimizer.
        batch_size: samples per step.
        norm: what comes before the linear layer: `"layer"`, a layer norm; `"batch"`, a batch norm, which tests with its running
            statistics; both without parameters; or `"none"`.
        optimizer: `"AdamW"` or `"SGD"`.
        momentum: of SGD.
        decay: epochs, counted from 0, from which on the learning rate is a tenth of what it was; or `"cosine"`, to 0 over all epochs.
        seed: seed of order and initial weights.

    Returns:
        Accuracy in percent.

    Raises:
        ShapeError: if features and labels do not fit.
        DataError: if features are not finite, or there is one sample for a batch norm.
        OptionError: for numbers that are not positive and names that are not known.

    Source: the defaults are the protocol of arXiv 2511.08544: a layer norm without parameters and a linear layer, weight decay 1e-6.
        `PLACES205` and `IMAGENET` are options of others: `trained_probe(*parts, **PLACES205)`.
    """
    check_parts(train, train_labels, test, test_labels)
    _check_options(epochs, batch_size, learning_rate, weight_decay, norm, optimizer, momentum, decay)
    if norm == "batch" and len(train) < 2:
        raise DataError("A batch norm needs the statistics of at least two samples; the train part has one.")
    classes, width = int(torch.cat([train_labels, test_labels]).max()) + 1, train.shape[1]
    normalise = _norm(norm, width).to(train.device)
    generator = torch.Generator().manual_seed(seed)
    bound = width**-0.5
    weight = torch.empty(classes, width).uniform_(-bound, bound, generator=generator).to(train.device).requires_grad_()
    bias = torch.zeros(classes, device=train.device, requires_grad=True)
    descent: torch.optim.Optimizer
    if optimizer == "SGD":
        descent = torch.optim.SGD([weight, bias], lr=learning_rate, momentum=momentum, weight_decay=weight_decay)
    else:
        descent = torch.optim.AdamW([weight, bias], lr=learning_rate, weight_decay=weight_decay)
    x, y = train.float(), test.float()
    with torch.enable_grad():
        for epoch in range(epochs):
            for group in descent.param_groups:
                group["lr"] = learning_rate * _factor(decay, epoch, epochs)
            for rows in torch.split(torch.randperm(len(x), generator=generator).to(x.device), batch_size):
                if norm == "batch" and len(rows) < 2:
                    continue  # one sample has no spread
                descent.zero_grad()
                F.cross_entropy(F.linear(normalise(x[rows]), weight, bias), train_labels[rows]).backward()  # type: ignore[no-untyped-call]
                descent.step()
    with torch.no_grad():
        answers = F.linear(normalise.eval()(y), weight, bias).argmax(1)
    return 100 * float((answers == test_labels).float().mean())


def _norm(norm: str, width: int) -> nn.Module:
    if norm == "batch":
        return nn.BatchNorm1d(width, affine=False)
    return nn.LayerNorm(width, elementwise_affine=False) if norm == "layer" else nn.Identity()


def _factor(decay: tuple[int, ...] | str, epoch: int, epochs: int) -> float:
    """Share of the learning rate that an epoch has."""
    if isinstance(decay, str):
        return (1 + math.cos(math.pi * epoch / epochs)) / 2
    return float(0.1 ** sum(epoch >= drop for drop in decay))


def _check_options(
    epochs: int, batch_size: int, learning_rate: float, weight_decay: float, norm: str, optimizer: str, momentum: float, decay: Any
) -> None:
    if epochs < 1 or batch_size < 1 or not learning_rate > 0 or weight_decay < 0 or not 0 <= momentum < 1:
        raise OptionError(
            f"trained_probe got epochs={epochs}, batch_size={batch_size}, learning_rate={learning_rate}, weight_decay={weight_decay}, "
            f"momentum={momentum}: expected positive numbers, and a momentum below 1."
        )
    if norm not in ("layer", "batch", "none") or optimizer not in ("AdamW", "SGD"):
        raise OptionError(f"trained_probe got norm={norm!r}, optimizer={optimizer!r}: expected layer, batch or none, and AdamW or SGD.")
    if norm == "batch" and batch_size < 2:
        raise OptionError("trained_probe got batch_size=1 with a batch norm, which needs at least 2.")
    if isinstance(decay, str) and decay != "cosine":
        raise OptionError(f"trained_probe got decay={decay!r}: expected 'cosine' or the epochs at which the learning rate drops.")
