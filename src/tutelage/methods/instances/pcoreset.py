"""PCoreSet: active learning with a zero-shot teacher in every round; labels are asked where the student's answers are least covered.

In every round a student with two heads learns from the few labels and from what a zero- or few-shot teacher says about everything;
then labels are asked for the samples whose probability vectors are farthest from those of the labelled ones.

Reference: Kang, Lee, Jang, Kim, Hwang, PCoreSet: Effective Active Learning through Knowledge Distillation from Vision-Language Models,
    arXiv 2506.00910.
Tags: active learning, distillation, vision-language, zero-shot, few-shot, core set, k-centre, semi-supervised, dual head, classification
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from tutelage import losses as L
from tutelage.data import Arrays
from tutelage.errors import OptionError
from tutelage.evaluate.predict import evaluating
from tutelage.models.dual_head import DualHead
from tutelage.selection.queries import RULES, USE_FEATURES, Answers, Rule
from tutelage.selection.queries import rule as named_rule
from tutelage.teachers import Teacher
from tutelage.train import Batch, Method
from tutelage.views import View

Distil = Literal["both", "labelled", "unlabelled", "none"]


class PCoreSet(Method):
    """One round of active knowledge distillation, and the query that ends it.

    `L = ce_weight CE(z_CE(x_l), y) + kd_weight [KD(x_l) + KD(x_u)]`, `KD(x) = T^2 mean KL(softmax(t(x) / T) || softmax(z_KD(x) / T))`.

    Batch:
        input: labelled images float32 `[N, C, H, W]` in [0, 1], or what else both networks take.
        label: int64 `[N]`.
        unlabelled: the same of the pool, `{"input": [M, C, H, W]}`; needed where `distil` is "both" or "unlabelled".

    Args:
        student: network with two heads that learns and is deployed.
        teacher: zero- or few-shot classifier, a `Teacher` such as `Frozen(ZeroShot(...))` or `Stored` answers; logits `[N, C]`. `None`
            where `distil` is "none".
        view: augmentation `(images, generator) -> images`, one draw that both networks see, or `None`. The paper crops (scale 0.5 to 1)
            and flips; queries and tests see plain images.
        rule: which samples to ask about: "pcoreset" (default), "random", "entropy", "coreset", "badge", "class-balanced", or a function
            `(pool, labelled, count, generator) -> positions`.
        temperature: T of both softmaxes in KD, no unit. Default 2.
        ce_weight: of the labels. Default 0.5.
        kd_weight: of the teacher. Default 0.5.
        distil: what the teacher speaks about: "both" parts (default), "labelled" samples or "unlabelled" ones alone, or "none".
        share: a of `p = (1 - a) softmax(z_CE) + a softmax(z_KD / b)`, which is what the student answers and what queries look at, in
            [0, 1]. Default 0.5; 0.6 for ImageNet, and 0.8 there with a few-shot teacher. Without distillation it is 0, because the
            teacher's head learned nothing.
        sharpness: b, divides the logits of the teacher's head in p. Default 1; 0.5 for ImageNet.

    Source: sections 3 and 4 of arXiv 2506.00910 and its released scripts, whose values are the defaults.
    """

    student: DualHead

    def __init__(
        self,
        student: DualHead,
        teacher: Teacher | None,
        view: View | None = None,
        *,
        rule: str | Rule = "pcoreset",
        temperature: float = 2.0,
        ce_weight: float = 0.5,
        kd_weight: float = 0.5,
        distil: Distil = "both",
        share: float = 0.5,
        sharpness: float = 1.0,
    ) -> None:
        super().__init__()
        if not isinstance(student, DualHead):
            raise OptionError(f"student is a {type(student).__name__}; expected a DualHead: models.dual_head(spec, ...) makes one.")
        for name, value in {"temperature": temperature, "ce_weight": ce_weight, "sharpness": sharpness}.items():
            if not value > 0:
                raise OptionError(f"{name} is {value}; expected a number above 0.")
        if kd_weight < 0:
            raise OptionError(f"kd_weight is {kd_weight}; expected 0 or more.")
        if distil not in ("both", "labelled", "unlabelled", "none"):
            raise OptionError(f"distil is '{distil}'; expected 'both', 'labelled', 'unlabelled' or 'none'.")
        if teacher is None and distil != "none":
            raise OptionError(f"There is no teacher to distil from: give one, or distil='none' in place of '{distil}'.")
        self.student = student
        self.teacher = None if distil == "none" else teacher
        self.view = view
        self.rule = named_rule(rule)
        self.temperature = temperature
        self.ce_weight = ce_weight
        self.kd_weight = kd_weight
        self.distil = distil
        student.mix(0.0 if distil == "none" else share, sharpness)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return `"ce"` and, unless nothing is distilled, `"kd"`; where both parts are, one pass of each network answers for both."""
        x, label = self._seen(batch["input"]), batch["label"]
        losses: dict[str, Tensor] = {}
        parts = []
        if self.distil in ("both", "unlabelled"):
            parts.append(self._seen(batch["unlabelled"]["input"]))
        z_ce, z_kd, others = self._heads(x, parts)

        losses["ce"] = self.ce_weight * L.mean(L.cross_entropy(z_ce, label))
        if self.teacher is not None:
            kd = [self.kd(z, self.teacher(u)) for z, u in zip(others, parts, strict=True)]
            if self.distil != "unlabelled":
                kd.append(self.kd(z_kd, self.teacher(x)))
            losses["kd"] = self.kd_weight * torch.stack(kd).sum()
        return losses

    def kd(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        """Return `T^2 mean KL(softmax(t / T) || softmax(z_KD / T))`, a scalar in nats.

        Args:
            student_logits: of the teacher's head, `[N, C]`.
            teacher_logits: `[N, C]`, without a graph.
        """
        return self.temperature**2 * L.mean(L.forward_kl(student_logits, teacher_logits, temperature=self.temperature))

    @torch.no_grad()
    def answers(self, arrays: Arrays, *, features: bool = True, batch_size: int = 512) -> Answers:
        """Return what the student says about samples: its combined probabilities, and its features.

        Args:
            arrays: the samples, seen without augmentation.
            features: whether to keep features too.
            batch_size: samples at once.

        Returns:
            On the CPU; with labels where the samples have them.
        """
        device = next(self.student.parameters()).device
        probabilities, found = [], []
        with evaluating(self.student):
            for batch in arrays.blocks(batch_size):
                inputs: Any = batch["input"]
                feature = self.student.features(inputs.to(device) if isinstance(inputs, Tensor) else inputs)
                probabilities.append(self.student.combined(feature).exp().float().cpu())
                if features:
                    found.append(feature.float().cpu())
        labels = arrays.labels.cpu() if "label" in arrays.columns else None
        return Answers(torch.cat(probabilities), torch.cat(found) if features else None, labels)

    def query(self, pool: Arrays, labelled: Arrays, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Return which samples of the pool to ask labels for.

        Args:
            pool: samples without labels (those they may have are not looked at).
            labelled: samples with labels.
            count: number of queries.
            generator: source of chance, for the rules that use it.

        Returns:
            int64 positions in the pool, `[count]`.
        """
        wanted = self.rule in USE_FEATURES or self.rule not in RULES.values()
        unknown = self.answers(pool, features=wanted)
        return self.rule(Answers(unknown.probabilities, unknown.features), self.answers(labelled, features=wanted), count, generator)

    def _seen(self, inputs: Any) -> Any:
        return inputs if self.view is None else self.view(inputs, self.generator)

    def _heads(self, x: Any, others: list[Any]) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Both heads on the labelled samples, and the teacher's head on the others, in one pass where they are tensors."""
        if not others:
            return *self.student.heads(x), []
        if not isinstance(x, Tensor):
            return *self.student.heads(x), [self.student.heads(part)[1] for part in others]
        z_ce, z_kd = self.student.heads(torch.cat([x, *others]))
        first, *rest = torch.split(z_kd, [len(x), *(len(part) for part in others)])
        return z_ce[: len(x)], first, list(rest)
