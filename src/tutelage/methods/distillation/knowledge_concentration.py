"""Knowledge Concentration: one student learns the classes of many specialist teachers, each an expert of a part of a very large label set.

An image's label says which specialist looks at it, so only that one runs; its sigmoid probabilities are the student's soft targets, and
learned gammas let the parts of the label set be learned at their own pace.

Reference: Gao, Guo, Li, Nevatia, Knowledge Concentration: Learning 100K Object Classifiers in a Single CNN, 2017, arXiv 1711.07607.
Tags: distillation, compression, merging, specialists, multi-teacher, routing, multi-label, label tree, self-paced, classification
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tutelage import losses as L
from tutelage.errors import OptionError, ShapeError
from tutelage.models.structured import SelfPacedScale
from tutelage.targets import truncate
from tutelage.teachers import Routed
from tutelage.train import Batch, Method
from tutelage.views import View


class KnowledgeConcentration(Method):
    """Sigmoid distillation from the specialist of each image's vertical into one student of all classes.

    Batch:
        input: what student and specialists take, for images float32 `[N, C, H, W]` in [0, 1].
        vertical: the vertical of each image, int64 `[N]`, or all verticals of its labels, bool `[N, M]`. May be absent: then it is read
            from `target` or `label`.
        target: true labels, multi-hot `[N, L]`, closed under ancestors. Needed for `label_weight` or without `vertical`.
        label: int64 `[N]`, in place of `target` where each image has one label.

    Args:
        student: network with raw scores `[N, L]`, for instance a body with a `StructuredHead`.
        specialists: `Routed(teachers, outputs)`, one teacher per vertical; each class belongs to one of them.
        view: augmentation `(images, generator) -> images` that student and specialist both see, or `None`.
        top_k: probabilities of each specialist that are kept, a count; the others are set to 0. Default 100 (paper).
        self_paced: normalise the scores and scale them by gammas, one per "vertical" (default, the paper's best) or per "class"; "none"
            takes the scores as they are.
        gamma: mean of the initial gammas: "sqrt" for the square root of the vertical's number of classes (default, the paper's best), or
            a number; the paper also tried 10.
        gamma_variance: variance of the initial gammas. Default 1e-3 (paper).
        learn_gamma: train the gammas (default); the paper also tried to fix them, without variance.
        norm_scope: the norm of the scores runs over the classes of each "vertical" (default, ours, suggested by the square root) or "all".
        label_weight: weight of the same loss with the true labels, added to it. Default 0 (ours; the paper has no such term).
        several: soft targets of an image whose labels lie in several verticals: the "union" averages, for each class, those specialists
            that know it (default, ours); "mean" averages whole targets, so that each specialist counts a share.

    Source: the student's loss, self-paced learning and training procedure of the paper.
    """

    verticals: Tensor

    def __init__(
        self,
        student: nn.Module,
        specialists: Routed,
        view: View | None = None,
        *,
        top_k: int = 100,
        self_paced: Literal["vertical", "class", "none"] = "vertical",
        gamma: float | Literal["sqrt"] = "sqrt",
        gamma_variance: float = 1e-3,
        learn_gamma: bool = True,
        norm_scope: Literal["vertical", "all"] = "vertical",
        label_weight: float = 0.0,
        several: Literal["union", "mean"] = "union",
    ) -> None:
        super().__init__()
        if top_k < 1:
            raise OptionError(f"top_k is {top_k}; expected at least 1 probability to keep. The paper keeps 100.")
        if label_weight < 0 or gamma_variance < 0:
            raise OptionError(f"label_weight is {label_weight} and gamma_variance {gamma_variance}; expected numbers of at least 0.")
        if several not in ("union", "mean"):
            raise OptionError(f"several={several!r} is not known; choose 'union' or 'mean'.")
        self.register_buffer("verticals", vertical_of_classes(specialists), persistent=False)
        self.specialists = specialists
        self.view = view
        self.top_k = top_k
        self.label_weight = label_weight
        self.several = several
        self.student = student
        if self_paced != "none":
            std = gamma_variance**0.5
            scale = SelfPacedScale(self.verticals, level=self_paced, gamma=gamma, std=std, learned=learn_gamma, norm_scope=norm_scope)
            self.student = nn.Sequential(student, scale)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the loss with the specialists' soft targets as `"kd"` and, with a `label_weight`, that with the labels as `"label"`."""
        x = batch["input"] if self.view is None else self.view(batch["input"], self.generator)
        soft = self.soft_targets(x, self.route(batch))
        scores = self.student(x)

        losses = {"kd": label_loss(scores, soft)}
        if self.label_weight:
            losses["label"] = self.label_weight * label_loss(scores, labels(batch, scores.shape[1]))
        return losses

    def route(self, batch: Batch) -> Tensor:
        """Return which specialists look at each image: int64 `[N]` or bool `[N, M]`."""
        if "vertical" in batch:
            route: Tensor = batch["vertical"]
            return route
        if "label" in batch:
            return self.verticals[batch["label"]]
        members = F.one_hot(self.verticals, len(self.specialists.teachers)).float()
        return (labels(batch, len(self.verticals)).float() @ members) > 0

    def soft_targets(self, x: Tensor, route: Tensor) -> Tensor:
        """Return z*: of each asked specialist the `top_k` highest probabilities, 0 for the rest and for all other verticals.

        Args:
            x: inputs `[N, ...]`.
            route: int64 `[N]` or bool `[N, M]`.

        Returns:
            Soft targets `[N, L]` in [0, 1].
        """
        probs = self.specialists(x, route).sigmoid()
        soft = torch.zeros_like(probs)
        for own in self.specialists.outputs:
            soft[:, own] = truncate(probs[:, own], self.top_k)
        if self.several == "mean" and route.dtype == torch.bool:
            soft = soft / route.sum(1, keepdim=True).clamp_min(1)
        return soft


