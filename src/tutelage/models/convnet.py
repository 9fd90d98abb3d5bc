"""Reference convolutional networks: stages of 3x3 convolutions, halved in size from one to the next."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from tutelage.errors import OptionError


class ConvNet(nn.Module):
    """Convolution stages with max pooling between them, average pooling to a fixed grid, one linear layer.

    Takes images [N, in_channels, H, W] of any size from `2 ** (len(widths) - 1)` up. Tap points: `stages.0` (one feature map
    per stage), `pool`, `head`.

    Args:
        num_classes: outputs.
        in_channels: input channels.
        widths: channels of each stage.
        depth: convolutions per stage.
        batch_norm: batch normalisation after each convolution.
        grid: the last feature map is averaged to `grid` x `grid` before the linear layer; 1 is global average pooling.
        dropout: share of the pooled features dropped in training, 0 to 1.

    Raises:
        OptionError: for widths, depth, grid or dropout out of range.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int = 1,
        widths: Sequence[int] = (32, 64, 128),
        depth: int = 1,
        batch_norm: bool = True,
        grid: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if not widths or min(widths) < 1 or depth < 1 or grid < 1 or not 0 <= dropout < 1:
            raise OptionError(
                f"A convolutional network takes positive widths, depth and grid, and dropout from 0 to 1: got widths={tuple(widths)}, "
                f"depth={depth}, grid={grid}, dropout={dropout}."
            )
        stages: list[nn.Module] = []
        channels = in_channels
        for number, width in enumerate(widths):
            layers: list[nn.Module] = [nn.MaxPool2d(2)] if number else []
            for _ in range(depth):
                layers.append(nn.Conv2d(channels, width, 3, padding=1, bias=not batch_norm))
                layers.extend([nn.BatchNorm2d(width)] if batch_norm else [])
                layers.append(nn.ReLU())
                channels = width
            stages.append(nn.Sequential(*layers))
        self.stages = nn.Sequential(*stages)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(grid), nn.Flatten(), nn.Dropout(dropout))
        self.head = nn.Linear(channels * grid * grid, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [N, num_classes] of images [N, in_channels, H, W]."""
        logits: Tensor = self.head(self.pool(self.stages(images)))
        return logits


def small_cnn(
    *,
    num_classes: int,
    in_channels: int = 1,
    widths: Sequence[int] = (8, 16),
    depth: int = 1,
    batch_norm: bool = False,
    grid: int = 4,
    dropout: float = 0.0,
) -> ConvNet:
    """Build the reference student: two narrow convolution stages, without batch normalisation.

    Args:
        num_classes: outputs.
        in_channels: input channels.
        widths: channels of each stage.
        depth: convolutions per stage.
        batch_norm: batch normalisation after each convolution.
        grid: side of the pooled feature map.
        dropout: share of the pooled features dropped in training, 0 to 1.

    Returns:
        The network.
    """
    return ConvNet(
        num_classes=num_classes, in_channels=in_channels, widths=widths, depth=depth, batch_norm=batch_norm, grid=grid, dropout=dropout
    )
