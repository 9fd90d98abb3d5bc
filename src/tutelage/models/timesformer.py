"""TimeSformer: a vision transformer of clips whose attention is divided between time and space."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tutelage.errors import OptionError, ShapeError, SpecError, optional
from tutelage.models.video import ElementNet


class Attention(nn.Module):
    """Multi-head self-attention over the second axis, named as in timm's vision transformers.

    Args:
        width: features of a token.
        heads: attention heads; divides `width`.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens `[N, L, width]` of tokens `[N, L, width]`."""
        number, length, width = tokens.shape
        query, key, value = self.qkv(tokens).view(number, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(number, length, width)
        result: Tensor = self.proj(mixed)
        return result


class DropPath(nn.Module):
    """Drops the whole branch of some samples in training, and scales that of the others by `1 / (1 - rate)`.

    Args:
        rate: share of samples, in [0, 1).

    Source: Huang et al., Deep networks with stochastic depth, ECCV 2016.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        """Return the branch `[N, ...]` with some samples set to zero."""
        if not self.training or self.rate == 0:
            return branch
        kept = torch.rand(len(branch), *[1] * (branch.ndim - 1), device=branch.device) >= self.rate
        return branch * kept.to(branch.dtype) / (1 - self.rate)


class DividedBlock(nn.Module):
    """One layer of divided attention: over the frames of each patch, then over the patches of each frame, then a perceptron.

    The class token takes no part in attention over time; each frame has a copy of it in attention over space, and these are averaged.

    Args:
        width: features of a token.
        heads: attention heads.
        drop_path: share of samples whose branches are dropped in training.
        zero_time: start with attention over time adding nothing.

    Source: Bertasius et al., Is space-time attention all you need for video understanding?, ICML 2021, section 3.
    """

    def __init__(self, width: int, heads: int, drop_path: float, *, zero_time: bool) -> None:
        super().__init__()
        self.temporal_norm1, self.temporal_attn = nn.LayerNorm(width, eps=1e-6), Attention(width, heads)
        self.temporal_fc = nn.Linear(width, width)
        if zero_time:
            nn.init.zeros_(self.temporal_fc.weight)
            nn.init.zeros_(self.temporal_fc.bias)
        self.norm1, self.attn = nn.LayerNorm(width, eps=1e-6), Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential()
        self.mlp.add_module("fc1", nn.Linear(width, 4 * width))
        self.mlp.add_module("act", nn.GELU())
        self.mlp.add_module("fc2", nn.Linear(4 * width, width))
        self.drop_path = DropPath(drop_path)

    def forward(self, cls: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return class token `[N, width]` and tokens `[N, T, P, width]` of the same."""
        number, frames, patches, width = tokens.shape
        along = tokens.transpose(1, 2).reshape(number * patches, frames, width)
        branch = self.temporal_attn(self.temporal_norm1(along)).view(number, patches, frames, width).transpose(1, 2)
        tokens = tokens + self.temporal_fc(self.drop_path(branch))

        copies = cls[:, None, None].expand(-1, frames, 1, -1)
        across = torch.cat([copies, tokens], 2).flatten(0, 1)
        branch = self.drop_path(self.attn(self.norm1(across)).view(number, frames, 1 + patches, width))
        cls, tokens = cls + branch[:, :, 0].mean(1), tokens + branch[:, :, 1:]

        whole = torch.cat([cls[:, None], tokens.flatten(1, 2)], 1)
        whole = whole + self.drop_path(self.mlp(self.norm2(whole)))
        return whole[:, 0], whole[:, 1:].view_as(tokens)


class TimeSformer(ElementNet):
    """TimeSformer on temporal elements, ViT-B/16 in size, with a fusion head over the elements' class tokens.

    `load_image_weights` starts it from a vision transformer of images. Output projections of attention over time start at zero in all
    layers but the first, so that at first little is added to what the image network knows.

    Args:
        num_classes: outputs.
        input_shape: `(T, C, H, W)` of a clip, or `(C, H, W)` of its frames; sides are multiples of the patch.
        width: features of a token. Default 768; 384 for the small variant (with 6 heads).
        depth: layers. Default 12.
        heads: attention heads; must divide `width`. Default 12.
        patch: side of a patch in pixels. Default 16.
        drop_path: share of samples whose branches are dropped in the last layer in training, rising linearly from 0. Default 0.1.
        sizes: frames of each element. Default (2, 2, 4).
        bins: stretches that clips are cut into; as many as there are frames when `None`.
        hidden: width inside the fusion head. Default 256.
        dropout: of the fusion head. Default 0.5.
        mean: subtracted from pixels in [0, 1]. Default 0.5, that of timm's weights; 0.45 for those of the video field.
        std: what is left is divided by this. Default 0.5; 0.225 likewise.

    Raises:
        OptionError: for options out of range.

    Source: Bertasius et al., ICML 2021; as the student of SeFAR, arXiv 2501.01245.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        input_shape: Sequence[int],
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        patch: int = 16,
        drop_path: float = 0.1,
        sizes: tuple[int, ...] = (2, 2, 4),
        bins: int | None = None,
        hidden: int = 256,
        dropout: float = 0.5,
        mean: float = 0.5,
        std: float = 0.5,
    ) -> None:
        super().__init__(num_classes=num_classes, width=width, sizes=sizes, bins=bins, hidden=hidden, dropout=dropout, time_std=0.0)
        planes, height, across = input_shape[-3:]
        if min(patch, depth, heads) < 1 or width % heads or height % patch or across % patch or not 0 <= drop_path < 1 or std <= 0:
            raise OptionError(
                f"A TimeSformer got patch={patch}, depth={depth}, heads={heads}, drop_path={drop_path}, std={std} for width={width} and "
                f"frames of {height}x{across}; expected positive numbers, heads that divide the width and a patch that divides the frame."
            )
        self.mean, self.std = mean, std
        self.grid = (height // patch, across // patch)
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(planes, width, patch, stride=patch)
        self.cls_token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.pos_embed = nn.Parameter(torch.randn(1, 1 + self.grid[0] * self.grid[1], width) * 0.02)
        rates = [drop_path * i / max(depth - 1, 1) for i in range(depth)]
        self.blocks = nn.ModuleList(DividedBlock(width, heads, rate, zero_time=i > 0) for i, rate in enumerate(rates))
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def patches(self, frames: Tensor) -> Tensor:
        """Return the patch tokens `[M, P, D]` of frames `[M, C, H, W]` in [0, 1]."""
        if tuple(frames.shape[-2:]) != tuple(side * self.patch_embed.proj.stride[0] for side in self.grid):  # type: ignore[index]
            raise ShapeError(
                f"This TimeSformer has {self.grid[0]}x{self.grid[1]} patches, got frames {list(frames.shape)}: crop them to its size."
            )
        embedded: Tensor = self.patch_embed.proj((frames - self.mean) / self.std)  # type: ignore[operator]
        return embedded.flatten(2).transpose(1, 2)

    def encode(self, tokens: Tensor, times: Tensor) -> Tensor:
        """Return the features `[N, width]` of single elements: tokens `[N, T, P, D]` with time embeddings `[N, T, width]`."""
        cls = (self.cls_token + self.pos_embed[:, :1]).expand(len(tokens), -1, -1)[:, 0]
        tokens = tokens + self.pos_embed[:, None, 1:] + times[:, :, None]
        for block in self.blocks:
            cls, tokens = block(cls, tokens)
        features: Tensor = self.norm(cls)
        return features

    @torch.no_grad()
    def load_image_weights(self, source: nn.Module | str) -> TimeSformer:
        """Take the weights of a vision transformer of images: patches, positions, attention over space, perceptrons, norms.

        Attention over time starts as a copy of that over space, behind its zero projection. Positions are resampled where the number of
        patches differs; a class head is left out.

        Args:
            source: a timm vision transformer, or the name of one, whose pretrained weights are fetched
                (`"vit_base_patch16_224"`).

        Returns:
            The network itself.

        Raises:
            SpecError: if it is not a vision transformer of this width, depth and patch, or weights cannot be fetched.
            MissingExtra: for a name, without timm.
        """
        given = {name.removeprefix("module."): value for name, value in _image_network(source).state_dict().items()}
        own = {name: value for name, value in self.state_dict().items() if not name.startswith(("times.", "head."))}
        kind = type(source).__name__ if isinstance(source, nn.Module) else source
        for name, value in own.items():
            if ".temporal_fc." in name:
                continue
            origin = name.replace("temporal_norm1", "norm1").replace("temporal_attn", "attn")
            if origin not in given:
                raise SpecError(f"'{kind}' has no weights '{origin}': expected a vision transformer of timm with a class token.")
            found = given[origin]
            if name == "pos_embed" and found.shape[1:] != value.shape[1:] and found.shape[-1] == value.shape[-1]:
                found = _resampled(found, self.grid)
            if found.shape != value.shape:
                raise SpecError(
                    f"'{kind}' has '{origin}' of shape {list(found.shape)}, this TimeSformer {list(value.shape)}: "
                    "take one of its width and patch."
                )
            value.copy_(found)
        deeper = [name for name in given if name.startswith(f"blocks.{len(self.blocks)}.")]
        if deeper:
            raise SpecError(f"'{kind}' has more than the {len(self.blocks)} layers of this TimeSformer: take one of its depth.")
        return self


def _image_network(source: nn.Module | str) -> nn.Module:
    if isinstance(source, nn.Module):
        return source
    timm = optional("timm", "vision")
    try:
        network: nn.Module = timm.create_model(source, pretrained=True)
    except Exception as error:
        raise SpecError(
            f"timm could not give the pretrained '{source}' ({type(error).__name__}: {error}). "
            "Without a network, build it with your own weights and give the module."
        ) from error
    return network


def _resampled(positions: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return position embeddings `[1, 1 + P, D]` for another grid of patches; the class token's stays."""
    cls, places = positions[:, :1], positions[:, 1:]
    side = round(places.shape[1] ** 0.5)
    if side * side != places.shape[1]:
        raise SpecError(f"{places.shape[1]} positions are no square grid of patches: they cannot be brought to {grid[0]}x{grid[1]}.")
    square = places.transpose(1, 2).reshape(1, -1, side, side)
    resized = F.interpolate(square, grid, mode="bicubic", align_corners=False, antialias=True)
    return torch.cat([cls, resized.flatten(2).transpose(1, 2)], 1)


def timesformer(
    *,
    num_classes: int,
    input_shape: Sequence[int],
    width: int = 768,
    depth: int = 12,
    heads: int = 12,
    patch: int = 16,
    drop_path: float = 0.1,
    sizes: tuple[int, ...] = (2, 2, 4),
    dropout: float = 0.5,
    image_weights: str = "",
) -> TimeSformer:
    """Build a TimeSformer, on request from the weights of an image network.

    Args:
        num_classes: outputs.
        input_shape: `(T, C, H, W)` of a clip, or `(C, H, W)` of its frames.
        width: features of a token.
        depth: layers.
        heads: attention heads.
        patch: side of a patch in pixels.
        drop_path: share of samples whose branches are dropped in the last layer.
        sizes: frames of each element.
        dropout: of the fusion head.
        image_weights: name of a timm vision transformer whose pretrained weights it starts from; empty for none.

    Returns:
        The network.
    """
    network = TimeSformer(
        num_classes=num_classes,
        input_shape=input_shape,
        width=width,
        depth=depth,
        heads=heads,
        patch=patch,
        drop_path=drop_path,
        sizes=sizes,
        dropout=dropout,
    )
    return network.load_image_weights(image_weights) if image_weights else network