class LabelTraining(Method):
    """Training with multi-label targets: how each specialist is made, and the generalist that is its baseline.

    Batch:
        input: what the student takes.
        target: true labels, multi-hot `[N, L]`, closed under ancestors.

    Args:
        student: network with raw scores `[N, L]`, or `[N, len(classes)]`.
        classes: the columns of `target` that the student knows, int64; all when `None`. A specialist knows those of its vertical.
        view: augmentation `(images, generator) -> images`, or `None`.

    Source: the specialists' loss of the paper.
    """

    classes: Tensor | None

    def __init__(self, student: nn.Module, classes: Tensor | None = None, view: View | None = None) -> None:
        super().__init__()
        self.student = student
        self.view = view
        self.register_buffer("classes", classes, persistent=False)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the sum over classes of the sigmoid cross-entropy, averaged over images, as `"label"`."""
        x = batch["input"] if self.view is None else self.view(batch["input"], self.generator)
        target = batch["target"] if self.classes is None else batch["target"][:, self.classes]
        return {"label": label_loss(self.student(x), target)}


class OneVersusRest(nn.Module):
    """A softmax classifier as a teacher of this method: scores whose sigmoids are its class probabilities.

    Args:
        model: network with logits `[N, C]` of classes that exclude each other.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Return the log-odds `log p - log(1 - p)` of each class, `[N, C]`, bounded to stay finite."""
        log_p: Tensor = self.model(x).float().log_softmax(-1)
        return (log_p - torch.log(-torch.expm1(log_p))).clamp(-50, 50)


def label_loss(scores: Tensor, target: Tensor) -> Tensor:
    """Return the paper's loss: sigmoid cross-entropy, summed over classes and averaged over images.

    Args:
        scores: `[N, L]`.
        target: probabilities or labels `[N, L]`.

    Returns:
        Scalar.

    Raises:
        ShapeError: if the scores do not have one column per class.
    """
    if scores.shape != target.shape:
        raise ShapeError(f"The student's scores have shape {list(scores.shape)}; expected one per class, {list(target.shape)}.")
    return L.mean(L.sigmoid_cross_entropy(scores, target.to(scores.dtype)).sum(1))


def labels(batch: Batch, num_classes: int) -> Tensor:
    """Return the multi-hot labels `[N, L]` of a batch, from `target` or from single labels in `label`."""
    if "target" in batch:
        target: Tensor = batch["target"]
        return target
    return F.one_hot(batch["label"], num_classes)


def vertical_of_classes(specialists: Routed) -> Tensor:
    """Return the vertical of each class, int64 `[L]`: the specialist that knows it.

    Raises:
        OptionError: if a class is known to no specialist or to several.
    """
    known = torch.cat(specialists.outputs)
    counts = torch.bincount(known, minlength=specialists.num_classes)
    wrong = counts.ne(1).nonzero().flatten().tolist()
    if wrong:
        raise OptionError(
            f"Each class belongs to exactly one specialist, but class {wrong[0]} is known to {int(counts[wrong[0]])} "
            f"({len(wrong)} such classes of {specialists.num_classes}); correct the `outputs` of Routed."
        )
    verticals = torch.zeros_like(counts)
    for vertical, own in enumerate(specialists.outputs):
        verticals[own] = vertical
    return verticals
