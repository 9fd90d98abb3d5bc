"""The network of a student in a grid world: convolutions over its view, and the subgoal beside what they say."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class GridEncoder(nn.Module):
    """Three convolutions of stride 2 (7 to 4 to 2 to 1), 32 channels each with ELU; their 32 features and the subgoal go through one layer.

    Args:
        subgoal: numbers in a subgoal; 0 for none.
        channels: channels of the view. Default 3.
        width: features that come out. Default 256.

    Source: arXiv 2410.08632 and the code published with it.
    """

    def __init__(self, subgoal: int = 0, *, channels: int = 3, width: int = 256) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs in (channels, 32, 32):
            layers += [nn.Conv2d(inputs, 32, 3, stride=2, padding=1), nn.ELU()]
        self.convolutions = nn.Sequential(*layers, nn.Flatten())
        self.mixed = nn.Sequential(nn.Linear(32 + subgoal, width), nn.ReLU())

    def forward(self, image: Tensor, subgoal: Tensor | None = None) -> Tensor:
        """Return features `[N, width]` of views `[N, C, 7, 7]` and subgoals `[N, g]`."""
        seen = self.convolutions(image)
        found: Tensor = self.mixed(seen if subgoal is None else torch.cat([seen, subgoal], 1))
        return found
