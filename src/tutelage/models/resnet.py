"""A residual network for small images."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from tutelage.errors import OptionError


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut.

    Args:
        in_channels: channels of the input.
        width: channels of the output.
        stride: of the first convolution and of the shortcut.
    """

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != width:
            self.shortcut = nn.Sequential(nn.Conv2d(in_channels, width, 1, stride=stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, features: Tensor) -> Tensor:
        """Return features [N, width, H / stride, W / stride] of features [N, in_channels, H, W]."""
        inner = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(features)))))
        return F.relu(inner + self.shortcut(features))


class ResNet(nn.Module):
    """The CIFAR residual network: a 3x3 stem without pooling, stages of basic blocks, global average pooling.

    With widths (16, 32, 64), depth `n` is the paper's network of `6 n + 2` layers, so the default has 20. Takes images of any
    size. Tap points: `stem`, `stages.0` (one feature map per stage), `head`.

    Args:
        num_classes: outputs.
        in_channels: input channels.
        widths: channels of each stage; each stage after the first halves the image.
        depth: blocks per stage.

    Raises:
        OptionError: for widths or depth that are not positive.

    Source: He, Zhang, Ren and Sun, Deep Residual Learning for Image Recognition, arXiv 1512.03385, section 4.2 (with projection shortcuts).
    """

    def __init__(self, *, num_classes: int, in_channels: int = 3, widths: Sequence[int] = (16, 32, 64), depth: int = 3) -> None:
        super().__init__()
        if not widths or min(widths) < 1 or depth < 1:
            raise OptionError(f"A residual network takes positive widths and depth: got widths={tuple(widths)}, depth={depth}.")
        self.stem = nn.Sequential(nn.Conv2d(in_channels, widths[0], 3, padding=1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU())
        stages: list[nn.Module] = []
        channels = widths[0]
        for number, width in enumerate(widths):
            blocks = [BasicBlock(channels if i == 0 else width, width, 2 if number and i == 0 else 1) for i in range(depth)]
            stages.append(nn.Sequential(*blocks))
            channels = width
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [N, num_classes] of images [N, in_channels, H, W]."""
        logits: Tensor = self.head(self.stages(self.stem(images)).mean((2, 3)))
        return logits
