"""Prototype classifiers: the cosine between a feature and one prototype per class, without training or with a few labelled samples."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tutelage.errors import OptionError, ShapeError, TrainingError


def prototypes(embeddings: Tensor | Sequence[Tensor], classes: Tensor | None = None) -> Tensor:
    """Return one prototype per class: the mean of its normalised embeddings, not normalised itself.

    Args:
        embeddings: `[M, D]` of M prompts (or pictures), with `classes`; or one tensor `[m, D]` per class.
        classes: int64 `[M]`, the class of each; every class from 0 to the largest has at least one.

    Returns:
        float `[C, D]`.

    Raises:
        ShapeError: if the two do not fit, or a class has no embedding.
    """
    if not isinstance(embeddings, Tensor):
        groups = list(embeddings)
        classes = torch.arange(len(groups)).repeat_interleave(torch.tensor([len(group) for group in groups]))
        embeddings = torch.cat(groups)
    if classes is None or embeddings.ndim != 2 or classes.shape != embeddings.shape[:1]:
        got = None if classes is None else list(classes.shape)
        raise ShapeError(f"prototypes takes embeddings [M, D] and a class for each; got {list(embeddings.shape)} and {got}.")
    counts = classes.bincount()
    if not len(counts) or bool((counts == 0).any()):
        raise ShapeError(f"prototypes needs an embedding of every class; none of class {(counts == 0).nonzero().flatten().tolist()}.")
    sums = embeddings.new_zeros(len(counts), embeddings.shape[1]).index_add_(
        0, classes.to(embeddings.device), F.normalize(embeddings, dim=1)
    )
    return sums / counts.to(sums).unsqueeze(1)


class ZeroShot(nn.Module):
    """Classifies by `scale * cos(feature, prototype)`.

    Args:
        encoder: from inputs to features `[N, D]`.
        prototypes: `[C, D]`, one per class, of any length.
        scale: of the cosines, above 0: what CLIP calls the logit scale. Default 100, to which CLIP's is clipped.

    Raises:
        OptionError: if the scale is not above 0.
        ShapeError: if the prototypes are not `[C, D]`.

    Source:
        Radford et al. 2021, section 3.1.
    """

    prototypes: Tensor

    def __init__(self, encoder: nn.Module, prototypes: Tensor, *, scale: float = 100.0) -> None:
        super().__init__()
        if not scale > 0:
            raise OptionError(f"scale is {scale}; expected a number above 0. CLIP has 100.")
        if prototypes.ndim != 2 or not len(prototypes):
            raise ShapeError(f"Prototypes are [C, D], one per class; got shape {list(prototypes.shape)}.")
        self.encoder = encoder
        self.scale = scale
        self.register_buffer("prototypes", prototypes.detach().clone())

    def classify(self, features: Tensor) -> Tensor:
        """Return logits `[N, C]` of features `[N, D]`.

        Raises:
            ShapeError: if features and prototypes differ in length.
        """
        if features.ndim != 2 or features.shape[1] != self.prototypes.shape[1]:
            raise ShapeError(f"Features of shape {list(features.shape)} do not fit prototypes of shape {list(self.prototypes.shape)}.")
        return cosine_logits(features, self.prototypes, self.scale)

    def forward(self, inputs: Any) -> Tensor:
        """Return logits `[N, C]`."""
        return self.classify(self.encoder(inputs))


def cosine_logits(features: Tensor, weights: Tensor, scale: float) -> Tensor:
    """Return `scale * cos(feature, weight)` as `[N, C]`, for features `[N, D]` and weights `[C, D]`."""
    return scale * F.normalize(features, dim=1) @ F.normalize(weights, dim=1).T


def constraint_multipliers(logits: Tensor, labels: Tensor) -> Tensor:
    """Return how well each class is known without training: the mean probability of the right class over its labelled samples.

    Args:
        logits: zero-shot logits of labelled samples, `[N, C]`.
        labels: int64 `[N]`.

    Returns:
        a_c in [0, 1], float `[C]`; 1 for a class without samples, which nothing should move (ours).

    Source:
        Silva-Rodriguez et al., "A Closer Look at the Few-Shot Adaptation of Large Vision-Language Models" (CLAP), CVPR 2024.
    """
    right = logits.softmax(1).gather(1, labels.unsqueeze(1)).squeeze(1)
    counts = labels.bincount(minlength=logits.shape[1]).to(right)
    return torch.where(counts > 0, torch.zeros_like(counts).index_add_(0, labels, right) / counts.clamp_min(1), 1.0)


def few_shot(
    model: ZeroShot,
    features: Tensor,
    labels: Tensor,
    *,
    constraint: float = 1.0,
    passes: int = 300,
    learning_rate: float = 0.01,
    momentum: float = 0.9,
    warmup: float = 0.1,
    batch_size: int = 256,
    seed: int = 0,
) -> ZeroShot:
    """Fit the prototypes to a few labelled samples, each held to where it started by how good it already was (CLAP).

    Minimises `CE + constraint * mean_c a_c ||w_c - t_c||^2` by SGD with linear warm-up and decay, t_c being the prototypes of `model`
    and a_c their `constraint_multipliers`. The encoder stays as it is.

    Args:
        model: the zero-shot classifier to start from; it is not changed.
        features: of the labelled samples, `[N, D]`: `model.encoder(inputs)`.
        labels: int64 `[N]`.
        constraint: multiplies all a_c; 0 is a plain linear probe, infinity leaves the zero-shot classifier as it is. Default 1.
        passes: over the samples. Default 300.
        learning_rate: of SGD. Default 0.01.
        momentum: of SGD. Default 0.9.
        warmup: share of the steps in which the learning rate rises. Default 0.1.
        batch_size: samples per step. Default 256.
        seed: of the order.

    Returns:
        A classifier with the same encoder and prototypes of its own.

    Raises:
        OptionError: for numbers out of range.
        ShapeError: if features or labels do not fit the model.
        TrainingError: if it diverges.

    Source:
        CLAP, CVPR 2024, with the settings of arXiv 2506.00910.
    """
    if constraint < 0 or passes < 1 or learning_rate <= 0 or not 0 <= momentum < 1 or not 0 <= warmup < 1 or batch_size < 1:
        raise OptionError(
            f"few_shot got constraint={constraint}, passes={passes}, learning_rate={learning_rate}, momentum={momentum}, warmup={warmup}, "
            f"batch_size={batch_size}; expected none below 0, at least one pass and one sample, momentum and warmup below 1."
        )
    with torch.no_grad():
        anchors, zero_shot = model.prototypes, model.classify(features)
    if labels.shape != features.shape[:1] or not len(labels) or int(labels.min()) < 0 or int(labels.max()) >= len(anchors):
        raise ShapeError(f"few_shot takes a label from 0 to {len(anchors) - 1} for each of at least one feature; got {list(labels.shape)}.")
    if math.isinf(constraint):
        return _with_prototypes(model, anchors)
    held = constraint * constraint_multipliers(zero_shot, labels)
    weights = nn.Parameter(anchors.clone())
    optimizer = torch.optim.SGD([weights], lr=learning_rate, momentum=momentum)
    steps = passes * math.ceil(len(labels) / batch_size)
    generator = torch.Generator().manual_seed(seed)
    step = 0
    with torch.enable_grad():
        for _ in range(passes):
            for rows in torch.split(torch.randperm(len(labels), generator=generator).to(labels.device), batch_size):
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate * _ramp(step / steps, warmup, 1 / steps)
                loss = F.cross_entropy(cosine_logits(features[rows], weights, model.scale), labels[rows])
                loss = loss + (held * (weights - anchors).square().sum(1)).mean()
                (weights.grad,) = torch.autograd.grad(loss, [weights])
                optimizer.step()
                step += 1
    if not bool(weights.isfinite().all()):
        raise TrainingError(
            f"few_shot diverged. Lower learning_rate ({learning_rate}) or constraint ({constraint}; infinity is zero-shot)."
        )
    return _with_prototypes(model, weights)


def _ramp(progress: float, warmup: float, least: float) -> float:
    """Linear warm-up from `least`, linear decay to 0."""
    return max(progress / warmup, least) if progress < warmup else (1 - progress) / (1 - warmup)


def _with_prototypes(model: ZeroShot, weights: Tensor) -> ZeroShot:
    fitted = copy.copy(model)  # the encoder is shared, not copied
    fitted._buffers = {**model._buffers, "prototypes": weights.detach().clone()}
    return fitted
