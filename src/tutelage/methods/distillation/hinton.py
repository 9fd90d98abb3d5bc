"""Hinton distillation: a student matches the softened class probabilities of a frozen teacher, beside the true labels.

A temperature above 1 shows how the teacher ranks the wrong classes; the squared temperature keeps the two gradients on one scale.

Reference: Hinton, Vinyals, Dean, Distilling the Knowledge in a Neural Network, NIPS Deep Learning Workshop 2014, arXiv 1503.02531.
Tags: distillation, compression, soft targets, temperature, frozen teacher, transfer set, classification
"""

from __future__ import annotations

from torch import Tensor, nn

from tutelage import losses as L
from tutelage.errors import OptionError
from tutelage.teachers import Teacher
from tutelage.train import Batch, Method
from tutelage.views import View


class Hinton(Method):
    """Classical distillation: `alpha T^2 KL(p_t || p_s)` at temperature T plus `(1 - alpha)` times cross-entropy at 1.

    Batch:
        input: what both networks take, images float32 `[N, C, H, W]` in [0, 1] or a table `[N, D]`.
        label: int64 `[N]`; may be absent when `alpha` is 1, so that the transfer set needs no labels.

    Args:
        student: network that learns and is deployed; logits `[N, C]`.
        teacher: the trained teacher, a `Teacher` such as `Frozen(model)`; logits `[N, C]`.
        view: augmentation `(images, generator) -> images` that both networks see, or `None`.
        temperature: T of both softmaxes in the soft term, no unit. Default 4 (ours; the paper uses 20 for wide
            students on MNIST, 2.5 to 4 for narrow ones, and 1 to 10 for speech).
        alpha: share of the soft term, in [0, 1]. Default 0.9 (ours; the paper only says that a considerably lower
            weight on the hard labels did best). 0 is plain supervised training, 1 is soft targets alone.

    Source: section 2 of the paper; the soft term's cross-entropy is a KL here, which differs by a constant.
    """

    def __init__(
        self, student: nn.Module, teacher: Teacher, view: View | None = None, *, temperature: float = 4.0, alpha: float = 0.9
    ) -> None:
        super().__init__()
        if not temperature > 0:
            raise OptionError(f"temperature is {temperature}; expected a number above 0. 4 is a good start for ten classes.")
        if not 0 <= alpha <= 1:
            raise OptionError(f"alpha is {alpha}; expected a share in [0, 1]: 0 learns from labels alone, 1 from the teacher alone.")
        self.student = student
        self.teacher = teacher
        self.view = view
        self.temperature = temperature
        self.alpha = alpha

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the weighted soft term `"kd"` and, unless `alpha` is 1, the weighted hard term `"ce"`."""
        x = batch["input"] if self.view is None else self.view(batch["input"], self.generator)
        student, teacher = self.student(x), self.teacher(x)

        soft = L.mean(L.forward_kl(student, teacher, temperature=self.temperature))
        # Soft gradients shrink as 1/T^2: the factor keeps the share alpha what it says when T changes (section 2).
        losses = {"kd": self.alpha * self.temperature**2 * soft}
        if self.alpha < 1:
            losses["ce"] = (1 - self.alpha) * L.mean(L.cross_entropy(student, batch["label"]))
        return losses
