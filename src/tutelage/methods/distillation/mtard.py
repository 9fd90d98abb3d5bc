"""MTARD: a clean and a robust teacher make one student both accurate and hard to fool, each teaching on its own view of the input.

Two controllers keep the teachers in balance: temperatures that even out their entropies, and weights that go to whichever
lesson has been learned less.

Reference: Zhao, Wang, Wei, Mitigating the Accuracy-Robustness Trade-off via Multi-Teacher Adversarial Distillation, TPAMI 2024,
    arXiv 2306.16170.
Tags: distillation, adversarial, robustness, PGD, several teachers, balance, temperature, images, classification
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from tutelage import losses as L
from tutelage import schedules
from tutelage.errors import OptionError
from tutelage.schedules import Schedule
from tutelage.selection.controllers import EntropyBalance, LossBalance
from tutelage.teachers import Frozen, Teacher
from tutelage.train import Batch, Method
from tutelage.views import View
from tutelage.views.adversarial import PGD, Start


class MTARD(Method):
    """Balanced multi-teacher adversarial distillation: `L = w_adv L_adv + w_nat L_nat`.

    `L_adv` draws the student on attacked inputs to the robust teacher on the same inputs, `L_nat` the student on clean inputs to
    the clean teacher; only the teachers are tempered, and no label enters but through the attack.

    Batch:
        input: images float32 `[N, C, H, W]` (or any `[N, ...]`) in [0, 1]; normalisation belongs inside the networks.
        label: int64 `[N]`, used by the attack alone.

    Args:
        student: network that learns and is deployed; logits `[N, classes]`.
        teacher: the clean teacher, trained normally; logits `[N, classes]`. Becomes `Frozen` unless it is a `Teacher`, such as `Stored`.
        view: augmentation `(images, generator) -> images` before the attack, or `None`. The paper crops with padding 4 and flips.
        robust_teacher: the robust teacher, trained adversarially; as `teacher`.
        eps: radius of the l_inf ball, in units of the input. Default 8/255 (paper).
        step_size: step of the attack, same unit. Default 2/255 (paper).
        attack_steps: steps of the attack on the student. Default 10 (paper).
        attack_start: `"gaussian"` (default, paper), `"uniform"` over the ball, or `"none"`.
        start_scale: standard deviation of the Gaussian start. Default 0.001 (paper).
        temperature_rate: r_tau of the entropy balance, a number or a schedule; 0 switches it off. Default 0.001 (paper, divided
            whenever the learning rate is).
        temperature_start: temperature of both teachers at the start. Default 1 (paper).
        temperature_low: smallest temperature. Default 1 (paper).
        temperature_high: largest temperature. Default 10 (paper).
        weight_rate: r_w of the loss balance, a number or a schedule; 0 keeps both weights at 1/2. Default 0.025 (paper, divided
            whenever the learning rate is).
        beta: exponent of the relative losses. Default 1 (paper).
        variant: `"b-mtard"` (default) is the method of the journal; `"eccv"` is the first release: temperatures stay 1, and the
            adversarial weight is one minus the clean one.
        teachers: `"both"` (default); `"robust"` is the ablation in which the robust teacher answers for clean inputs too.
        divide_by_classes: average the divergences over classes as well as the batch. Default True (paper).
        log_offset: added to the teacher's probabilities inside their logarithm. Default 1e-5 (the authors' code); 0 is the formula.

    Raises:
        OptionError: for a value outside its range.

    Source: Zhao et al., arXiv 2306.16170; the order of the updates, the division by classes and the offset are those of their code.
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        view: View | None = None,
        *,
        robust_teacher: nn.Module,
        eps: float = 8 / 255,
        step_size: float = 2 / 255,
        attack_steps: int = 10,
        attack_start: Start = "gaussian",
        start_scale: float = 0.001,
        temperature_rate: float | Schedule = 0.001,
        temperature_start: float = 1.0,
        temperature_low: float = 1.0,
        temperature_high: float = 10.0,
        weight_rate: float | Schedule = 0.025,
        beta: float = 1.0,
        variant: Literal["b-mtard", "eccv"] = "b-mtard",
        teachers: Literal["both", "robust"] = "both",
        divide_by_classes: bool = True,
        log_offset: float = 1e-5,
    ) -> None:
        super().__init__()
        for name, rate in {"temperature_rate": temperature_rate, "weight_rate": weight_rate}.items():
            if not callable(rate) and not 0 <= rate <= 1:
                raise OptionError(f"{name} is {rate}; expected a number in [0, 1] (0 switches the balance off) or a schedule.")
        if variant not in ("b-mtard", "eccv"):
            raise OptionError(f"variant is '{variant}'; expected 'b-mtard' or 'eccv'.")
        if teachers not in ("both", "robust"):
            raise OptionError(f"teachers is '{teachers}'; expected 'both' or 'robust'.")
        if not log_offset >= 0:
            raise OptionError(f"log_offset is {log_offset}; expected 0 or a small number above it.")
        eccv = variant == "eccv"
        self.student = student
        self.clean_teacher = teacher if isinstance(teacher, Teacher) else Frozen(teacher)
        self.robust_teacher = robust_teacher if isinstance(robust_teacher, Teacher) else Frozen(robust_teacher)
        self.view = view
        self.adversary = PGD(eps=eps, step_size=step_size, steps=attack_steps, start=attack_start, start_scale=start_scale)
        # Both controllers hold the clean teacher first and the robust one second.
        self.entropy_balance = EntropyBalance(start=1.0 if eccv else temperature_start, low=temperature_low, high=temperature_high)
        self.loss_balance = LossBalance(beta=beta, complement=eccv)
        self.temperature_rate: float | Schedule = 0.0 if eccv else temperature_rate
        self.weight_rate = weight_rate
        self.teachers = teachers
        self.divide_by_classes = divide_by_classes
        self.log_offset = log_offset

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the weighted `"adversarial"` and `"clean"` lessons, after one step of both balances in training mode."""
        x = batch["input"] if self.view is None else self.view(batch["input"], self.generator)
        attacked = self.adversary(self.student, x, batch["label"], self.generator)
        student_adv, student_nat = self.student(attacked), self.student(x)
        clean_teacher = self.clean_teacher if self.teachers == "both" else self.robust_teacher
        teacher_adv, teacher_nat = self.robust_teacher(attacked), clean_teacher(x)

        tau_nat, tau_adv = self.entropy_balance.temperatures.unbind()
        soft_nat, soft_adv = teacher_nat / tau_nat, teacher_adv / tau_adv
        loss_nat, loss_adv = self.divergence(student_nat, soft_nat), self.divergence(student_adv, soft_adv)

        if self.training:
            entropies = L.entropy(soft_nat).mean(), L.entropy(soft_adv).mean()
            self.entropy_balance.update(entropies, schedules.value(self.temperature_rate, self.progress))
            self.loss_balance.update((loss_nat, loss_adv), schedules.value(self.weight_rate, self.progress))
            self._log(entropies)
        # The losses above were made with the old temperatures; the weights are the new ones.
        w_nat, w_adv = self.loss_balance.weights.clone().unbind()
        return {"adversarial": w_adv * loss_adv, "clean": w_nat * loss_nat}

    def divergence(self, student_logits: Tensor, softened: Tensor) -> Tensor:
        """Return `mean p (log(p + log_offset) - log softmax(student))` of `p = softmax(softened)`.

        Args:
            student_logits: `[N, C]`, not tempered.
            softened: the teacher's logits divided by its temperature, `[N, C]`.

        Returns:
            A scalar: the mean over the batch, and over classes if `divide_by_classes`.
        """
        p = softened.softmax(dim=-1)
        loss = L.soft_cross_entropy(student_logits, p) + torch.xlogy(p, p + self.log_offset).sum(dim=-1)
        return L.mean(loss) / (p.shape[-1] if self.divide_by_classes else 1)

    def _log(self, entropies: tuple[Tensor, Tensor]) -> None:
        temperatures, weights = self.entropy_balance.temperatures.clone(), self.loss_balance.weights.clone()
        for number, name in enumerate(("clean", "adversarial")):
            self.log(f"temperature_{name}", temperatures[number])
            self.log(f"weight_{name}", weights[number])
            self.log(f"entropy_{name}", entropies[number])


class AdversarialTraining(Method):
    """PGD adversarial training: cross-entropy with the labels on attacked inputs, the baseline of MTARD and how robust teachers are made.

    Batch:
        input: images float32 `[N, C, H, W]` (or any `[N, ...]`) in [0, 1].
        label: int64 `[N]`.

    Args:
        student: network that learns; logits `[N, classes]`.
        view: augmentation `(images, generator) -> images` before the attack, or `None`.
        adversary: the attacker and its strength. Default `PGD()`: radius 8/255, 10 steps of 2/255.
        growth: share of the training, in [0, 1), over which radius and step grow linearly from zero to their full length. Default 0
            (paper); small networks that meet the full attack at once may never leave a constant answer.

    Raises:
        OptionError: for a `growth` outside its range.

    Source: Madry et al., arXiv 1706.06083; growth is ours.
    """

    def __init__(self, student: nn.Module, view: View | None = None, *, adversary: PGD | None = None, growth: float = 0.0) -> None:
        super().__init__()
        self.student = student
        self.view = view
        self.adversary = adversary if adversary is not None else PGD()
        self.strength = schedules.warmup(1.0, share=growth)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the mean cross-entropy on attacked inputs as `"ce"`."""
        x = batch["input"] if self.view is None else self.view(batch["input"], self.generator)
        attacked = self.adversary.scaled(self.strength(self.progress))(self.student, x, batch["label"], self.generator)
        return {"ce": L.mean(L.cross_entropy(self.student(attacked), batch["label"]))}
