"""Relations between the samples of a batch: the student keeps what is near to what, whatever its features are.

Student and teacher may have features of different widths. Each loss is returned as one row per sample, so that the batch dimension is
kept; rows relate a sample to the others of this process's share of the batch. Matrix products stay in full precision under autocast.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from tutelage.losses.checks import same_batch
from tutelage.losses.features import full, unit


def _rows(student_features: Tensor, teacher_features: Tensor) -> tuple[Tensor, Tensor]:
    same_batch(student_features, teacher_features)
    return full(student_features).flatten(1), full(teacher_features).flatten(1)


def similarity_preserving(student_features: Tensor, teacher_features: Tensor) -> Tensor:
    """Return how much the student's row of the batch's similarity matrix differs from the teacher's.

    With G = A A^T for features A, rows scaled to length 1, row i is sum_j (G_s,ij - G_t,ij)^2 / N. The mean over the batch is the paper's
    loss, the squared Frobenius norm over N^2.

    Args:
        student_features: float [N, ...], flattened.
        teacher_features: float [N, ...], flattened; of any width; not detached here.

    Returns:
        One loss per sample, [N].

    Raises:
        ShapeError: if the numbers of samples differ.

    Source: Tung and Mori, Similarity-Preserving Knowledge Distillation, ICCV 2019, eq. 2-4.
    """
    student, teacher = _rows(student_features, teacher_features)
    with torch.autocast(student.device.type, enabled=False):
        difference = unit(student @ student.T) - unit(teacher @ teacher.T)
    return difference.square().mean(-1)


def _distances(rows: Tensor) -> Tensor:
    """Return pairwise distances over their mean, [N, N] (psi_D of the paper)."""
    # Exact differences: the faster matrix form loses small distances to rounding.
    distances = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")
    scale = distances.sum() / max(len(rows) * (len(rows) - 1), 1)
    return distances / scale.masked_fill(scale == 0, 1.0)


def relational_distance(student_features: Tensor, teacher_features: Tensor) -> Tensor:
    """Return how much a sample's distances to the others, relative to the batch's mean distance, differ from the teacher's.

    Row i is the mean over j != i of the Huber loss (delta 1) between the normalised distances; 0 for a batch of one.

    Args:
        student_features: float [N, ...], flattened.
        teacher_features: float [N, ...], flattened; of any width; not detached here.

    Returns:
        One loss per sample, [N].

    Raises:
        ShapeError: if the numbers of samples differ.

    Source: Park et al., Relational Knowledge Distillation, CVPR 2019, eq. 6-8 (sums over pairs turned into means).
    """
    student, teacher = _rows(student_features, teacher_features)
    error = functional.smooth_l1_loss(_distances(student), _distances(teacher), reduction="none")
    return error.sum(-1) / max(len(student) - 1, 1)


def _cosines(rows: Tensor) -> Tensor:
    """Return the cosine of the angle at sample j between samples i and k, [j, i, k] (psi_A of the paper)."""
    directions = unit(rows.unsqueeze(0) - rows.unsqueeze(1))
    return directions @ directions.transpose(1, 2)


def relational_angle(student_features: Tensor, teacher_features: Tensor) -> Tensor:
    """Return how much the angles at a sample, between every two others, differ from the teacher's.

    Row j is the mean over ordered pairs (i, k) of other samples of the Huber loss (delta 1) between cosines; 0 for a batch below three.
    It needs memory for N^3 numbers.

    Args:
        student_features: float [N, ...], flattened.
        teacher_features: float [N, ...], flattened; of any width; not detached here.

    Returns:
        One loss per sample, [N].

    Raises:
        ShapeError: if the numbers of samples differ.

    Source: Park et al., Relational Knowledge Distillation, CVPR 2019, eq. 9-11 (sums over triples turned into means).
    """
    student, teacher = _rows(student_features, teacher_features)
    with torch.autocast(student.device.type, enabled=False):
        error = functional.smooth_l1_loss(_cosines(student), _cosines(teacher), reduction="none")
    # i = k is no pair; i = j and k = j are zero on both sides already.
    pairs = error.masked_fill(torch.eye(len(error), dtype=torch.bool, device=error.device), 0.0)
    return pairs.sum((1, 2)) / max((len(error) - 1) * (len(error) - 2), 1)


def relational(student_features: Tensor, teacher_features: Tensor, *, distance_weight: float = 1.0, angle_weight: float = 2.0) -> Tensor:
    """Return the weighted sum of `relational_distance` and `relational_angle`.

    Args:
        student_features: float [N, ...], flattened.
        teacher_features: float [N, ...], flattened; of any width; not detached here.
        distance_weight: weight of the distances; 0 leaves them out. Default 1.
        angle_weight: weight of the angles; 0 leaves them out. Default 2, the paper's ratio.

    Returns:
        One loss per sample, [N].

    Raises:
        ShapeError: if the numbers of samples differ.

    Source: Park et al., Relational Knowledge Distillation, CVPR 2019, section 4.
    """
    student, teacher = _rows(student_features, teacher_features)
    loss = student.new_zeros(len(student))
    if distance_weight:
        loss = loss + distance_weight * relational_distance(student, teacher)
    if angle_weight:
        loss = loss + angle_weight * relational_angle(student, teacher)
    return loss
