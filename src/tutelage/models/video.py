"""Networks of clips seen as short temporal elements: one trunk for all elements, and a head that fuses singles and pairs of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.errors import OptionError, ShapeError
from tutelage.models.vit import Block
from tutelage.views.temporal import Elements


class PairwiseFusion(nn.Module):
    """Logits from the features of several elements: each alone and every pair, joined.

    With `h_W(x) = LN(GELU(W x))`: pairs `h_1([f_i; f_j])` for i < j, then singles `h_0(f_i)`, `h_g` of all of them one after the other,
    dropout, a linear layer. Tap points: `pair`, `single`, `joined`, `out`.

    Args:
        width: features of an element.
        elements: number of elements, G.
        num_classes: outputs.
        hidden: width of every intermediate vector. Default 256 (SeFAR).
        dropout: share dropped before the last layer. Default 0.5 (SeFAR).

    Source: the fusion head of SeFAR, arXiv 2501.01245.
    """

    def __init__(self, width: int, elements: int, num_classes: int, *, hidden: int = 256, dropout: float = 0.5) -> None:
        super().__init__()
        self.pairs = list(combinations(range(elements), 2))
        self.pair, self.single = _layer(2 * width, hidden), _layer(width, hidden)
        self.joined = _layer((len(self.pairs) + elements) * hidden, hidden)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(hidden, num_classes)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits `[N, num_classes]` of features `[N, G, width]`."""
        parts = [self.single(features)]
        if self.pairs:
            first, second = zip(*self.pairs, strict=True)
            both = torch.cat([features[:, list(first)], features[:, list(second)]], -1)
            parts.insert(0, self.pair(both))
        logits: Tensor = self.out(self.dropout(self.joined(torch.cat(parts, 1).flatten(1))))
        return logits


class ElementNet(nn.Module):
    """A network of clips that are seen as several temporal elements, each encoded on its own by the same trunk.

    A trunk defines `patches` and `encode`. Each element has its own learned time embedding, which `encode` is given.

    Args:
        num_classes: outputs.
        width: features of an element.
        sizes: frames of each element. Default (2, 2, 4).
        bins: stretches that clips are cut into; as many as there are frames when `None`.
        hidden: width inside the fusion head.
        dropout: of the fusion head.
        time_std: standard deviation of the initial time embeddings.

    Raises:
        OptionError: for options out of range.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        width: int,
        sizes: Sequence[int] = (2, 2, 4),
        bins: int | None = None,
        hidden: int = 256,
        dropout: float = 0.5,
        time_std: float = 0.02,
    ) -> None:
        super().__init__()
        if min(num_classes, width, hidden) < 1 or not 0 <= dropout < 1:
            raise OptionError(
                f"A network of elements got num_classes={num_classes}, width={width}, hidden={hidden}, dropout={dropout}; "
                "expected positive sizes and dropout from 0 to below 1."
            )
        self.elements = Elements(sizes, bins=bins)
        self.times = nn.ParameterList(torch.randn(size, width) * time_std for size in self.elements.sizes)
        self.head = PairwiseFusion(width, len(self.elements.sizes), num_classes, hidden=hidden, dropout=dropout)

    def patches(self, frames: Tensor) -> Tensor:
        """Return the patch tokens `[M, P, D]` of frames `[M, C, H, W]` in [0, 1]."""
        raise TypeError(f"{type(self).__name__} must define patches(frames)")

    def encode(self, tokens: Tensor, times: Tensor) -> Tensor:
        """Return the features `[N, width]` of single elements: tokens `[N, T, P, D]` with time embeddings `[N, T, width]`."""
        raise TypeError(f"{type(self).__name__} must define encode(tokens, times)")

    def tokens(self, elements: Sequence[Tensor]) -> list[Tensor]:
        """Return the patch tokens of each element.

        Args:
            elements: for each element `[N, T, C, H, W]`.

        Returns:
            For each element `[N, T, P, D]`.

        Raises:
            ShapeError: if they are not the elements that the network was made for.
        """
        got, sizes = [tuple(e.shape) for e in elements], self.elements.sizes
        if [s[1:2] for s in got] != [(s,) for s in sizes] or any(len(s) != 5 for s in got):
            raise ShapeError(f"This network takes elements of {sizes} frames, each [N, T, C, H, W]; got {got}.")
        number = len(elements[0])
        tokens = self.patches(torch.cat([e.flatten(0, 1) for e in elements]))
        each = torch.split(tokens, [number * size for size in sizes])
        return [t.view(number, size, *tokens.shape[1:]) for t, size in zip(each, sizes, strict=True)]

    def features(self, tokens: Sequence[Tensor]) -> Tensor:
        """Return the features `[N, G, width]` of the elements' tokens; elements of one length go through the trunk together."""
        found: dict[int, Tensor] = {}
        for size in dict.fromkeys(self.elements.sizes):
            same = [i for i, s in enumerate(self.elements.sizes) if s == size]
            number = len(tokens[same[0]])
            times = torch.cat([self.times[i].expand(number, -1, -1) for i in same])
            encoded = self.encode(torch.cat([tokens[i] for i in same]), times)
            found |= dict(zip(same, torch.split(encoded, number), strict=True))
        return torch.stack([found[i] for i in range(len(tokens))], 1)

    def answer(self, tokens: Sequence[Tensor]) -> Tensor:
        """Return logits `[N, num_classes]` of the elements' tokens, which may be mixed from several clips."""
        logits: Tensor = self.head(self.features(tokens))
        return logits

    def forward(self, clips: Any) -> Tensor:
        """Return logits `[N, num_classes]`.

        Args:
            clips: elements as a list of tensors `[N, T, C, H, W]`; or whole clips, as a tensor `[N, T, C, H, W]` or a list of clips on
                disk, of which the frames in the middle of the bins are taken.
        """
        if isinstance(clips, Tensor) or not isinstance(clips[0], Tensor):
            clips = self.elements(clips, middle=True)
        return self.answer(self.tokens(clips))


