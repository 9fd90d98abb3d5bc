"""What a view is, views one after the other, and views by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from tutelage.errors import OptionError, ShapeError
from tutelage.views.rows import Part, RowSeeds, in_tiles, is_rowwise

View = Callable[[Tensor, torch.Generator | None], Tensor]
"""`view(images [N, C, H, W], generator) -> images`: random per sample, and the same for a generator in the same state."""

Source = torch.Generator | RowSeeds | Part | None
"""Where a view's random numbers come from: a generator, one seed per sample, what draws for a larger batch, or the default generator."""


class Compose:
    """Views one after the other, all drawing from the same generator.

    Args:
        views: the views, first applied first.
    """

    def __init__(self, views: Iterable[View]) -> None:
        self.views = tuple(views)

    def __call__(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the images after every view."""
        return in_tiles(self._all, images, generator) if is_rowwise(self) else self._all(images, generator)

    def _all(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        for view in self.views:
            images = view(images, generator)
        return images


def draw(each: int, images: Tensor, source: Source, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Draw uniform numbers on the source's device, for images on any device.

    Args:
        each: how many for each image.
        images: where they are used, `[N, C, H, W]`.
        source: what draws them; `None` for the default generator of the images' device.
        low: least value.
        high: bound above.

    Returns:
        `[each, N]`, float32 on the images' device.
    """

    def numbers(source: Source, rows: int) -> Tensor:
        if isinstance(source, Part):
            return source.take(numbers, 1)
        if isinstance(source, RowSeeds):
            return source.uniform(each)
        device = images.device if source is None else source.device
        return torch.rand(each * rows, generator=source, device=device).view(each, rows)

    return numbers(source, len(images)).mul_(high - low).add_(low).to(images.device)


def draw_normal(images: Tensor, source: Source) -> Tensor:
    """Draw a standard normal number for every pixel.

    Args:
        images: `[N, C, H, W]`.
        source: what draws them; `None` for the default generator of the images' device.

    Returns:
        As the images.
    """

    def numbers(source: Source, rows: int) -> Tensor:
        if isinstance(source, Part):
            return source.take(numbers, 0)
        shape = torch.Size((rows, *images.shape[1:]))
        if isinstance(source, RowSeeds):
            return source.normal(shape)
        return torch.randn(shape, generator=source, device=images.device if source is None else source.device)

    return numbers(source, len(images)).to(images)


def require_images(images: Tensor, view: str) -> None:
    """Refuse what is not a batch of images.

    Args:
        images: what a view was given.
        view: name of the view, for the message.

    Raises:
        ShapeError: if it is not a floating-point tensor `[N, C, H, W]`.
    """
    if not isinstance(images, Tensor) or images.ndim != 4 or not images.is_floating_point():
        got = f"{images.dtype} {tuple(images.shape)}" if isinstance(images, Tensor) else f"a {type(images).__name__}"
        raise ShapeError(
            f"The view '{view}' changes images, floating-point [N, C, H, W]; it got {got}. Use the view 'none' for other data."
        )


def require_fraction(view: str, name: str, value: float) -> None:
    """Refuse an option of a view that is not within 0 and 1."""
    if not 0 <= value <= 1:
        raise OptionError(f"The view '{view}' got {name}={value}: expected 0 to 1.")
