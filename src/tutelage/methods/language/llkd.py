"""LLKD: trains a small classifier on a language model's pseudo-labels, but only where the teacher is sure and the student is not yet.

Both bars are set anew at every step and for each class, from moving averages of the teacher's confidence and the student's entropy; what
passes both is weighed by both. Most samples are never used, and the labels that are used are right more often.

Reference: Li, Nag, Liu, Tang, Sarwar, Cui, Gu, Wang, He, Tang, Learning with Less: Knowledge Distillation from Large Language Models via
Unlabeled Data, Findings of NAACL 2025, arXiv 2411.08028.
Tags: distillation, language model, pseudo-label, confidence, uncertainty, entropy, adaptive threshold, data efficiency, text
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from tutelage import losses as L
from tutelage.errors import OptionError, nearest
from tutelage.evaluate.predict import evaluating
from tutelage.schedules import Schedule, value
from tutelage.selection import ClassThreshold, UseCounter, uncertainty
from tutelage.targets.ranks import mean_over_ranks
from tutelage.train import Batch, Engine, Method

Criterion = Literal["high", "low", "off"]
Weighting = Literal["product", "sum", "confidence", "uncertainty", "none"]


class LLKD(Method):
    """Pseudo-labels of a frozen labeller, selected while training by its confidence and by the student's own entropy.

    In a batch of pseudo-labels `y_i` with confidences `c_i` and student entropies `u_i`, sample i is kept iff
    `c_i >= tau_T(y_i)` and `u_i >= tau_S(y_i)`; both thresholds are `g l(y) / max_y' l(y')` with `g` the moving average of all scores and
    `l(y)` that of class y (`selection.ClassThreshold`). Then
    `L = 1/|S| sum_{i in S} w_i CE(p_S(. | x_i), y_i)`, `w_i = c_i u_i / log C` divided by its mean over S. An empty S moves nothing.

    Batch:
        input: what the student takes: token ids int64 `[N, L]`, a list of N texts, or any tensor `[N, ...]`.
        label: the labeller's hard pseudo-labels, int64 `[N]`.
        confidence: their probability, renormalised over the classes, float `[N]` in [1/C, 1].
        true_label: int64 `[N]`, where known: only to watch how often pseudo-labels are right.
        index: int64 `[N]` original rows, needed with a `counter`.

    Args:
        student: network that learns and is deployed; logits `[N, C]`. RoBERTa with a linear head in the paper.
        num_classes: C.
        teacher_criterion: `"high"` keeps where the labeller is sure (default); `"low"` where it is not (the opposite, for comparison);
            `"off"` lets all pass.
        student_criterion: `"high"` keeps where the student is uncertain (default); `"low"` where it is sure; `"off"` lets all pass.
        weighting: `"product"` is w above (default, ours); `"sum"` is `(c + u / log C) / 2`; `"confidence"` and `"uncertainty"` are one of
            them alone; `"none"` weighs all that is kept alike.
        per_class: scale thresholds by class (default); otherwise `g` is the threshold of every class.
        momentum: m of the moving averages, a number or schedule. Default 0.9 (ours, for small data; 0.999 for large).
        normalised: divide entropies by `log C`. Default False; thresholds and weights are the same either way, logged values are not.
        scoring: `"eval"` takes the entropy from a forward pass in eval mode, and then trains on the kept samples alone (default);
            `"train"` re-uses the training forward of the whole batch, which is cheaper where most is kept.
        keep_share: share of what passed that stays, drawn at random, a number or schedule. Default 1; with both criteria off it is the
            random baseline with the same number of used samples.
        counter: counts which samples were used, or `None`.

    Source: arXiv 2411.08028 for the idea and the direction of both criteria. The thresholds' formula follows FreeMatch; that of the weights
    and all constants are our completion, because the paper's were not readable.
    """

    confidence_bar: ClassThreshold
    uncertainty_bar: ClassThreshold

    def __init__(
        self,
        student: nn.Module,
        num_classes: int,
        *,
        teacher_criterion: Criterion = "high",
        student_criterion: Criterion = "high",
        weighting: Weighting = "product",
        per_class: bool = True,
        momentum: float | Schedule = 0.9,
        normalised: bool = False,
        scoring: Literal["eval", "train"] = "eval",
        keep_share: float | Schedule = 1.0,
        counter: UseCounter | None = None,
    ) -> None:
        super().__init__()
        _check("teacher_criterion", teacher_criterion, get_args(Criterion))
        _check("student_criterion", student_criterion, get_args(Criterion))
        _check("weighting", weighting, get_args(Weighting))
        _check("scoring", scoring, ("eval", "train"))
        if num_classes < 2:
            raise OptionError(f"num_classes is {num_classes}; expected at least 2: one class leaves nothing to be sure about.")
        self.student = student
        self.num_classes = num_classes
        self.teacher_criterion: Criterion = teacher_criterion
        self.student_criterion: Criterion = student_criterion
        self.weighting, self.normalised, self.scoring, self.keep_share = weighting, normalised, scoring, keep_share
        self.confidence_bar = ClassThreshold(num_classes, momentum=momentum, per_class=per_class)
        self.uncertainty_bar = ClassThreshold(num_classes, momentum=momentum, per_class=per_class)
        self.counter = counter

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return `"pseudo_ce"`; 0 without a graph where no process keeps a sample.

        Logs `used` (kept samples of the batch), `confidence` and `uncertainty` (means of the batch), `threshold_teacher` and
        `threshold_student` (means over classes) and, where true labels are known, `right` and `right_kept`: how many pseudo-labels are
        right in the batch and among the kept, percent.
        """
        inputs, label, confidence = batch["input"], batch["label"], batch["confidence"].detach()
        logits = self.student(inputs) if self.scoring == "train" else None
        entropy = self.uncertainty(inputs if logits is None else logits)
        kept = self.select(confidence, entropy, label)
        if self.counter is not None:
            self.counter.add(batch["index"], kept)
        self._watch(kept, confidence, entropy, label, batch.get("true_label"))

        rows = kept.nonzero()[:, 0]
        if not bool(mean_over_ranks(kept.sum()) > 0):
            return {"pseudo_ce": torch.zeros((), device=label.device)}
        weight = self.sample_weight(confidence[rows], entropy[rows])
        if not len(rows):  # Other processes wait for this one's gradient, which is zero.
            rows, weight = torch.arange(min(2, len(label)), device=label.device), torch.zeros(min(2, len(label)), device=label.device)
        chosen = self.student(_take(inputs, rows)) if logits is None else logits[rows]
        return {"pseudo_ce": (weight * L.cross_entropy(chosen, label[rows])).mean()}

    def step(self, batch: Batch, engine: Engine) -> dict[str, Tensor]:
        """Move the student, unless nothing was kept: then not even the optimizer's momentum moves it.

        Args:
            batch: as the class says.
            engine: what moves the student.

        Returns:
            The losses.
        """
        with engine.autocast():
            losses = self.losses(batch)
        if losses["pseudo_ce"].requires_grad:
            engine.backward(losses["pseudo_ce"])
        # With several batches to a step, an earlier one may have left gradients.
        if any(parameter.grad is not None for parameter in self.student.parameters()):
            engine.move("student")
        return losses

    @torch.no_grad()
    def uncertainty(self, given: Any) -> Tensor:
        """Return the student's entropy u of each sample, `[N]`, without a graph.

        Args:
            given: inputs, which are shown to the student in eval mode; or, with scoring from the training forward, its logits `[N, C]`.
        """
        if self.scoring == "train":
            return uncertainty(given.detach(), normalised=self.normalised)
        with evaluating(self.student):
            return uncertainty(self.student(given), normalised=self.normalised)

    @torch.no_grad()
    def select(self, confidence: Tensor, entropy: Tensor, label: Tensor) -> Tensor:
        """Move both thresholds, and return 1 for the samples that pass, else 0.

        Args:
            confidence: c, `[N]`.
            entropy: u, `[N]`.
            label: pseudo-labels, int64 `[N]`.

        Returns:
            float32 `[N]`.
        """
        kept = torch.ones(len(label), device=label.device)
        pairs = ((self.confidence_bar, confidence, self.teacher_criterion), (self.uncertainty_bar, entropy, self.student_criterion))
        for bar, score, criterion in pairs:
            bar.update(score, label, progress=self.progress)
            if criterion != "off":
                reached = bar(score, label)
                kept = kept * (reached if criterion == "high" else 1 - reached)
        share = value(self.keep_share, self.progress)
        return kept if share >= 1 else kept * self._drawn(kept, share)

    @torch.no_grad()
    def sample_weight(self, confidence: Tensor, entropy: Tensor) -> Tensor:
        """Return w of the kept samples, with mean 1.

        Args:
            confidence: c of the kept, `[K]`.
            entropy: u of the kept, `[K]`.
        """
        doubt = entropy if self.normalised else entropy / torch.tensor(float(self.num_classes)).log().item()
        weight = {
            "product": confidence * doubt,
            "sum": (confidence + doubt) / 2,
            "confidence": confidence,
            "uncertainty": doubt,
            "none": torch.ones_like(doubt),
        }[self.weighting]
        return weight / weight.mean().clamp_min(torch.finfo(weight.dtype).tiny) if len(weight) else weight

    def _drawn(self, kept: Tensor, share: float) -> Tensor:
        """A random part of the kept, as near to the share as whole samples come on average."""
        place = kept.device if self.generator is None else self.generator.device
        score = torch.rand(len(kept) + 1, generator=self.generator, device=place).to(kept.device)
        rank = torch.where(kept > 0, score[:-1], 2.0).argsort().argsort()
        return (rank < torch.floor(share * kept.sum() + score[-1])).float()

    def _watch(self, kept: Tensor, confidence: Tensor, entropy: Tensor, label: Tensor, truth: Tensor | None) -> None:
        self.log("used", kept.sum())
        self.log("confidence", confidence.mean())
        self.log("uncertainty", entropy.mean())
        self.log("threshold_teacher", self.confidence_bar.thresholds().mean())
        self.log("threshold_student", self.uncertainty_bar.thresholds().mean())
        if truth is not None:
            right = (label == truth).float()
            self.log("right", 100 * right.mean())
            if bool(kept.any()):
                self.log("right_kept", 100 * (right * kept).sum() / kept.sum())


def _take(inputs: Any, rows: Tensor) -> Any:
    return [inputs[row] for row in rows.tolist()] if isinstance(inputs, list) else inputs[rows]


def _check(name: str, given: str, known: tuple[str, ...]) -> None:
    if given not in known:
        raise OptionError(f"{name} is '{given}'.{nearest(given, known)}")
