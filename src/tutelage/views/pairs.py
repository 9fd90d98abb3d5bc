"""Views that move images and their pixel labels together."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from tutelage.errors import OptionError
from tutelage.views.base import Source, draw, require_fraction, require_images
from tutelage.views.geometry import sampling_grid

JointView = Callable[[Tensor, Tensor | None, Source], tuple[Tensor, Tensor | None]]
"""`view(images [N, C, H, W], labels [N, H, W] or None, generator) -> (images, labels)`: both moved alike."""


def joint_crop(
    size: int | tuple[int, int] | None = None,
    *,
    scale: tuple[float, float] = (1.0, 1.0),
    flip: float = 0.5,
    ignore_index: int = 255,
) -> JointView:
    """Scale every image by its own factor, cut a window of one size out of it, and mirror some of them.

    Images are read bilinearly, labels from the nearest pixel; what lies outside is black and of no class.

    Args:
        size: height and width of the window, or one number for both; `None` for those of the images.
        scale: least and largest factor, above 0.
        flip: share of images that are mirrored left to right.
        ignore_index: label of pixels of no class.

    Returns:
        The view.

    Raises:
        OptionError: if an option is out of range.
    """
    if not 0 < scale[0] <= scale[1]:
        raise OptionError(f"A joint crop got scale={scale}: expected 0 < least <= largest.")
    require_fraction("joint crop", "flip", flip)
    shape = (size, size) if isinstance(size, int) else size
    return partial(_joint_crop, size=shape, scale=scale, flip=flip, ignore_index=ignore_index)


def _joint_crop(
    images: Tensor,
    labels: Tensor | None,
    generator: Source = None,
    *,
    size: tuple[int, int] | None,
    scale: tuple[float, float],
    flip: float,
    ignore_index: int,
) -> tuple[Tensor, Tensor | None]:
    require_images(images, "joint crop")
    height, width = images.shape[-2:]
    out = size or (height, width)
    zoom, top, left, chance = draw(4, images, generator)
    zoom = scale[0] + (scale[1] - scale[0]) * zoom
    # Extent of the window in grid coordinates, in which the image spans [-1, 1]; where it is smaller than the image it may slide.
    tall, wide = out[0] / (zoom * height), out[1] / (zoom * width)
    down = (2 * top - 1) * (1 - tall).clamp_min(0)
    right = (2 * left - 1) * (1 - wide).clamp_min(0)
    mirror = torch.where(chance < flip, -1.0, 1.0)
    zero = torch.zeros_like(tall)
    matrix = torch.stack([torch.stack([wide * mirror, zero, right], 1), torch.stack([zero, tall, down], 1)], 1)
    grid = sampling_grid(matrix.to(images.dtype), out)
    moved = F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    if labels is None or labels.ndim != 3:
        return moved, labels
    # Counted from 1, so that the zeros outside become the label of no class.
    found = F.grid_sample((labels[:, None] + 1).to(images.dtype), grid, mode="nearest", padding_mode="zeros", align_corners=False)
    whole = found[:, 0].round().long() - 1
    return moved, torch.where(whole < 0, torch.full_like(whole, ignore_index), whole)
