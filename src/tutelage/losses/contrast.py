"""Contrast: the student's feature of a sample should find the teacher's feature of the same sample among those of the batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from tutelage.errors import OptionError
from tutelage.losses.checks import same_batch, same_shape
from tutelage.losses.features import full, unit


def contrastive(student_features: Tensor, teacher_features: Tensor, *, temperature: float = 0.07, labels: Tensor | None = None) -> Tensor:
    """Return InfoNCE from student to teacher, with the other samples of the batch as negatives.

    Row i is -log( exp(s_i . t_i / temperature) / sum_j exp(s_i . t_j / temperature) ) with both features scaled to length 1.

    Args:
        student_features: float [N, D].
        teacher_features: float [N, D]; not detached here.
        temperature: above 0. Default 0.07.
        labels: int64 [N]; when given, other samples of the same class are not used as negatives. Default none.

    Returns:
        One loss per sample in nats, [N].

    Raises:
        ShapeError: if the shapes differ.
        OptionError: if the temperature is not above 0.

    Source: van den Oord et al., Representation Learning with Contrastive Predictive Coding, 2018, eq. 4.
    """
    if not temperature > 0.0:
        raise OptionError(f"temperature is {temperature!r}; expected a number above 0")
    same_batch(student_features, teacher_features)
    same_shape(student_features, teacher_features, "features")
    student, teacher = unit(full(student_features)), unit(full(teacher_features))
    with torch.autocast(student.device.type, enabled=False):
        similarity = student @ teacher.T / temperature
    own = torch.arange(len(similarity), device=similarity.device)
    if labels is not None:
        related = (labels.unsqueeze(0) == labels.unsqueeze(1)) & (own.unsqueeze(0) != own.unsqueeze(1))
        similarity = similarity.masked_fill(related, -torch.inf)
    return functional.cross_entropy(similarity, own, reduction="none")


class Contrastive(nn.Module):
    """`contrastive` behind a trainable linear head for each side, thrown away after training.

    Args:
        student_width: number of the student's features.
        teacher_width: number of the teacher's.
        width: width of the space in which they are compared. Default 128.
        temperature: above 0. Default 0.07.

    Source: Tian, Krishnan and Isola, Contrastive Representation Distillation, ICLR 2020, section 3; negatives come from the batch in place
        of the paper's memory bank, with the InfoNCE objective.
    """

    def __init__(self, student_width: int, teacher_width: int, *, width: int = 128, temperature: float = 0.07) -> None:
        super().__init__()
        self.student_head = nn.Linear(student_width, width)
        self.teacher_head = nn.Linear(teacher_width, width)
        self.temperature = temperature

    def forward(self, student_features: Tensor, teacher_features: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the contrastive loss of each sample.

        Args:
            student_features: float [N, ...], flattened to `student_width`.
            teacher_features: float [N, ...], flattened to `teacher_width`.
            labels: int64 [N]; when given, other samples of the same class are not used as negatives. Default none.

        Returns:
            One loss per sample in nats, [N].

        Raises:
            ShapeError: if the numbers of samples differ.
        """
        same_batch(student_features, teacher_features)
        return contrastive(
            self.student_head(student_features.flatten(1)),
            self.teacher_head(teacher_features.flatten(1)),
            temperature=self.temperature,
            labels=labels,
        )
