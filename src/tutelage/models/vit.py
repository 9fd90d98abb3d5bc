"""A small vision transformer."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tutelage.errors import OptionError, ShapeError


class Block(nn.Module):
    """One pre-norm transformer layer: self-attention, then a two-layer perceptron, each around a shortcut.

    Args:
        width: features of a token.
        heads: attention heads; divides `width`.
        ratio: hidden units of the perceptron per feature.
        dropout: share dropped on each branch in training, 0 to 1.
    """

    def __init__(self, width: int, heads: int, ratio: float, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        hidden = int(width * ratio)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens [N, T, width] of tokens [N, T, width]."""
        samples, length, width = tokens.shape
        qkv = self.qkv(self.norm1(tokens)).reshape(samples, length, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(samples, length, width)
        tokens = tokens + self.dropout(self.out(mixed))
        result: Tensor = tokens + self.dropout(self.mlp(self.norm2(tokens)))
        return result


class ViT(nn.Module):
    """A vision transformer with a class token and learned positions.

    Images whose sides are no multiple of the patch are padded with zeros at the right and bottom. Tap points: `patches`,
    `blocks.0` (one per layer), `norm`, `head`.

    Args:
        num_classes: outputs.
        input_shape: `(C, H, W)` of one image.
        patch: side of a patch in pixels; an eighth of the image's shorter side, rounded, by default, but at least 2.
        width: features of a token.
        depth: layers.
        heads: attention heads; must divide `width`.
        ratio: hidden units per feature.
        dropout: share dropped on each branch in training, 0 to 1.

    Raises:
        OptionError: for options out of range.

    Source: Dosovitskiy et al., An Image is Worth 16x16 Words, arXiv 2010.11929.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        input_shape: Sequence[int],
        patch: int | None = None,
        width: int = 64,
        depth: int = 4,
        heads: int = 4,
        ratio: float = 2.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        channels, height, across = input_shape
        side = patch if patch is not None else max(2, round(min(height, across) / 8))
        if min(side, width, depth, heads) < 1 or width % heads or ratio <= 0 or not 0 <= dropout < 1:
            raise OptionError(
                "A vision transformer takes positive patch, width, depth and heads, heads that divide width, and dropout from 0 to 1: "
                f"got patch={side}, width={width}, depth={depth}, heads={heads}, ratio={ratio}, dropout={dropout}."
            )
        self.input_shape = (channels, height, across)
        self.padding = (-across % side, -height % side)
        length = math.ceil(height / side) * math.ceil(across / side)
        self.patches = nn.Conv2d(channels, width, side, stride=side)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.empty(1, length + 1, width).normal_(std=0.02))
        self.blocks = nn.Sequential(*(Block(width, heads, ratio, dropout) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [N, num_classes] of images [N, C, H, W]."""
        if tuple(images.shape[1:]) != self.input_shape:
            raise ShapeError(
                f"This vision transformer takes images [N, {', '.join(map(str, self.input_shape))}], got {list(images.shape)}."
            )
        right, bottom = self.padding
        patches = self.patches(F.pad(images, (0, right, 0, bottom))).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(images.shape[0], -1, -1), patches], 1) + self.positions
        logits: Tensor = self.head(self.norm(self.blocks(tokens))[:, 0])
        return logits
