"""SeFAR: learns fine-grained actions from few labelled clips, with short reversed elements and pseudo-labels weighed by a teacher's doubt.

A moving-average teacher names each clip in several passes with dropout; the student must agree with it on a draw of frames whose fine
elements run backwards, and on mixtures of two such clips.

Reference: Huang, Chen, Xu, Jia, Sun, Shao, SeFAR: Semi-supervised Fine-grained Action Recognition with Temporal Perturbation and Learning
Stabilization, AAAI 2025, arXiv 2501.01245.
Tags: semi-supervised, video, action recognition, pseudo-label, moving average, uncertainty, dropout, temporal, token mixing, FixMatch
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor

from tutelage import losses as L
from tutelage import schedules
from tutelage.errors import OptionError, nearest
from tutelage.models.video import ElementNet
from tutelage.selection.adaptive_regulation import adaptive_regulation
from tutelage.selection.confidence import confidence
from tutelage.teachers import EMA, without_graph
from tutelage.teachers.uncertainty import MeanAndSpread, dropouts, passes
from tutelage.train import Batch, Method
from tutelage.views import View
from tutelage.views.temporal import Perturbation, beta, channel_dropout, mix_tokens, perturb, tube_mask

Weighting = Literal["adaptive", "none", "threshold"]
_RAMP = schedules.sine(0.0, 1.0)


class SeFAR(Method):
    """Semi-supervised learning on temporal elements: cross-entropy with labels, and two consistencies with a moving-average teacher.

    `L = L_sup + xi (gamma_1 L_un + gamma_2 L_mix)`, where over the teacher's passes `p` is the mean probability of the top class, `s` its
    standard deviation, `eta = eta(p, s)` the weight, and `z` the student's answer:
    `L_un = mean_i eta_i CE(z(strong_i), argmax pbar_i)`,
    `L_mix = mean_i eta_mix,i mean_c (z_c(mixed_i) - ytilde_i,c)^2`, all of `mixed`, `ytilde` and `eta_mix` being `lambda` of clip i and
    `1 - lambda` of its partner.

    Learning is supervised in the warm-up epochs; the teacher is then a copy of the student and follows it from there on.

    Batch:
        input: unlabelled clips, `[N, T, C, H, W]`, uint8 or float in [0, 1], or a list of clips on disk (`data.video`).
        label: their true labels, where they are known: only to watch how often pseudo-labels are right.
        labelled: a companion stream with `input` of the same kind and `label`, int64 `[M]`. The paper takes N = 3 M.

    Args:
        student: network of temporal elements that learns and is deployed (`models.ElementNet`, such as `TimeSformer`).
        view: geometric view of labelled clips, `(images, generator) -> images`, or `None`; drawn for each element. The paper's:
            `short_side_crop()`, then `horizontal_flip()`.
        weak: likewise, of what the teacher sees of unlabelled clips. The paper's: `short_side_crop()`.
        strong: likewise, of what the student sees of them. The paper's: that of labelled clips.
        epochs: length of the training, at whose end the ramp reaches 1. Default 30 (paper).
        warmup_epochs: epochs of supervised learning. Default 5 (paper).
        momentum: of the teacher, a number or schedule. Default 0.9999 (paper).
        count: passes of the teacher, M. Default 10 (the authors' code).
        dropout: whether the teacher's dropout is on; otherwise it answers once and is never in doubt. Default True.
        perturbation: `"reverse"` turns the fine elements of strong views round in time (default); `"reverse-all"` the context too;
            `"shuffle"` puts frames of every element into random order; `"none"`.
        channel_drop: probability of blanking a channel of a strong view. Default 0.2 (the authors' code).
        weighting: `"adaptive"` is eta (default); `"none"` believes everything; `"threshold"` what reaches `threshold`, as FixMatch.
        threshold: least mean probability for `"threshold"`. Default 0.95 (FixMatch).
        gamma_unlabelled: weight of `L_un`. Default 2 (the authors' code).
        gamma_mixed: weight of `L_mix`. Default 2 (the authors' code).
        mix_alpha: of the Beta distribution of lambda. Default 10 (the authors' code).
        mix_output: what of the student is compared with mixed distributions: its `"logits"` (default, the authors' code) or its
            `"softmax"`.
        ramp: xi as a schedule of the share of the epochs after the warm-up, the running one included. Default a quarter of a
            sine wave from 0 to 1 (the authors' code).
        eval_draws: random draws of elements that an answer of the deployed student averages; 0 for the frames in the middle of the bins.
            Default 1 (paper).
        eval_view: geometric view of clips that are answered, such as `short_side_crop(224, short=(224, 224), centre=True)`, or `None`.

    Source: the authors' code where the paper's text was not at hand. Unlike that code, which reverses the axis of colours, elements are
    reversed in time as the paper says; one permutation serves all elements; and the partner's channels are dropped as well.
    """

    student: ElementNet

    def __init__(
        self,
        student: ElementNet,
        view: View | None = None,
        weak: View | None = None,
        strong: View | None = None,
        *,
        epochs: int = 30,
        warmup_epochs: int = 5,
        momentum: float | schedules.Schedule = 0.9999,
        count: int = 10,
        dropout: bool = True,
        perturbation: Perturbation = "reverse",
        channel_drop: float = 0.2,
        weighting: Weighting = "adaptive",
        threshold: float = 0.95,
        gamma_unlabelled: float = 2.0,
        gamma_mixed: float = 2.0,
        mix_alpha: float = 10.0,
        mix_output: Literal["logits", "softmax"] = "logits",
        ramp: float | schedules.Schedule = _RAMP,
        eval_draws: int = 1,
        eval_view: View | None = None,
    ) -> None:
        super().__init__()
        _check(perturbation=perturbation, weighting=weighting, mix_output=mix_output)
        if not 0 <= warmup_epochs < epochs:
            raise OptionError(f"warmup_epochs is {warmup_epochs} of epochs {epochs}: expected at least 0, and fewer than there are.")
        if min(gamma_unlabelled, gamma_mixed, eval_draws) < 0 or count < 1 or not 0 <= channel_drop < 1 or not mix_alpha > 0:
            raise OptionError(
                f"SeFAR got gamma_unlabelled={gamma_unlabelled}, gamma_mixed={gamma_mixed}, count={count}, "
                f"channel_drop={channel_drop}, mix_alpha={mix_alpha}, eval_draws={eval_draws}; expected weights and draws of 0 or more, "
                "at least one pass, a probability below 1 and an alpha above 0."
            )
        if not isinstance(student, ElementNet):
            raise OptionError(
                f"SeFAR got a {type(student).__name__} as its student: expected a models.ElementNet, which sees temporal elements."
            )
        self.student = student
        self.teacher = EMA(student, momentum, buffers="average")
        self.view, self.weak, self.strong = view, weak, strong
        self.epochs, self.warmup_epochs, self.count, self.dropout = epochs, warmup_epochs, count, dropout
        self.perturbation: Perturbation = perturbation
        self.channel_drop, self.weighting, self.threshold = channel_drop, weighting, threshold
        self.gamma_unlabelled, self.gamma_mixed = gamma_unlabelled, gamma_mixed
        self.mix_alpha, self.mix_output, self.ramp, self.eval_draws = mix_alpha, mix_output, ramp, eval_draws
        self.eval_view = eval_view
        self._followed: int | None = None

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return `"supervised"` and, after the warm-up, the weighted `"unlabelled"` and `"mixed"`.

        Logs `pseudo_label_accuracy` in percent where labels are known, and the means of `confidence`, `spread` and `weight`.
        """
        labelled = self.student.elements(batch["labelled"]["input"], self.generator, view=self.view)
        losses = {"supervised": L.mean(L.cross_entropy(self.student(labelled), batch["labelled"]["label"]))}
        if self.epoch < self.warmup_epochs or self.gamma_unlabelled == self.gamma_mixed == 0:
            return losses

        weak = self.student.elements(batch["input"], self.generator, view=self.weak)
        strong = self.student.elements(batch["input"], self.generator, view=self.strong)
        strong = perturb(strong, self.perturbation, context=self.student.elements.context, generator=self.generator)
        strong = [channel_dropout(element, self.channel_drop, self.generator) for element in strong]

        teacher = self.ask(weak)
        weight = self.weight(teacher)
        self._watch(teacher, weight, batch.get("label"))

        tokens = self.student.tokens(strong)
        if self.gamma_mixed == 0:
            return losses | {"unlabelled": self._xi * self._unlabelled(self.student.answer(tokens), teacher, weight)}
        share = beta(self.mix_alpha, self.generator, weight.device)  # lambda
        partner = _permutation(len(weight), self.generator, weight.device)
        mixed = self.mixed(tokens, partner, share)
        plain, blended = self.student.answer([torch.cat(both) for both in zip(tokens, mixed, strict=True)]).chunk(2)

        if self.gamma_unlabelled > 0:
            losses["unlabelled"] = self._xi * self._unlabelled(plain, teacher, weight)
        soft = share * teacher.mean + (1 - share) * teacher.mean[partner]
        believed = share * weight + (1 - share) * weight[partner]
        answer = blended.softmax(-1) if self.mix_output == "softmax" else blended
        losses["mixed"] = self._xi * self.gamma_mixed * (believed * L.mse(answer, soft)).mean()
        return losses

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return `losses(batch)`; before a further batch of one accumulated step the teacher follows, as it does after every batch."""
        if self._followed == self.steps_done:
            self.update_teachers()
        self._followed = self.steps_done
        return super().forward(batch)

    def update_teachers(self) -> None:
        """Let the teacher be a copy of the student in the warm-up, and follow it from there on."""
        if self.epoch < self.warmup_epochs:
            self.teacher.restart()
        else:
            self.teacher.update(self.progress)

    @without_graph
    def ask(self, elements: list[Tensor]) -> MeanAndSpread:
        """Return what the teacher's passes say of elements; as long as dropout is in the head alone, the trunk runs once.

        Args:
            elements: for each element `[N, T, C, H, W]`.
        """
        model = self.teacher.model
        assert isinstance(model, ElementNet)
        if self.dropout and len(dropouts(model)) > len(dropouts(model.head)):
            return passes(self.teacher, elements, self.count)
        features = model.features(model.tokens(elements))
        return passes(model.head, features, self.count) if self.dropout else passes(torch.nn.Identity(), model.head(features), 1)

    def weight(self, teacher: MeanAndSpread) -> Tensor:
        """Return how much each pseudo-label is believed, `[N]`.

        Args:
            teacher: what its passes say.
        """
        if self.weighting == "adaptive":
            return adaptive_regulation(teacher.top, teacher.spread)
        if self.weighting == "threshold":
            return confidence(teacher.mean, self.threshold)
        return torch.ones_like(teacher.top)

    def mixed(self, tokens: list[Tensor], partner: Tensor, share: Tensor) -> list[Tensor]:
        """Return tokens of which a share is the clip's own and the rest its partner's: one mask for each element, the same in its frames.

        Args:
            tokens: for each element `[N, T, P, D]`.
            partner: row of each clip's partner, the same for all elements, int64 `[N]`.
            share: lambda, the part of the patches that is kept.
        """
        masks = [tube_mask(t.shape[2], share, self.generator, t.device) for t in tokens]
        return [mix_tokens(t, t[partner], mask) for t, mask in zip(tokens, masks, strict=True)]

    def predict(self, batch: Batch) -> Tensor:
        """Return the student's logits for the clips `batch["input"]`; averaged log-probabilities for several draws."""
        return self._predict(self.student, batch)

    @without_graph
    def predict_teacher(self, batch: Batch) -> Tensor:
        """Return what `predict` does, answered by the teacher, without dropout."""
        return self._predict(self.teacher, batch)

    def _predict(self, network: Any, batch: Batch) -> Tensor:
        clips, elements = batch["input"], self.student.elements
        if self.eval_draws == 0:
            logits: Tensor = network(self._placed(elements(clips, middle=True, view=self.eval_view)))
            return logits
        # Drawn anew from one seed, so that measuring does not depend on when it is done.
        source = torch.Generator(self.student.head.out.weight.device).manual_seed(0)
        answers = [network(self._placed(elements(clips, source, view=self.eval_view))) for _ in range(self.eval_draws)]
        if self.eval_draws == 1:
            only: Tensor = answers[0]
            return only
        return torch.stack([a.softmax(-1) for a in answers]).mean(0).clamp_min(1e-12).log()

    def _placed(self, elements: list[Tensor]) -> list[Tensor]:
        return [element.to(self.student.head.out.weight.device) for element in elements]

    @property
    def _xi(self) -> float:
        done = (self.epoch + 1 - self.warmup_epochs) / (self.epochs - self.warmup_epochs)
        return schedules.value(self.ramp, min(done, 1.0))

    def _unlabelled(self, logits: Tensor, teacher: MeanAndSpread, weight: Tensor) -> Tensor:
        return self.gamma_unlabelled * (weight * L.cross_entropy(logits, teacher.label)).mean()

    def _watch(self, teacher: MeanAndSpread, weight: Tensor, truth: Tensor | None) -> None:
        if truth is not None:
            self.log("pseudo_label_accuracy", 100 * (teacher.label == truth).float().mean())
        self.log("confidence", teacher.top.mean())
        self.log("spread", teacher.spread.mean())
        self.log("weight", weight.mean())


def _permutation(count: int, generator: torch.Generator | None, device: torch.device) -> Tensor:
    place = device if generator is None else generator.device
    return torch.randperm(count, generator=generator, device=place).to(device)


def _check(**given: str) -> None:
    known = {"perturbation": get_args(Perturbation), "weighting": get_args(Weighting), "mix_output": ("logits", "softmax")}
    for name, value in given.items():
        if value not in known[name]:
            raise OptionError(f"{name} is '{value}'.{nearest(str(value), known[name])}")
