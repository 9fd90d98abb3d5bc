"""Views that move pixels: crops, mirror images, small rotations, shifts and scalings."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from tutelage.errors import OptionError
from tutelage.views.base import Source, View, draw, require_fraction, require_images
from tutelage.views.rows import rowwise


def random_crop(padding: int | None = None) -> View:
    """Shift every image by its own whole number of pixels, black at the border it leaves.

    The image is padded on all sides and a window of its own size is cut out at random.

    Args:
        padding: pixels of the border, at least 0; `None` for an eighth of the height (4 for 32, 3 for 28, 1 for 8).

    Returns:
        The view.

    Raises:
        OptionError: if `padding` is negative.
    """
    if padding is not None and padding < 0:
        raise OptionError(f"The view 'crop' got padding={padding}: expected at least 0 pixels.")
    return partial(_crop, padding=padding)


@rowwise
def _crop(images: Tensor, generator: Source = None, *, padding: int | None) -> Tensor:
    require_images(images, "crop")
    number, _, height, width = images.shape
    border = max(1, height // 8) if padding is None else padding
    places = 2 * border + 1
    top, left = draw(2, images, generator).mul_(places).long().clamp_(max=places - 1)
    windows = F.pad(images, (border,) * 4).unfold(2, height, 1).unfold(3, width, 1)  # a view [N, C, places, places, H, W]
    return windows[torch.arange(number, device=images.device), :, top, left]


def horizontal_flip(probability: float = 0.5) -> View:
    """Mirror every image left to right with a probability.

    Args:
        probability: 0 to 1.

    Returns:
        The view.

    Raises:
        OptionError: if `probability` is out of range.
    """
    require_fraction("flip", "probability", probability)
    return partial(_flip, probability=probability)


@rowwise
def _flip(images: Tensor, generator: Source = None, *, probability: float) -> Tensor:
    require_images(images, "flip")
    chosen = draw(1, images, generator)[0] < probability
    if images.device.type != "cpu":
        return torch.where(chosen[:, None, None, None], images.flip(-1), images)
    rows = chosen.nonzero().squeeze(1)
    return images.index_copy(0, rows, images.index_select(0, rows).flip(-1))


def random_affine(degrees: float = 15.0, shift: float = 0.0, scale: float | tuple[float, float] = 0.0) -> View:
    """Rotate, shift and scale every image by its own random amounts, bilinear, black outside.

    Args:
        degrees: largest rotation to either side, in degrees.
        shift: largest shift to either side, as a fraction of height and width, 0 to 1.
        scale: largest relative change of size, 0 to 1 (0.1: from 0.9 to 1.1 times); or the least and the largest factor, above 0.

    Returns:
        The view.

    Raises:
        OptionError: if an amount is out of range.
    """
    require_fraction("affine", "shift", shift)
    sizes = scale if isinstance(scale, tuple) else (1 - scale, 1 + scale)
    if not 0 < sizes[0] <= sizes[1] or not 0 <= degrees <= 180:
        raise OptionError(
            f"The view 'affine' got degrees={degrees}, scale={scale}: expected 0 to 180, and 0 to below 1 or "
            "two factors 0 < least <= largest."
        )
    return partial(_affine, degrees=degrees, shift=shift, sizes=sizes)


@rowwise
def _affine(images: Tensor, generator: Source = None, *, degrees: float, shift: float, sizes: tuple[float, float]) -> Tensor:
    require_images(images, "affine")
    height, width = images.shape[-2:]
    turn, size, down, right = draw(4, images, generator, -1.0, 1.0)
    angle, zoom = turn * math.radians(degrees), (sizes[0] + sizes[1]) / 2 + (sizes[1] - sizes[0]) / 2 * size
    aspect = height / width  # grid coordinates span [-1, 1] along both sides, so rotation must undo their proportion
    cosine, sine = angle.cos() / zoom, angle.sin() / zoom
    across = torch.stack([cosine, sine * aspect, 2 * shift * right], 1)
    along = torch.stack([-sine / aspect, cosine, 2 * shift * down], 1)
    grid = sampling_grid(torch.stack([across, along], 1).to(images.dtype), (height, width))
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def sampling_grid(matrix: Tensor, size: tuple[int, int]) -> Tensor:
    """Return where `F.grid_sample` reads each pixel of an affine view: `F.affine_grid` with edges at -1 and 1, several times as fast.

    Args:
        matrix: `[N, 2, 3]`, from coordinates of the result to those of the image.
        size: height and width of the result.

    Returns:
        `[N, height, width, 2]`.
    """
    down, right = (
        torch.arange(1 - length, length, 2, device=matrix.device, dtype=matrix.dtype).div_(length) for length in size
    )  # middles of the pixels
    grid = matrix.new_empty(len(matrix), *size, 2)
    for axis in (0, 1):
        along_x, along_y, shift = matrix[:, axis, :, None].unbind(1)
        torch.add((along_x * right)[:, None, :], (along_y * down + shift)[:, :, None], out=grid[..., axis])
    return grid
