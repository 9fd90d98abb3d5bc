"""A reference encoder: blocks of convolution, batch normalisation and ReLU, then global average pooling."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from tutelage.errors import OptionError


class ConvBlocks(nn.Module):
    """Blocks of one strided 3x3 convolution, batch normalisation and ReLU; the answer is the mean of the last map over places.

    Takes images `[N, in_channels, H, W]` of any size. Tap points: `blocks.0` and so on, one feature map each.

    Args:
        in_channels: input channels.
        widths: channels of each block.
        strides: stride of each block's convolution; as many as widths.

    Raises:
        OptionError: for widths or strides out of range.
    """

    def __init__(self, *, in_channels: int = 1, widths: Sequence[int] = (32, 64, 128, 128), strides: Sequence[int] = (1, 2, 2, 1)) -> None:
        super().__init__()
        if not widths or len(widths) != len(strides) or min(*widths, *strides, in_channels) < 1:
            raise OptionError(
                f"Convolution blocks take as many positive strides as widths: got widths={tuple(widths)}, strides={tuple(strides)}."
            )
        blocks: list[nn.Module] = []
        for before, width, stride in zip((in_channels, *widths), widths, strides, strict=False):
            convolution = nn.Conv2d(before, width, 3, stride, padding=1, bias=False)
            blocks.append(nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU()))
        self.blocks = nn.Sequential(*blocks)
        self.width = widths[-1]

    def forward(self, images: Tensor) -> Tensor:
        """Return features `[N, widths[-1]]`."""
        maps: Tensor = self.blocks(images)
        return maps.mean((2, 3))
