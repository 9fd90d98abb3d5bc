"""Views that change colours and sharpness: jitter, grey, blur, solarisation; and any view for only some of the images."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from tutelage.errors import OptionError
from tutelage.views.base import Source, View, draw, require_fraction, require_images
from tutelage.views.rows import Part, in_tiles, is_rowwise, rowwise

GREY = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in brightness (ITU-R BT.601)."""


class Sometimes:
    """A view of each image with a probability; the other images stay as they are.

    Args:
        view: the view; it must keep the images' shape.
        probability: 0 to 1.

    Raises:
        OptionError: if the probability is out of range.
    """

    def __init__(self, view: View, probability: float) -> None:
        require_fraction("sometimes", "probability", probability)
        self.views = (view,)
        self.probability = probability

    def __call__(self, images: Tensor, generator: Source = None) -> Tensor:
        """Return the images, some of them changed."""
        return in_tiles(self._some, images, generator) if is_rowwise(self) else self._some(images, generator)

    def _some(self, images: Tensor, source: Source) -> Tensor:
        (view,) = self.views
        chosen = draw(1, images, source)[0] < self.probability
        # Finding the chosen would make a GPU wait, and somebody else's view cannot be told to draw for the others too.
        if images.device.type != "cpu" or not len(images) or not is_rowwise(view):
            return torch.where(chosen[:, None, None, None], view(images, source), images)  # type: ignore[arg-type]
        rows = chosen.nonzero().squeeze(1)
        # Where none is chosen the view still draws, so that what is drawn later does not depend on who is.
        part = rows if len(rows) else rows.new_zeros(1)
        changed = view(images.index_select(0, part), Part(source, len(images), part, []))  # type: ignore[arg-type]
        return images.index_copy(0, rows, changed[: len(rows)]) if len(rows) < len(images) else changed


def colour_jitter(brightness: float = 0.4, contrast: float = 0.4, saturation: float = 0.4, hue: float = 0.1) -> View:
    """Change brightness, contrast, saturation and hue of every image by its own random factors, in this order.

    Images of one channel have neither saturation nor hue, which are then left out.

    Args:
        brightness: factors are drawn from 1 - b to 1 + b, at least 0.
        contrast: likewise, towards the image's mean brightness.
        saturation: likewise, towards grey.
        hue: turns are drawn from -h to h, in turns of the colour wheel, at most 0.5.

    Returns:
        The view; results are cut to [0, 1].

    Raises:
        OptionError: if an amount is out of range.
    """
    if min(brightness, contrast, saturation) < 0 or not 0 <= hue <= 0.5:
        raise OptionError(
            f"Colour jitter got brightness={brightness}, contrast={contrast}, saturation={saturation}, hue={hue}: "
            "expected at least 0, and a hue of at most 0.5."
        )
    return partial(_jitter, brightness=brightness, contrast=contrast, saturation=saturation, hue=hue)


@rowwise
def _jitter(images: Tensor, generator: Source = None, *, brightness: float, contrast: float, saturation: float, hue: float) -> Tensor:
    require_images(images, "colour-jitter")
    light, spread, strength, turn = draw(4, images, generator, -1.0, 1.0)[:, :, None, None, None]
    changed = adjusted(images, brightness=(1 + brightness * light).clamp_min(0), contrast=(1 + contrast * spread).clamp_min(0))
    if images.shape[1] == 1:
        return changed
    changed = _spread(changed, brightness_of(changed), (1 + saturation * strength).clamp_min(0))
    return turned(changed, hue * turn) if hue else changed


def adjusted(images: Tensor, *, brightness: Tensor, contrast: Tensor) -> Tensor:
    """Return images with brightness multiplied, then contrast, by factors `[N, 1, 1, 1]`."""
    images = (images * brightness).clamp_(0, 1)
    return _spread(images, brightness_of(images).mean((2, 3), keepdim=True), contrast)


def _spread(images: Tensor, middle: Tensor, factor: Tensor) -> Tensor:
    """Return images whose distance from a middle is multiplied, cut to [0, 1]."""
    return (images - middle).mul_(factor).add_(middle).clamp_(0, 1)


