"""Views that change values: noise, erased boxes, normalisation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from tutelage.errors import OptionError, ShapeError
from tutelage.views.base import Source, View, draw, draw_normal, require_fraction, require_images
from tutelage.views.rows import rowwise


def gaussian_noise(std: float = 0.1) -> View:
    """Add normal noise to every pixel and clip to [0, 1].

    Args:
        std: standard deviation on the scale [0, 1] of images, at least 0.

    Returns:
        The view.

    Raises:
        OptionError: if `std` is negative.
    """
    if std < 0:
        raise OptionError(f"The view 'noise' got std={std}: expected at least 0.")
    return partial(_noise, std=std)


@rowwise
def _noise(images: Tensor, generator: Source = None, *, std: float) -> Tensor:
    require_images(images, "noise")
    return draw_normal(images, generator).mul_(std).add_(images).clamp_(0, 1)


def random_erasing(
    probability: float = 0.5, area: tuple[float, float] = (0.02, 0.33), ratio: tuple[float, float] = (0.3, 3.3), value: float = 0.0
) -> View:
    """Erase one box of random area, shape and place in every chosen image.

    With `area=(a, a)` and `ratio=(1, 1)` it is Cutout with boxes that stay inside the image.

    Args:
        probability: share of images that get a box, 0 to 1.
        area: least and largest area of the box as fractions of the image.
        ratio: least and largest height of the box over its width, drawn uniformly in logarithm.
        value: what the box is filled with.

    Returns:
        The view. Boxes that would be longer than the image are cut to its length.

    Raises:
        OptionError: if a range is empty or out of bounds.

    Source: Zhong et al., Random Erasing Data Augmentation, AAAI 2020, algorithm 1; DeVries and Taylor, arXiv 1708.04552.
    """
    require_fraction("erase", "probability", probability)
    if not 0 <= area[0] <= area[1] <= 1 or not 0 < ratio[0] <= ratio[1]:
        raise OptionError(f"The view 'erase' got area={area}, ratio={ratio}: expected 0 <= least <= largest <= 1 and 0 < least <= largest.")
    return partial(_erase, probability=probability, area=area, ratio=ratio, value=value)


@rowwise
def _erase(
    images: Tensor,
    generator: Source = None,
    *,
    probability: float,
    area: tuple[float, float],
    ratio: tuple[float, float],
    value: float,
) -> Tensor:
    require_images(images, "erase")
    height, width = images.shape[-2:]
    chance, size, shape, top, left = draw(5, images, generator)
    pixels = (area[0] + (area[1] - area[0]) * size) * height * width
    stretch = (math.log(ratio[0]) + (math.log(ratio[1]) - math.log(ratio[0])) * shape).exp()
    rows = _inside(torch.arange(height, device=images.device), (pixels * stretch).sqrt(), top, height)
    columns = _inside(torch.arange(width, device=images.device), (pixels / stretch).sqrt(), left, width)
    box = rows[:, :, None] & columns[:, None, :] & (chance < probability)[:, None, None]
    return images.masked_fill(box[:, None], value)


def _inside(places: Tensor, length: Tensor, position: Tensor, limit: int) -> Tensor:
    """Return which of `places` [L] lie in each image's stretch of `length` [N]: bool [N, L]."""
    length = length.round().clamp(max=limit)
    first = (position * (limit - length + 1)).floor().clamp(max=limit - 1)
    return (places >= first[:, None]) & (places < (first + length)[:, None])


def normalise(mean: Sequence[float], std: Sequence[float]) -> View:
    """Subtract a mean and divide by a standard deviation, per channel.

    Args:
        mean: one value per channel, or one for all.
        std: likewise, above 0.

    Returns:
        The view.

    Raises:
        OptionError: if a standard deviation is not positive.
    """
    if not all(value > 0 for value in std):
        raise OptionError(f"The view 'normalise' got std={tuple(std)}: expected values above 0.")
    return partial(_normalise, mean=tuple(mean), std=tuple(std))


@rowwise
def _normalise(images: Tensor, generator: Source = None, *, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    require_images(images, "normalise")
    for name, values in (("mean", mean), ("std", std)):
        if len(values) not in (1, images.shape[1]):
            raise ShapeError(f"The view 'normalise' has {len(values)} values of {name}, but the images {images.shape[1]} channel(s).")
    shift, scale = (images.new_tensor(values).view(1, -1, 1, 1) for values in (mean, std))
    return (images - shift) / scale
