"""Several views of every image at once: global ones that see most of it, and local ones that see a small part."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tutelage.errors import OptionError
from tutelage.views.base import Compose, Source, View
from tutelage.views.colour import Sometimes, colour_jitter, gaussian_blur, grey, solarise
from tutelage.views.crops import random_resized_crop, several
from tutelage.views.geometry import horizontal_flip

GLOBAL_SCALE, LOCAL_SCALE = (0.3, 1.0), (0.05, 0.3)
"""Areas of global and of local crops, as shares of the image's."""


@dataclass(frozen=True)
class Seen:
    """The views of a batch of N images.

    Args:
        wide: global views `[V_g, N, C, H, W]`.
        narrow: local views `[V_l, N, C, h, w]`, or `None` where there are none.
    """

    wide: Tensor
    narrow: Tensor | None = None

    def __len__(self) -> int:
        return len(self.wide) + (0 if self.narrow is None else len(self.narrow))

    def groups(self) -> list[Tensor]:
        """Return the views as few tensors `[V N, C, H, W]`, one of each size: global ones first, views of one image N apart."""
        if self.narrow is None:
            return [self.wide.flatten(0, 1)]
        if self.wide.shape[2:] == self.narrow.shape[2:]:
            return [torch.cat([self.wide, self.narrow]).flatten(0, 1)]
        return [self.wide.flatten(0, 1), self.narrow.flatten(0, 1)]


class MultiCrop:
    """Draws several global and several local views of every image.

    Args:
        wide: the global view.
        narrow: the local view, which may be of another size; `None` for none.
        wide_count: global views of each image, V_g, at least 1. Default 2.
        narrow_count: local views of each image, V_l; 0 for none. Default 6.

    Raises:
        OptionError: if a number of views is out of range, or local views are asked for without a view to make them.

    Source: Caron et al., Unsupervised learning of visual features by contrasting cluster assignments, NeurIPS 2020, section 3.3.
    """

    def __init__(self, wide: View, narrow: View | None = None, *, wide_count: int = 2, narrow_count: int = 6) -> None:
        if wide_count < 1 or narrow_count < 0:
            raise OptionError(f"Multi-crop got {wide_count} global and {narrow_count} local views: expected at least 1 and at least 0.")
        if narrow is None and narrow_count:
            raise OptionError(f"Multi-crop was asked for {narrow_count} local views but has no view that makes them; give one, or 0.")
        self.wide, self.narrow, self.wide_count, self.narrow_count = wide, narrow, wide_count, narrow_count

    def __call__(self, images: Tensor, generator: Source = None) -> Seen:
        """Return the views of images `[N, C, H, W]`, each drawn by itself."""
        wide = several(self.wide, images, self.wide_count, generator)
        if self.narrow is None or not self.narrow_count:
            return Seen(wide)
        return Seen(wide, several(self.narrow, images, self.narrow_count, generator))


def crop_and_colour(
    size: int | tuple[int, int] | None = None,
    *,
    scale: tuple[float, float] = GLOBAL_SCALE,
    flip: float = 0.5,
    jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.2, 0.1),
    jitter_probability: float = 0.8,
    grey_probability: float = 0.2,
    blur_probability: float = 0.5,
    blur_kernel: int | None = None,
    solarise_probability: float = 0.2,
) -> View:
    """Return the usual view of self-supervised learning: crop, flip, colour jitter, grey, blur, solarise.

    Args:
        size: height and width of the crop; `None` for those of the images.
        scale: least and largest area of the crop; `GLOBAL_SCALE` by default, `LOCAL_SCALE` for local views.
        flip: probability of mirroring.
        jitter: brightness, contrast, saturation and hue (see `colour_jitter`).
        jitter_probability: how often colours are jittered.
        grey_probability: how often they are taken away; images of one channel stay as they are.
        blur_probability: how often the image is blurred.
        blur_kernel: odd length of the kernel in pixels; `None` for a tenth of the height.
        solarise_probability: how often values above one half are inverted.

    Returns:
        The view.

    Source: the views of arXiv 2511.08544, appendix.
    """
    return Compose(
        [
            random_resized_crop(size, scale=scale),
            horizontal_flip(flip),
            Sometimes(colour_jitter(*jitter), jitter_probability),
            Sometimes(grey(), grey_probability),
            Sometimes(gaussian_blur(kernel=blur_kernel), blur_probability),
            Sometimes(solarise(0.5), solarise_probability),
        ]
    )
