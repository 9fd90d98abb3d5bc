"""Distances between features of the same sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from tutelage.errors import OptionError, ShapeError
from tutelage.losses.checks import same_batch, same_shape
from tutelage.targets.soften import HALF


def full(features: Tensor) -> Tensor:
    """Return features in float32 if they are of a half type, else as they are."""
    return features.float() if features.dtype in HALF else features


def unit(features: Tensor, dim: int = -1) -> Tensor:
    """Return features scaled to Euclidean length 1; those of (almost) no length stay as they are.

    Dividing by a tiny constant instead would multiply the gradient of a dead feature by its inverse.

    Args:
        features: float, any shape.
        dim: the axis whose length becomes 1.

    Returns:
        Features of the same shape.
    """
    length: Tensor = torch.linalg.vector_norm(features, dim=dim, keepdim=True)
    return features / length.masked_fill(length < 1e-8, 1.0)


def mse(student_features: Tensor, teacher_features: Tensor, *, dim: int | tuple[int, ...] = -1) -> Tensor:
    """Return the mean squared difference over the feature axis.

    Args:
        student_features: float [..., D].
        teacher_features: float [..., D]; not detached here.
        dim: axis or axes to average over. Default the last; 1 for maps [N, C, H, W] (one loss per pixel), (1, 2, 3) for one per map.

    Returns:
        One loss per element, the shape without `dim`.

    Raises:
        ShapeError: if the shapes differ.
    """
    same_shape(student_features, teacher_features, "features")
    return (full(student_features) - full(teacher_features)).square().mean(dim)


def cosine(student_features: Tensor, teacher_features: Tensor, *, dim: int = -1) -> Tensor:
    """Return one minus the cosine of the angle between features, from 0 (same direction) to 2 (opposite).

    A feature of length zero has no direction: its loss is 1 and its gradient finite.

    Args:
        student_features: float [..., D].
        teacher_features: float [..., D]; not detached here.
        dim: feature axis. Default the last; 1 for maps [N, C, H, W].

    Returns:
        One loss per element, the shape without `dim`.

    Raises:
        ShapeError: if the shapes differ.
    """
    same_shape(student_features, teacher_features, "features")
    return 1.0 - (unit(full(student_features), dim) * unit(full(teacher_features), dim)).sum(dim)


class Projected(nn.Module):
    """A feature loss behind a trainable map from the student's width to the teacher's.

    The projection acts on the channel axis alone (for maps it equals a 1x1 convolution) and is thrown away after training.

    Args:
        student_width: number of the student's features (channels).
        teacher_width: number of the teacher's.
        loss: compares [..., teacher_width] with [..., teacher_width] over the last axis. Default `mse`.
        hidden: widths of hidden layers with ReLU between; none makes the projection linear. Default none.
        axis: channel axis of both features. Default the last; 1 for maps [N, C, H, W].

    Source: Romero et al., FitNets: Hints for Thin Deep Nets, ICLR 2015, eq. 3.
    """

    def __init__(
        self,
        student_width: int,
        teacher_width: int,
        *,
        loss: Callable[[Tensor, Tensor], Tensor] = mse,
        hidden: Sequence[int] = (),
        axis: int = -1,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = student_width
        for next_width in hidden:
            layers += [nn.Linear(width, next_width), nn.ReLU()]
            width = next_width
        self.projection = nn.Sequential(*layers, nn.Linear(width, teacher_width))
        self.student_width = student_width
        self.loss = loss
        self.axis = axis

    def forward(self, student_features: Tensor, teacher_features: Tensor) -> Tensor:
        """Return the loss between projected student features and the teacher's.

        Args:
            student_features: float, `student_width` long in the channel axis.
            teacher_features: float, `teacher_width` long in the channel axis, otherwise of the same shape.

        Returns:
            One loss per element, the shape without the channel axis.

        Raises:
            ShapeError: if a width or the other axes do not fit.
        """
        if student_features.shape[self.axis] != self.student_width:
            raise ShapeError(
                f"student features of shape {tuple(student_features.shape)} have {student_features.shape[self.axis]} channels in axis "
                f"{self.axis}; this projection was made for {self.student_width}"
            )
        projected = self.projection(student_features.movedim(self.axis, -1))
        loss: Tensor = self.loss(projected, teacher_features.movedim(self.axis, -1))
        return loss


def attention_transfer(
    student_maps: Tensor, teacher_maps: Tensor, *, power: float = 2.0, squared: bool = False, channel_axis: int = 1
) -> Tensor:
    """Return the distance between where student and teacher look: the Euclidean distance of their attention maps, each scaled to length 1.

    The attention map of features A is the sum over channels of |A| ** power. The number of channels may differ.

    Args:
        student_maps: float [N, C, ...] (images: [N, C, H, W]).
        teacher_maps: float [N, C', ...] with the same spatial axes; not detached here.
        power: exponent, at least 1; higher looks at peaks. Default 2.
        squared: return the squared distance, whose gradient fades as the maps meet. Default no, as in the paper's equation.
        channel_axis: axis that is summed. Default 1; 2 for tokens [N, L, D].

    Returns:
        One loss per sample, [N].

    Raises:
        ShapeError: if samples or spatial axes differ.
        OptionError: if the power is below 1.

    Source: Zagoruyko and Komodakis, Paying More Attention to Attention, ICLR 2017, eq. 2.
    """
    if power < 1.0:
        raise OptionError(f"power is {power!r}; expected at least 1, below which the gradient at zero is infinite")
    same_batch(student_maps, teacher_maps)
    attention = [full(maps).abs().pow(power).sum(channel_axis).flatten(1) for maps in (student_maps, teacher_maps)]
    if attention[0].shape != attention[1].shape:
        raise ShapeError(
            f"feature maps of shapes {tuple(student_maps.shape)} and {tuple(teacher_maps.shape)} differ in their spatial axes; "
            "pool or interpolate one of them to the size of the other first"
        )
    difference = unit(attention[0]) - unit(attention[1])
    return difference.square().sum(-1) if squared else torch.linalg.vector_norm(difference, dim=-1)