class SpatialSoftmax(nn.Module):
    """Where each channel of a map sees its feature: the mean place under a softmax over all places, with a learned sharpness.

    Source: Levine et al., End-to-end training of deep visuomotor policies, JMLR 2016, section 5.
    """

    def __init__(self) -> None:
        super().__init__()
        self.log_sharpness = nn.Parameter(torch.ones(()))

    def forward(self, maps: Tensor) -> Tensor:
        """Return places `[M, 2 C]` in [-1, 1], along the width and then along the height, of maps `[M, C, H, W]`."""
        share = (maps.flatten(2) * self.log_sharpness.exp()).softmax(-1).view(maps.shape)
        down, across = (torch.linspace(-1, 1, side, device=maps.device, dtype=maps.dtype) for side in maps.shape[-2:])
        return torch.cat([share.sum(2) @ across, share.sum(3) @ down], 1)


class VideoCNN(ElementNet):
    """A small trunk: patches by a strided convolution, a convolution that says where features are in each frame, a transformer over frames.

    Args:
        num_classes: outputs.
        input_shape: `(T, C, H, W)` of a clip, or `(C, H, W)` of its frames.
        width: features of a frame and an element.
        depth: transformer layers.
        heads: attention heads; must divide `width`.
        channels: of the patches and of the convolution after them.
        patch: side of a patch in pixels.
        sizes: frames of each element.
        bins: stretches that clips are cut into; as many as there are frames when `None`.
        hidden: width inside the fusion head.
        dropout: of the fusion head.

    Raises:
        OptionError: for options out of range.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        input_shape: Sequence[int],
        width: int = 64,
        depth: int = 2,
        heads: int = 4,
        channels: tuple[int, int] = (16, 16),
        patch: int = 4,
        sizes: tuple[int, ...] = (2, 2, 4),
        bins: int | None = None,
        hidden: int = 256,
        dropout: float = 0.5,
    ) -> None:
        super().__init__(num_classes=num_classes, width=width, sizes=sizes, bins=bins, hidden=hidden, dropout=dropout, time_std=0.2)
        planes, height, across = input_shape[-3:]
        if min(patch, depth, heads, *channels) < 1 or width % heads or height % patch or across % patch:
            raise OptionError(
                f"A video network got patch={patch}, depth={depth}, heads={heads}, channels={channels} for width={width} and frames of "
                f"{height}x{across}; expected positive numbers, heads that divide the width and a patch that divides the frame."
            )
        self.grid = (height // patch, across // patch)
        self.patch = nn.Conv2d(planes, channels[0], patch, stride=patch)
        self.place = nn.Sequential(
            nn.GroupNorm(1, channels[0]),
            nn.GELU(),
            nn.Conv2d(channels[0], channels[1], 3, padding=1),
            nn.GroupNorm(1, channels[1]),
            SpatialSoftmax(),
            nn.Linear(2 * channels[1], width),
        )
        self.class_token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.blocks = nn.Sequential(*(Block(width, heads, 2.0, 0.0) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)

    def patches(self, frames: Tensor) -> Tensor:
        """Return the patch tokens `[M, P, D]` of frames `[M, C, H, W]` in [0, 1]."""
        return self.patch(frames - 0.5).flatten(2).transpose(1, 2)  # type: ignore[no-any-return]

    def encode(self, tokens: Tensor, times: Tensor) -> Tensor:
        """Return the features `[N, width]` of single elements: tokens `[N, T, P, D]` with time embeddings `[N, T, width]`."""
        number, length = tokens.shape[:2]
        maps = tokens.flatten(0, 1).transpose(1, 2).reshape(number * length, -1, *self.grid)
        frames = self.place(maps).view(number, length, -1) + times
        seen = self.blocks(torch.cat([self.class_token.expand(number, -1, -1), frames], 1))
        features: Tensor = self.norm(seen[:, 0])
        return features


def _layer(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, outputs), nn.GELU(), nn.LayerNorm(outputs))