def brightness_of(images: Tensor) -> Tensor:
    """Return the brightness of each pixel, `[N, 1, H, W]`; of images that are not of three channels the mean over channels."""
    if images.shape[1] != 3:
        return images.mean(1, keepdim=True)
    red, green, blue = torch.split(images, 1, 1)
    return (red * GREY[0]).add_(green, alpha=GREY[1]).add_(blue, alpha=GREY[2])


def turned(images: Tensor, turn: Tensor) -> Tensor:
    """Return images with every hue turned on the colour wheel, saturation and value as they were.

    Args:
        images: `[N, 3, H, W]` in [0, 1].
        turn: turns, `[N, 1, 1, 1]`.

    Returns:
        As the images.
    """
    red, green, blue = torch.split(images, 1, 1)
    high, low = torch.maximum(torch.maximum(red, green), blue), torch.minimum(torch.minimum(red, green), blue)
    span = high - low
    safe = span.clamp_min(1e-12)
    of_green, of_blue = (blue - red).add_(safe, alpha=2), (red - green).add_(safe, alpha=4)
    sixth = torch.where(high == red, green - blue, torch.where(high == green, of_green, of_blue)).div_(safe).add_(6 * turn)
    # torch's remainder takes ten times as long.
    sixth = sixth - 6 * (sixth / 6).floor_()
    # How much of the span each channel holds above the lowest, at a hue of 0 to 6.
    shares = ((sixth - 3).abs_() - 1, 2 - (sixth - 2).abs_(), 2 - (sixth - 4).abs_())
    return torch.cat([torch.addcmul(low, span, share.clamp_(0, 1)) for share in shares], 1)


def grey() -> View:
    """Replace the colours of every image by its brightness, in all channels."""
    return _grey


@rowwise
def _grey(images: Tensor, generator: Source = None) -> Tensor:
    require_images(images, "grey")
    return brightness_of(images).expand_as(images)


def gaussian_blur(sigma: tuple[float, float] = (0.1, 2.0), *, kernel: int | None = None) -> View:
    """Blur every image by a Gaussian of its own random width.

    Args:
        sigma: least and largest standard deviation, in pixels, above 0.
        kernel: odd length of the kernel in pixels; `None` for a tenth of the height, at least 3.

    Returns:
        The view; borders are reflected.

    Raises:
        OptionError: if the range is empty or the kernel even.
    """
    if not 0 < sigma[0] <= sigma[1] or (kernel is not None and (kernel < 1 or kernel % 2 == 0)):
        raise OptionError(f"A Gaussian blur got sigma={sigma}, kernel={kernel}: expected 0 < least <= largest and an odd kernel.")
    return partial(_blur, sigma=sigma, kernel=kernel)


@rowwise
def _blur(images: Tensor, generator: Source = None, *, sigma: tuple[float, float], kernel: int | None) -> Tensor:
    require_images(images, "blur")
    number, channels, height, width = images.shape
    half = max(3, height // 10 | 1) // 2 if kernel is None else kernel // 2
    half = min(half, height - 1, width - 1)
    spread = draw(1, images, generator, *sigma)[0]
    if not number:
        return images
    places = torch.arange(-half, half + 1, device=images.device)
    weights = torch.exp(-(places[None, :] ** 2) / (2 * spread[:, None] ** 2)).to(images.dtype)
    weights = (weights / weights.sum(1, keepdim=True)).repeat_interleave(channels, 0)
    flat = F.pad(images, (half,) * 4, mode="reflect").reshape(1, number * channels, height + 2 * half, width + 2 * half)
    flat = F.conv2d(flat, weights[:, None, :, None], groups=number * channels)
    return F.conv2d(flat, weights[:, None, None, :], groups=number * channels).view(images.shape)


def solarise(threshold: float = 0.5) -> View:
    """Invert all values above a threshold.

    Args:
        threshold: 0 to 1.

    Returns:
        The view.

    Raises:
        OptionError: if the threshold is out of range.
    """
    require_fraction("solarise", "threshold", threshold)
    return partial(_solarise, threshold=threshold)


@rowwise
def _solarise(images: Tensor, generator: Source = None, *, threshold: float) -> Tensor:
    require_images(images, "solarise")
    return torch.where(images >= threshold, 1 - images, images)
