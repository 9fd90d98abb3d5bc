"""Crops of random place, size and shape, brought to one size."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from tutelage.errors import OptionError
from tutelage.views.base import Source, View, draw, require_images
from tutelage.views.geometry import sampling_grid
from tutelage.views.rows import rowwise


def random_resized_crop(
    size: int | tuple[int, int] | None = None, *, scale: tuple[float, float] = (0.08, 1.0), ratio: tuple[float, float] = (3 / 4, 4 / 3)
) -> View:
    """Cut a window of random area, shape and place out of every image and bring it to one size, bilinear.

    Where a window is shrunk, its pixels are averaged, so that nothing is skipped.

    Args:
        size: height and width of the result, or one number for both; `None` for those of the images.
        scale: least and largest area of the window, as shares of the image's.
        ratio: least and largest width of the window over its height, drawn uniformly in logarithm. A window that would not fit is cut.

    Returns:
        The view.

    Raises:
        OptionError: if a range is empty or out of bounds.

    Source: Szegedy et al., Going deeper with convolutions, CVPR 2015, section 6.
    """
    if not 0 < scale[0] <= scale[1] <= 1 or not 0 < ratio[0] <= ratio[1]:
        raise OptionError(f"A random resized crop got scale={scale}, ratio={ratio}: expected 0 < least <= largest (<= 1 for the scale).")
    shape = (size, size) if isinstance(size, int) else size
    if shape is not None and min(shape) < 1:
        raise OptionError(f"A random resized crop got size={size}: expected at least one pixel.")
    return partial(_resized_crop, size=shape, scale=scale, ratio=ratio)


@rowwise
def _resized_crop(
    images: Tensor, generator: Source = None, *, size: tuple[int, int] | None, scale: tuple[float, float], ratio: tuple[float, float]
) -> Tensor:
    require_images(images, "resized-crop")
    height, width = images.shape[-2:]
    area, shape, top, left = draw(4, images, generator)
    area = scale[0] + (scale[1] - scale[0]) * area
    stretch = (math.log(ratio[0]) + (math.log(ratio[1]) - math.log(ratio[0])) * shape).exp()
    # Shares of the image's sides; the ratio is one of pixels, so the image's own proportion is taken out.
    tall = (area * width / (height * stretch)).sqrt().clamp(max=1)
    wide = (area * height * stretch / width).sqrt().clamp(max=1)
    largest = min(1.0, math.sqrt(scale[1] * max(width / (height * ratio[0]), height * ratio[1] / width)))
    return windows(images, tall, wide, top * (1 - tall), left * (1 - wide), size or (height, width), largest=largest)


def short_side_crop(size: int = 224, *, short: tuple[int, int] = (256, 320), centre: bool = False) -> View:
    """Scale every image so that its shorter side has a random length, and cut a square out of it.

    Args:
        size: side of the square, in pixels. Default 224.
        short: least and largest length of the shorter side after scaling, in pixels. Default (256, 320).
        centre: cut out the middle instead of a random place.

    Returns:
        The view.

    Raises:
        OptionError: if the square does not fit, or the range is empty.

    Source: Simonyan and Zisserman, Very deep convolutional networks, ICLR 2015, section 3.1 (scale jittering).
    """
    if not 1 <= size <= short[0] <= short[1]:
        raise OptionError(f"A short-side crop got size={size}, short={short}: expected 1 <= size <= least <= largest.")
    return partial(_short_side_crop, size=size, short=short, centre=centre)


@rowwise
def _short_side_crop(images: Tensor, generator: Source = None, *, size: int, short: tuple[int, int], centre: bool) -> Tensor:
    require_images(images, "short-side crop")
    height, width = images.shape[-2:]
    length, top, left = draw(3, images, generator)
    zoom = (short[0] + (short[1] - short[0]) * length) / min(height, width)
    tall, wide = size / (zoom * height), size / (zoom * width)
    if centre:
        top, left = torch.full_like(top, 0.5), torch.full_like(left, 0.5)
    return windows(images, tall, wide, top * (1 - tall), left * (1 - wide), (size, size), largest=size / short[0])


def windows(
    images: Tensor, tall: Tensor, wide: Tensor, top: Tensor, left: Tensor, size: tuple[int, int], *, largest: float | None = None
) -> Tensor:
    """Cut one window out of every image and bring it to one size.

    Args:
        images: `[N, C, H, W]`.
        tall: height of each window as a share of the image's, `[N]`.
        wide: width of each window, likewise.
        top: upper edge of each window as a share of the image's height, `[N]`.
        left: left edge, likewise.
        size: height and width of the result.
        largest: the largest share of a side that such a window can have, by which the points that are averaged are counted, in every
            batch alike; `None` for the largest of these.

    Returns:
        `[N, C, *size]`, bilinear; averaged where a window is shrunk.
    """
    largest = float(torch.maximum(tall, wide).max()) if largest is None else largest
    zero = torch.zeros_like(tall)
    across = torch.stack([wide, zero, 2 * left + wide - 1], 1)
    along = torch.stack([zero, tall, 2 * top + tall - 1], 1)
    often = max(1, round(max(images.shape[-2] / size[0], images.shape[-1] / size[1]) * largest))
    grid = sampling_grid(torch.stack([across, along], 1).to(images.dtype), (size[0] * often, size[1] * often))
    found = F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return F.avg_pool2d(found, often) if often > 1 else found


def several(view: View, images: Tensor, count: int, generator: Source = None) -> Tensor:
    """Return several different views of every image in one call.

    Args:
        view: the view, random per image.
        images: `[N, C, H, W]`.
        count: views of each.
        generator: what draws them.

    Returns:
        `[count, N, ...]`.

    Raises:
        OptionError: if the count is below 1.
    """
    if count < 1:
        raise OptionError(f"{count} views of each image were asked for; expected at least 1.")
    changed = view(images.repeat(count, 1, 1, 1), generator)  # type: ignore[arg-type]
    return changed.view(count, len(images), *changed.shape[1:])
