"""A small U-Net for pixel-wise classification."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tutelage.errors import OptionError


class UNet(nn.Module):
    """Convolutions that halve the image level by level, and as many that bring it back, with skips between equal levels.

    Args:
        num_classes: classes of a pixel.
        in_channels: channels of an image.
        widths: channels of each level, finest first.
        dropout: share of channels dropped at the coarsest level.
        standardise: bring every channel of every image to mean 0 and variance 1 first, so that light and contrast do not count.

    Source: Ronneberger, Fischer and Brox, U-Net, MICCAI 2015; here with batch normalisation, padding and bilinear upsampling.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        in_channels: int = 3,
        widths: Sequence[int] = (16, 32, 64),
        dropout: float = 0.0,
        standardise: bool = False,
    ) -> None:
        super().__init__()
        if not widths or min(widths) < 1:
            raise OptionError(f"UNet got widths={tuple(widths)}; expected at least one level of at least one channel.")
        self.down = nn.ModuleList(_block(a, b) for a, b in zip([in_channels, *widths[:-1]], widths, strict=True))
        self.up = nn.ModuleList(_block(fine + coarse, fine) for fine, coarse in pairwise(widths))
        self.standardise = nn.InstanceNorm2d(in_channels) if standardise else nn.Identity()
        self.dropout = nn.Dropout2d(dropout)
        self.head = nn.Conv2d(widths[0], num_classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits of every pixel.

        Args:
            images: `[N, in_channels, H, W]`.

        Returns:
            `[N, num_classes, H, W]`.
        """
        levels: list[Tensor] = []
        x = self.standardise(images)
        for number, block in enumerate(self.down):
            x = block(x if number == 0 else F.max_pool2d(x, 2, ceil_mode=True))
            levels.append(x)
        x = self.dropout(x)
        for number in reversed(range(len(self.up))):
            fine = levels[number]
            x = self.up[number](torch.cat([fine, F.interpolate(x, fine.shape[-2:], mode="bilinear", align_corners=False)], 1))
        logits: Tensor = self.head(x)
        return logits


def _block(into: int, out: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (into, out):
        layers += [nn.Conv2d(channels, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
