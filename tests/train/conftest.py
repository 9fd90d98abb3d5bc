"""A small classification problem that every training test shares."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tutelage.data import Arrays


@pytest.fixture
def blobs() -> Arrays:
    """200 points of 8 features in 3 classes that a linear map separates."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(200, 8, generator=generator)
    y = (x @ torch.randn(8, 3, generator=generator)).argmax(1)
    return Arrays({"input": x, "label": y}, classes=("a", "b", "c"), name="blobs")


@pytest.fixture
def net():
    """Builds the same small network, with dropout, each time."""

    def build(dropout: float = 0.2) -> nn.Module:
        torch.manual_seed(7)
        return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 3))

    return build
