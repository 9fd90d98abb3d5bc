"""Views that paste a part of one image into another, and say which part."""

from __future__ import annotations

import torch
from torch import Tensor

from tutelage.errors import ShapeError
from tutelage.views.base import Source, draw


def class_mask(labels: Tensor, num_classes: int, generator: Source = None, *, ignore_index: int = 255) -> Tensor:
    """Choose half of the classes that each image holds, rounded up, and return where they are.

    Args:
        labels: class of every pixel, int64 `[N, H, W]`.
        num_classes: C.
        generator: what chooses.
        ignore_index: label of pixels of no class, which are never chosen.

    Returns:
        bool `[N, H, W]`.

    Source: Olsson et al., ClassMix, WACV 2021, algorithm 1.
    """
    known = labels != ignore_index
    safe = torch.where(known, labels, torch.full_like(labels, num_classes)).flatten(1)
    present = torch.zeros(len(labels), num_classes + 1, dtype=torch.bool, device=labels.device).scatter_(1, safe, True)[:, :-1]
    lots = draw(num_classes, labels, generator).T.masked_fill(~present, 2.0)  # classes that are absent come last
    rank = lots.argsort(1).argsort(1)
    chosen = present & (rank < ((present.sum(1, keepdim=True) + 1) // 2))
    padded = torch.cat([chosen, torch.zeros_like(chosen[:, :1])], 1)
    return padded.gather(1, safe).view(labels.shape)


def box_mask(shape: tuple[int, int, int], images: Tensor, generator: Source = None, *, area: float = 0.5) -> Tensor:
    """Return one box of a given share of each image, in a random place and of random proportions: what CutMix pastes and CutOut blanks.

    Args:
        shape: `(N, H, W)`.
        images: a tensor on the device wanted, `[N, ...]`.
        generator: what places the boxes.
        area: share of the image that a box covers, in (0, 1].

    Returns:
        bool `[N, H, W]`.

    Source: Yun et al., CutMix, ICCV 2019, eq. 2; proportions as in French et al., BMVC 2020.
    """
    _, height, width = shape
    stretch, top, left = draw(3, images, generator)
    tall = area ** stretch.clamp(0, 1)
    wide = area / tall
    rows, columns = torch.arange(height, device=images.device), torch.arange(width, device=images.device)
    return _between(rows, tall * height, top, height)[:, :, None] & _between(columns, wide * width, left, width)[:, None, :]


def _between(places: Tensor, length: Tensor, position: Tensor, limit: int) -> Tensor:
    length = length.round().clamp(1, limit)
    first = (position * (limit - length + 1)).floor().clamp(max=limit - 1)
    return (places >= first[:, None]) & (places < (first + length)[:, None])


def paste(mask: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """Return the target with the source wherever the mask is true.

    Args:
        mask: bool `[N, H, W]`.
        source: images `[N, C, H, W]`, or maps `[N, H, W]`.
        target: of the source's shape.

    Raises:
        ShapeError: if the shapes do not fit.
    """
    if source.shape != target.shape or mask.shape != (source.shape[0], *source.shape[-2:]):
        raise ShapeError(
            f"Pasting {list(source.shape)} into {list(target.shape)} by a mask {list(mask.shape)}: expected two of one shape "
            "and a mask [N, H, W] of theirs. Crop both to one size first."
        )
    return torch.where(mask.view(len(mask), *[1] * (source.ndim - 3), *mask.shape[1:]), source, target)
