"""Bags of visual words: which of a vocabulary's words a feature map holds, and how surely."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tutelage.errors import OptionError, ShapeError
from tutelage.targets.ranks import mean_over_ranks
from tutelage.targets.soften import HALF

Pooling = Literal["max", "average"]
_ELEMENTS = 1 << 24  # codes alive at once while bags are made


class BagOfWords(nn.Module):
    """Turns distances to words into one distribution over words per image.

    Each place u of a feature map is assigned to words, `q_uk = softmax_k(-kappa d_uk)`, places are pooled, and the sum is brought to 1.
    The inverse temperature follows the scale of the features: `kappa = inverse_delta / mu`, where mu is a moving average of the distance to
    the nearest word. mu is a buffer, the same in every process.

    Args:
        inverse_delta: assignments are the harder, the larger it is; above 0. `None` assigns each place to its nearest word alone.
            Default 15 (a ResNet50 on ImageNet; 10 for a ResNet18).
        pooling: over places: `"max"` (default, which words occur) or `"average"` (how often).
        momentum: share of the old mu that is kept, in [0, 1). Default 0.99.

    Raises:
        OptionError: if an option is out of range.

    Source: Gidaris et al., OBoW, CVPR 2021, section 3.1.
    """

    mean_distance: Tensor

    def __init__(self, *, inverse_delta: float | None = 15.0, pooling: Pooling = "max", momentum: float = 0.99) -> None:
        super().__init__()
        if inverse_delta is not None and not inverse_delta > 0:
            raise OptionError(f"inverse_delta is {inverse_delta}; expected a number above 0, or None for hard assignments.")
        if pooling not in get_args(Pooling):
            raise OptionError(f"pooling is '{pooling}'; expected 'max' or 'average'.")
        if not 0 <= momentum < 1:
            raise OptionError(f"The momentum of a mean distance is {momentum}; expected a number in [0, 1).")
        self.inverse_delta, self.momentum = inverse_delta, momentum
        self.pooling: Pooling = pooling
        self.register_buffer("mean_distance", torch.tensor(0.5))

    @property
    def inverse_temperature(self) -> Tensor:
        """Now kappa, a scalar; infinite for hard assignments."""
        if self.inverse_delta is None:
            return torch.full_like(self.mean_distance, torch.inf)
        return self.inverse_delta / self.mean_distance.clamp_min(1e-12)

    @torch.no_grad()
    def update(self, distances: Tensor) -> None:
        """Move mu towards the mean distance of these places to their nearest words.

        Args:
            distances: squared, `[N, U, K]`.
        """
        nearest = mean_over_ranks(distances.amin(-1).mean())
        self.mean_distance.lerp_(nearest.to(self.mean_distance.dtype), 1 - self.momentum)

    @torch.no_grad()
    def forward(self, distances: Tensor) -> Tensor:
        """Return the bags; mu stays as it is.

        Args:
            distances: squared, of N images' U places to K words, float `[N, U, K]`.

        Returns:
            `[N, K]`, not negative, each summing to 1; float32 for half types.

        Raises:
            ShapeError: if distances are not of three axes, or there is no place or no word.
        """
        if distances.ndim != 3 or 0 in distances.shape[1:]:
            raise ShapeError(f"Distances are {list(distances.shape)}; expected [N, U, K] of at least one place and one word.")
        if distances.dtype in HALF:
            distances = distances.float()
        chunk = max(1, _ELEMENTS // distances[0].numel()) if len(distances) else 1
        pooled = torch.cat([self._pooled(self.codes(part)) for part in torch.split(distances, chunk)])
        return pooled / pooled.sum(1, keepdim=True)

    def codes(self, distances: Tensor) -> Tensor:
        """Return the assignment `q` of each place, of the distances' shape, summing to 1; a tie of hard ones goes to the first word."""
        if self.inverse_delta is None:
            return F.one_hot(distances.argmin(-1), distances.shape[-1]).to(distances.dtype)
        return torch.softmax(-self.inverse_temperature.to(distances.dtype) * distances, -1)

    def _pooled(self, codes: Tensor) -> Tensor:
        return codes.amax(1) if self.pooling == "max" else codes.mean(1)


def without_ring(maps: Tensor, ring: int = 1) -> Tensor:
    """Drop the outermost cells of feature maps, which see the padding.

    Args:
        maps: `[N, C, H, W]`.
        ring: cells on each side. Default 1; 0 keeps all.

    Returns:
        `[N, C, H - 2 ring, W - 2 ring]`.

    Raises:
        ShapeError: if nothing would be left.
        OptionError: if the ring is negative.
    """
    if ring < 0:
        raise OptionError(f"A ring of {ring} cells cannot be dropped; expected 0 or more.")
    if maps.ndim != 4 or min(maps.shape[2:]) <= 2 * ring:
        raise ShapeError(
            f"Maps are {list(maps.shape)}; without a ring of {ring} cell(s) nothing is left. Use larger images or an earlier layer."
        )
    return maps[:, :, ring : maps.shape[2] - ring, ring : maps.shape[3] - ring]


def local_means(maps: Tensor, generator: torch.Generator | None = None, *, size: int = 3) -> Tensor:
    """Draw one place of every feature map and return the mean of the cells around it.

    Args:
        maps: `[N, C, H, W]`.
        generator: what draws the places.
        size: side of the square that is averaged, in cells, all of it inside the map. Default 3.

    Returns:
        `[N, C]`.

    Raises:
        ShapeError: if the maps are smaller than the square.
    """
    if maps.ndim != 4 or min(maps.shape[2:]) < size:
        raise ShapeError(
            f"Maps are {list(maps.shape)}; means over {size}x{size} cells need at least as many. Use larger images or an earlier layer."
        )
    places = F.avg_pool2d(maps, size, stride=1).flatten(2)  # [N, C, places]
    device = maps.device if generator is None else generator.device
    chosen = torch.randint(places.shape[2], (len(maps),), generator=generator, device=device).to(maps.device)
    return places.gather(2, chosen[:, None, None].expand(-1, places.shape[1], 1))[:, :, 0]
