"""Views that cut windows of a fixed size without scaling: the centre, and patches of a grid."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from tutelage.errors import OptionError, ShapeError
from tutelage.views.base import Source, View, draw, require_images
from tutelage.views.crops import several
from tutelage.views.rows import rowwise


def centre_crop(size: int | tuple[int, int]) -> View:
    """Cut the middle out of every image; nothing is random.

    Args:
        size: height and width of the window, or one number for both. An image that is shorter or narrower stays so.

    Returns:
        The view.

    Raises:
        OptionError: if the window is empty.
    """
    shape = (size, size) if isinstance(size, int) else size
    if min(shape) < 1:
        raise OptionError(f"A centre crop got size={size}: expected at least one pixel.")
    return partial(_centre, size=shape)


@rowwise
def _centre(images: Tensor, generator: Source = None, *, size: tuple[int, int]) -> Tensor:
    require_images(images, "centre-crop")
    height, width = (min(side, wanted) for side, wanted in zip(images.shape[-2:], size, strict=True))
    top, left = (images.shape[-2] - height) // 2, (images.shape[-1] - width) // 2
    return images[:, :, top : top + height, left : left + width]


class Several:
    """A view drawn several times: `(images [N, ...], generator) -> [count, N, ...]`.

    Args:
        view: the view, random per image.
        count: draws for each image. Default 2.

    Raises:
        OptionError: if the count is below 1.
    """

    def __init__(self, view: View, count: int = 2) -> None:
        if count < 1:
            raise OptionError(f"{count} views of each image were asked for; expected at least 1.")
        self.view, self.count = view, count

    def __call__(self, images: Tensor, generator: Source = None) -> Tensor:
        """Return the draws `[count, N, ...]`, each by itself."""
        return several(self.view, images, self.count, generator)


class GridPatches:
    """Cuts overlapping patches at the places of a grid, each shifted by its own whole number of pixels, and keeps some of them.

    The grid spreads over the image such that the last patch, at its largest shift, touches the border.

    Args:
        size: side of a patch in pixels. Default 96.
        grid: places along each side. Default 3.
        jitter: largest shift of a patch to the right and downwards, in pixels, at least 0. Default 24.
        count: patches of each image, chosen at random among the `grid * grid`, none twice. Default 5.
        before: view of the whole image from which patches are cut, or `None`.

    Raises:
        OptionError: if a number is out of range.

    Source: Gidaris et al., OBoW, CVPR 2021, section 3.3; the sizes are those for images of 256 x 256.
    """

    def __init__(self, size: int = 96, *, grid: int = 3, jitter: int = 24, count: int = 5, before: View | None = None) -> None:
        if size < 1 or grid < 1 or jitter < 0 or not 1 <= count <= grid * grid:
            raise OptionError(
                f"Grid patches got size={size}, grid={grid}, jitter={jitter}, count={count}: "
                f"expected at least 1, 1 and 0, and a count from 1 to {grid * grid}, the places of the grid."
            )
        self.size, self.grid, self.jitter, self.count, self.before = size, grid, jitter, count, before

    def __call__(self, images: Tensor, generator: Source = None) -> Tensor:
        """Return the patches of images `[N, C, H, W]`: `[count, N, C, size, size]`.

        Raises:
            ShapeError: if the images are smaller than a patch and its jitter.
        """
        if self.before is not None:
            images = self.before(images, generator)  # type: ignore[arg-type]
        require_images(images, "grid-patches")
        number, _, height, width = images.shape
        if min(height, width) < self.size + self.jitter:
            raise ShapeError(
                f"Images of {height}x{width} are too small for patches of {self.size} pixels shifted by up to {self.jitter}: "
                f"expected at least {self.size + self.jitter}. Lower size or jitter."
            )
        places = self.grid * self.grid
        order, down, right = torch.split(draw(places + 2 * self.count, images, generator), [places, self.count, self.count])
        cell = order.argsort(0)[: self.count]  # [count, N]
        top = self._start(cell // self.grid, height, down)
        left = self._start(cell % self.grid, width, right)
        windows = images.unfold(2, self.size, 1).unfold(3, self.size, 1)  # a view [N, C, tops, lefts, size, size]
        return windows[torch.arange(number, device=images.device), :, top, left]

    def _start(self, place: Tensor, length: int, chance: Tensor) -> Tensor:
        """Return the first pixel of patches at places 0 to grid - 1 of a side, shifted."""
        apart = (length - self.size - self.jitter) // max(self.grid - 1, 1)
        return place * apart + (chance * (self.jitter + 1)).long().clamp_(max=self.jitter)
