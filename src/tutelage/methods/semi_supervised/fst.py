"""FST: a teacher that has already averaged in the student's virtual next steps labels what the student cannot.

The student walks ahead on trial, the moving average follows it there, and the student is put back to learn from that future teacher.

Reference: Du, Shen, Wang, Fei, Li, Wu, Zhao, Fu, Liu, Learning from Future: A Novel Self-Training Framework for Semantic Segmentation,
NeurIPS 2022, arXiv 2209.06993.
Tags: semi-supervised, domain adaptation, segmentation, self-training, pseudo-label, moving average, look-ahead, ClassMix, pixels
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from tutelage import losses as L
from tutelage import schedules
from tutelage.errors import OptionError
from tutelage.models import tap
from tutelage.selection.confidence import confidence
from tutelage.selection.entropy import entropy_percentile
from tutelage.teachers import EMA, Frozen
from tutelage.train import Batch, Method
from tutelage.train.virtual import Soup, virtual
from tutelage.views import View
from tutelage.views.base import Source, draw
from tutelage.views.mixing import box_mask, class_mask, paste
from tutelage.views.pairs import JointView

if TYPE_CHECKING:
    from tutelage.train.engine import Engine

Future = Literal["none", "step", "deep", "wide"]
Mix = Literal["classmix", "cutmix", "cutout", "none"]


class FST(Method):
    """Self-training with hard pseudo-labels, whose teacher is updated with steps that the student has not taken yet.

    With g the gradient of the losses under the teacher phi: `none` is ordinary self-training, `phi <- EMA(phi, theta)`, then
    `theta <- theta - gamma g(theta, phi)`. `step` lets phi average in one virtual step before the real one,
    `phi <- EMA(phi, theta - gamma g(theta, phi))`; `deep` K virtual steps in a row, phi following theta and each of them; `wide` the
    plain average of N independent ones.

    Batch:
        input: unlabelled images `[N, C, H, W]` in [0, 1]: the target domain, or the large part of the data.
        label: their true labels, where they are known: only to watch how often pseudo-labels are right.
        labelled: a companion stream with `input` and `label`, int64 `[M, H, W]` (or `[M]` for classification).
        virtual_0, virtual_1, ...: for `future="wide"`, one batch of this form for each virtual student.

    Args:
        student: network that learns and is deployed; logits `[N, classes, H, W]`, or `[N, classes]`.
        view: joint view of images and labels that both roles see (crops, flips), or `None`.
        strong: view `(images, generator) -> images` of what the student sees of unlabelled images, after mixing, or `None`.
        task: `"adaptation"` (default) pastes labelled source images into the unlabelled target and weighs its pixels by the
            share of confident ones; `"semi"` drops the most uncertain pixels.
        future: `"none"`, `"step"`, `"deep"` (default) or `"wide"`, as above.
        virtual_steps: K of `deep`, N of `wide`. Default 3 (paper).
        momentum: of the teacher, a number or schedule; the warm-up `min(1 - 1/(n + 1), momentum)` counts its updates. Default 0.999
            (paper, for adaptation; 0.99 for `semi`).
        restore_optimizer: put the optimizer's state back after virtual steps too. Default False (the authors' code).
        threshold: probability from which a pixel counts as confident, for `adaptation`. Default 0.968 (paper).
        drop: share of the most uncertain pixels that are dropped, for `semi`. Default 0.2 (paper).
        mix: what is pasted: `"classmix"` half of the classes of the other image (default), `"cutmix"` a box of it, `"cutout"` a
            grey box, `"none"`.
        mix_probability: share of batches that are mixed, for `semi`. Default 1; the authors' code uses 0.5 there.
        ignore_rows: rows at the top and bottom of unlabelled images that have no weight. Default (0, 0); 15 and 120 on Cityscapes (paper).
        teacher_norm: whose statistics normalise in the teacher: `"batch"` those of the batch (the authors' adaptation code), `"running"`
            the student's running ones (default).
        num_classes: number of classes, for ClassMix.
        ignore_index: label of pixels of no class. Default 255.
        anchor: a frozen encoder whose features the student's should stay near, or `None`; the authors anchor an ImageNet encoder.
        anchor_layer: name of the student's layer with features of the same shape `[N, D, h, w]`.
        anchor_weight: weight of that distance. Default 0.005 (paper).
        anchor_classes: classes on whose pixels the distance counts; all when empty. The authors take the countable things.

    Source: algorithms 1 and 2 of the paper and the released code, whose first step is an ordinary one. The sets it was published on (GTA5,
    SYNTHIA, Cityscapes, VOC 2012) are read by `tutelage.data.segmentation_sets`.
    """

    def __init__(
        self,
        student: nn.Module,
        view: JointView | None = None,
        strong: View | None = None,
        *,
        num_classes: int,
        task: Literal["adaptation", "semi"] = "adaptation",
        future: Future = "deep",
        virtual_steps: int = 3,
        momentum: float | schedules.Schedule = 0.999,
        restore_optimizer: bool = False,
        threshold: float = 0.968,
        drop: float = 0.2,
        mix: Mix = "classmix",
        mix_probability: float = 1.0,
        ignore_rows: tuple[int, int] = (0, 0),
        teacher_norm: Literal["batch", "running"] = "running",
        ignore_index: int = 255,
        anchor: nn.Module | None = None,
        anchor_layer: str = "",
        anchor_weight: float = 0.005,
        anchor_classes: Sequence[int] = (),
    ) -> None:
        super().__init__()
        _check(task=task, future=future, virtual_steps=virtual_steps, mix=mix, teacher_norm=teacher_norm, drop=drop, threshold=threshold)
        if anchor is not None and not anchor_layer:
            raise OptionError("FST got an anchor but no anchor_layer: name the student's layer whose features it is compared with.")
        self.student = student
        self.teacher = EMA(student, momentum, warmup=True)
        self.anchor = None if anchor is None else anchor if isinstance(anchor, Frozen) else Frozen(anchor)
        self.view, self.strong = view, strong
        self.num_classes, self.task, self.future, self.virtual_steps = num_classes, task, future, virtual_steps
        self.restore_optimizer, self.threshold, self.drop = restore_optimizer, threshold, drop
        self.mix, self.mix_probability, self.ignore_rows = mix, mix_probability, ignore_rows
        self.teacher_norm, self.ignore_index = teacher_norm, ignore_index
        self.anchor_layer, self.anchor_weight, self.anchor_classes = anchor_layer, anchor_weight, tuple(anchor_classes)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy with labels, `"labelled"`, that with the teacher's pseudo-labels, `"unlabelled"`, and the `"anchor"`."""
        x, label = self._seen(batch["labelled"]["input"], batch["labelled"]["label"])
        u, truth = self._seen(batch["input"], batch.get("label"))

        teacher = self._teacher_logits(u)
        pseudo_label = teacher.argmax(-1)
        if truth is not None and truth.shape == pseudo_label.shape:
            known = truth != self.ignore_index
            self.log("pseudo_label_accuracy", 100 * (pseudo_label == truth)[known].float().mean())
        mixed, target, weight = self._mixed(x, label, u, pseudo_label, self._weight(teacher))
        if self.strong is not None:
            mixed = self.strong(mixed, self.generator)

        losses = {"labelled": self._labelled(x, label)}
        if self.anchor is not None:
            losses["anchor"] = self.anchor_weight * self._anchor_distance(x, label)
        student = _classes_last(self.student(mixed))
        losses["unlabelled"] = (weight * self._cross_entropy(student, target)).mean()
        return losses

    def step(self, batch: Batch, engine: Engine) -> dict[str, Tensor]:
        """Move the teacher into the student's future, then the student by what that teacher says.

        Args:
            batch: as the class says.
            engine: what moves the student.

        Returns:
            The losses of the real step.
        """
        future = "none" if self.steps_done == 0 else self.future
        if future == "none":
            self._follow()
        elif future == "wide":
            self._wide(batch, engine)
        else:
            self._deep(batch, engine, steps=1 if future == "step" else self.virtual_steps, follow_first=future == "deep")
        losses = self._move(batch, engine)
        if future == "wide" or (self.task == "semi" and future == "deep"):
            self._follow()
        return losses

    def update_teachers(self) -> None:
        """Do nothing: `step` moves the teacher at its own moments."""

    def _deep(self, batch: Batch, engine: Engine, *, steps: int, follow_first: bool) -> None:
        with virtual(engine, self.student, restore_optimizer=self.restore_optimizer):
            for number in range(steps):
                if follow_first or number > 0:
                    self._follow()
                self._move(batch, engine)
            self._follow()

    def _wide(self, batch: Batch, engine: Engine) -> None:
        soup = Soup(self.student)
        with virtual(engine, self.student, restore_optimizer=self.restore_optimizer):
            for number in range(self.virtual_steps):
                with virtual(engine, self.student, restore_optimizer=self.restore_optimizer):
                    self._move(batch[f"virtual_{number}"], engine)
                    soup.add()
            soup.serve()
            self._follow()

    def _follow(self) -> None:
        self.teacher.update(self.progress)

    def _move(self, batch: Batch, engine: Engine) -> dict[str, Tensor]:
        with engine.autocast():
            losses = self.losses(batch)
        engine.backward(torch.stack(list(losses.values())).sum())
        engine.move("student")
        return losses

    def _seen(self, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return (images, labels) if self.view is None else self.view(images, labels, self.generator)

    def _teacher_logits(self, images: Tensor) -> Tensor:
        if self.teacher_norm == "batch":
            for module in self.teacher.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.training = True
        return _classes_last(self.teacher(images))

    def _weight(self, teacher: Tensor) -> Tensor:
        """Return the weight of every prediction of the teacher's, `[N, H, W]` or `[N]`."""
        if self.task == "semi":
            kept = entropy_percentile(teacher, 1 - self.drop)
            weight = kept * (kept.numel() / kept.sum().clamp_min(1))
        else:
            weight = confidence(teacher.softmax(-1), self.threshold).mean().expand(teacher.shape[:-1]).clone()
        top, bottom = self.ignore_rows
        if weight.ndim == 3 and top + bottom:
            weight[:, :top] = 0
            weight[:, weight.shape[1] - bottom :] = 0
        return weight

    def _mixed(self, x: Tensor, label: Tensor | None, u: Tensor, pseudo_label: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return what the student sees of the unlabelled images, with labels and weights: source is pasted with weight 1."""
        if self.mix == "none" or pseudo_label.ndim == 1:
            return u, pseudo_label, weight
        if self.task == "semi":
            if self.mix_probability < 1 and not _happens(self.mix_probability, u, self.generator):
                return u, pseudo_label, weight
            source, source_label, source_weight = u.roll(1, 0), pseudo_label.roll(1, 0), weight.roll(1, 0)
        else:
            assert label is not None
            rows = torch.arange(len(u), device=u.device) % len(x)
            source, source_label, source_weight = x[rows], label[rows], torch.ones_like(weight)
        if self.mix == "cutout":
            mask = box_mask((len(u), *u.shape[-2:]), u, self.generator, area=0.25)
            return u.masked_fill(mask[:, None], 0.5), pseudo_label, weight.masked_fill(mask, 0)
        if self.mix == "cutmix":
            mask = box_mask((len(u), *u.shape[-2:]), u, self.generator)
        else:
            mask = class_mask(source_label, self.num_classes, self.generator, ignore_index=self.ignore_index)
        return paste(mask, source, u), paste(mask, source_label, pseudo_label), paste(mask, source_weight, weight)

    def _labelled(self, x: Tensor, label: Tensor | None) -> Tensor:
        assert label is not None
        loss = self._cross_entropy(_classes_last(self.student(x)), label)
        return L.mean(loss, (label != self.ignore_index).float())

    def _cross_entropy(self, logits: Tensor, label: Tensor) -> Tensor:
        return L.cross_entropy(logits, label.masked_fill(label == self.ignore_index, -100))

    def _anchor_distance(self, x: Tensor, label: Tensor | None) -> Tensor:
        assert self.anchor is not None
        with tap(self.student, self.anchor_layer) as found:
            self.student(x)
        own, fixed = found[self.anchor_layer], self.anchor(x)
        distance = (own - fixed).norm(dim=1)
        if not self.anchor_classes or label is None:
            mean: Tensor = distance.mean()
            return mean
        inside = torch.isin(label, torch.tensor(self.anchor_classes, device=label.device)).float()
        share = nn.functional.adaptive_avg_pool2d(inside[:, None], distance.shape[-2:])[:, 0]
        return L.mean(distance, (share > 0.75).float())


def _happens(probability: float, images: Tensor, generator: Source) -> bool:
    return bool(draw(1, images, generator)[0, 0] < probability)


def _classes_last(logits: Tensor) -> Tensor:
    moved: Tensor = logits.movedim(1, -1)
    return moved


def _check(**given: Any) -> None:
    known = {
        "task": ("adaptation", "semi"),
        "future": ("none", "step", "deep", "wide"),
        "mix": ("classmix", "cutmix", "cutout", "none"),
        "teacher_norm": ("batch", "running"),
    }
    for name, values in known.items():
        if given[name] not in values:
            raise OptionError(f"{name} is '{given[name]}'; expected one of {', '.join(values)}.")
    steps, drop, threshold = given["virtual_steps"], given["drop"], given["threshold"]
    if steps < 0:
        raise OptionError(f"virtual_steps is {steps}; expected 0 or more. 3 is the paper's.")
    if not 0 <= drop < 1 or not 0 <= threshold <= 1:
        raise OptionError(f"drop is {drop} and threshold {threshold}; expected a share in [0, 1) and a probability in [0, 1].")
