"""Class tokens of several layers of a vision transformer, as linear probes of transformers take them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tutelage.errors import ShapeError
from tutelage.models.tap import tap


class ClassTokens(nn.Module):
    """Answers the class tokens of named layers, each layer-normalised, one after the other.

    Args:
        model: a vision transformer whose layers put out tokens `[N, T, D]`, the class token first (`tutelage:vit`, most of timm's).
        layers: names of layers, such as `("blocks.2", "blocks.3")`, the last two of four.

    Source: the linear probe of arXiv 2511.08544 concatenates those of the last two layers.
    """

    def __init__(self, model: nn.Module, layers: Sequence[str]) -> None:
        super().__init__()
        self.model = model
        self.layers = tuple(layers)

    def forward(self, images: Tensor) -> Tensor:
        """Return `[N, len(layers) * D]` of images `[N, C, H, W]`.

        Raises:
            ShapeError: if a layer puts out no tokens.
            OptionError: if there is no such layer.
        """
        with tap(self.model, *self.layers) as found:
            self.model(images)
        for name in self.layers:
            if not isinstance(found[name], Tensor) or found[name].ndim != 3:
                raise ShapeError(f"Layer '{name}' of {type(self.model).__name__} puts out no tokens [N, T, D].")
        return torch.cat([F.layer_norm(found[name][:, 0], found[name].shape[2:]) for name in self.layers], 1)
