"""BD-KD: student and teacher learn together, and the student balances forward and reverse KL sample by sample by the entropy gap.

Forward KL spreads out an over-confident student, reverse KL sharpens an under-confident one: the aim is accuracy and calibration together.

Reference: Amara, Sepahvand, Meyer, Gross, Clark, BD-KD: Balancing the Divergences for Online Knowledge Distillation, arXiv 2212.12965.
Tags: distillation, compression, online, co-training, mutual learning, calibration, reverse KL, entropy, classification
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from tutelage import losses as L
from tutelage.errors import OptionError
from tutelage.selection.balance import entropy_balance
from tutelage.teachers import Frozen, Teacher
from tutelage.train import Batch, Method, Player
from tutelage.views import View

Weighting = Literal["threshold", "smooth", "forward", "reverse"]


class BDKD(Method):
    """Balanced-divergence distillation between networks that are trained at the same time, each the other's constant.

    `L_s = CE(y, p_s) + beta T^2 mean_i[a_i KL(p_t || p_s) + b_i KL(p_s || p_t)]`,
    `L_t = CE(y, p_t) + beta T^2 mean_i KL(p_s || p_t)`; `a_i = delta, b_i = 1` where `H(p_t) > H(p_s)`, else the other way round.

    Several teachers extend it as deep mutual learning does: the student's balanced terms are averaged over the teachers, and
    each teacher's KL over all the other networks.

    Batch:
        input: what all networks take, images float32 `[N, C, H, W]` in [0, 1] or a table `[N, D]`.
        label: int64 `[N]`.

    Args:
        student: compact network that learns and is deployed; logits `[N, C]`.
        teacher: larger network that learns at the same time, or a sequence of such; logits `[N, C]`.
        view: augmentation `(images, generator) -> images`, one draw that all networks see, or `None`.
        delta: weight of the emphasised divergence, the other has 1. Default 2 (ours); 1 is the unweighted sum.
        beta: weight of the distillation terms. Default 1 (ours).
        temperature: T of the softmaxes inside the divergences. Default 1 (ours).
        weighting: `"threshold"` is the rule above (default); `"smooth"` replaces its step by a sigmoid (ours);
            `"forward"` sets a=1, b=0, which is deep mutual learning; `"reverse"` sets a=0, b=1.
        sharpness: slope k of the sigmoid of `"smooth"`, per nat. Default 10 (ours).
        entropies: `"plain"` compares entropies at temperature 1 (default, ours), `"tempered"` at `temperature`.
        online: `True` trains the teacher too (default); `False` holds a trained teacher still, which with
            `weighting="forward"` is offline distillation.

    Source: the abstract and sections 3 of arXiv 2212.12965; the weights' formula is our completion. The mutual terms are those
    of Zhang et al., Deep Mutual Learning, arXiv 1706.00384.
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module | Sequence[nn.Module],
        view: View | None = None,
        *,
        delta: float = 2.0,
        beta: float = 1.0,
        temperature: float = 1.0,
        weighting: Weighting = "threshold",
        sharpness: float = 10.0,
        entropies: Literal["plain", "tempered"] = "plain",
        online: bool = True,
    ) -> None:
        super().__init__()
        for name, value in {"delta": delta, "temperature": temperature, "sharpness": sharpness}.items():
            if not value > 0:
                raise OptionError(f"{name} is {value}; expected a number above 0.")
        if beta < 0:
            raise OptionError(f"beta is {beta}; expected 0 or more.")
        if weighting not in ("threshold", "smooth", "forward", "reverse"):
            raise OptionError(f"weighting is '{weighting}'; expected 'threshold', 'smooth', 'forward' or 'reverse'.")
        if entropies not in ("plain", "tempered"):
            raise OptionError(f"entropies is '{entropies}'; expected 'plain' or 'tempered'.")
        teachers = [teacher] if isinstance(teacher, nn.Module) else list(teacher)
        if not teachers:
            raise OptionError("teacher is an empty sequence; expected a network or at least one in the sequence.")
        self.student = student
        self.teachers = nn.ModuleList(teachers if online else [m if isinstance(m, Teacher) else Frozen(m) for m in teachers])
        self.view = view
        self.delta = delta
        self.beta = beta
        self.temperature = temperature
        self.weighting = weighting
        self.sharpness = sharpness
        self.entropies = entropies
        self.online = online

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return `"student_ce"`, `"student_kd"` and, when online, the same two of `"teacher"`, `"teacher_2"`, ...

        Logs `teacher_more_uncertain`, the share of samples (and teachers) where `H(p_t) > H(p_s)`.
        """
        x, label = batch["input"] if self.view is None else self.view(batch["input"], self.generator), batch["label"]
        student = self.student(x)
        teachers = [teacher(x) for teacher in self.teachers]

        losses = {
            "student_ce": L.mean(L.cross_entropy(student, label)),
            "student_kd": self._scaled([self.student_term(student, teacher.detach()) for teacher in teachers]),
        }
        if self.online:
            for name, own in zip(self._teacher_names(), teachers, strict=True):
                others = [logits.detach() for logits in (student, *teachers) if logits is not own]
                losses[f"{name}_ce"] = L.mean(L.cross_entropy(own, label))
                losses[f"{name}_kd"] = self._scaled([L.forward_kl(own, other, temperature=self.temperature) for other in others])
        shares = [(self._entropy(teacher) > self._entropy(student)).float().mean() for teacher in teachers]
        self.log("teacher_more_uncertain", torch.stack(shares).mean())
        return losses

    def student_term(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        """Return `a KL(p_t || p_s) + b KL(p_s || p_t)` of each sample, without `beta T^2`.

        Args:
            student_logits: `[N, C]`.
            teacher_logits: `[N, C]`, detached.

        Returns:
            The term in nats, `[N]`.
        """
        if self.weighting == "forward":
            return L.forward_kl(student_logits, teacher_logits, temperature=self.temperature)
        if self.weighting == "reverse":
            return L.reverse_kl(student_logits, teacher_logits, temperature=self.temperature)
        forward, reverse = L.forward_and_reverse_kl(student_logits, teacher_logits, temperature=self.temperature)
        sharpness = self.sharpness if self.weighting == "smooth" else None
        a, b = entropy_balance(self._entropy(student_logits), self._entropy(teacher_logits), delta=self.delta, sharpness=sharpness)
        return a * forward + b * reverse

    def players(self) -> dict[str, Player]:
        """Return the student and, when online, each teacher: one forward pass, one optimizer each, moving together."""
        networks = {"student": self.student}
        if self.online:
            networks |= dict(zip(self._teacher_names(), self.teachers, strict=True))
        return {
            name: Player([p for p in network.parameters() if p.requires_grad], losses=(f"{name}_ce", f"{name}_kd"))
            for name, network in networks.items()
        }

    def _entropy(self, logits: Tensor) -> Tensor:
        return L.entropy(logits.detach(), temperature=self.temperature if self.entropies == "tempered" else 1.0)

    def _scaled(self, terms: list[Tensor]) -> Tensor:
        return self.beta * self.temperature**2 * L.mean(torch.stack(terms))

    def _teacher_names(self) -> list[str]:
        return ["teacher" if number == 0 else f"teacher_{number + 1}" for number in range(len(self.teachers))]
