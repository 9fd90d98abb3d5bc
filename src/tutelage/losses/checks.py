"""Checks that losses share: cheap, and without waiting for the device."""

from __future__ import annotations

from torch import Tensor

from tutelage.errors import ShapeError


def same_shape(student: Tensor, teacher: Tensor, what: str) -> None:
    """Refuse two tensors of different shapes, which would broadcast into a loss of something else.

    Args:
        student: the student's tensor.
        teacher: the teacher's, or the target.
        what: what they are, for the message ("logits", "features").

    Raises:
        ShapeError: if the shapes differ.
    """
    if student.shape != teacher.shape:
        raise ShapeError(
            f"{what} of student and teacher differ in shape: {tuple(student.shape)} and {tuple(teacher.shape)}; "
            "both must have the same samples and classes (or features), the last in the last axis"
        )


def same_batch(student: Tensor, teacher: Tensor) -> None:
    """Refuse features that are not of the same samples.

    Args:
        student: the student's features, [N, ...].
        teacher: the teacher's, [N, ...].

    Raises:
        ShapeError: if the first axes differ in length or one tensor has no feature axis.
    """
    if student.ndim < 2 or teacher.ndim < 2 or len(student) != len(teacher):
        raise ShapeError(
            f"features of student and teacher are of shapes {tuple(student.shape)} and {tuple(teacher.shape)}; "
            "both must be [N, ...] with the same number of samples N"
        )
