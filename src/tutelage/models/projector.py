"""Projectors: the small networks behind a backbone in whose space self-supervised losses work, thrown away afterwards."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from torch import Tensor, nn

from tutelage.errors import OptionError


class Projector(nn.Module):
    """A multi-layer perceptron with batch normalisation and ReLU after each layer but the last.

    Args:
        width: features that come in.
        out: features that go out.
        hidden: units of each hidden layer; none makes it linear. Default (2048, 2048).
        batch_norm: batch normalisation before each ReLU. Default yes.

    Raises:
        OptionError: for widths that are not positive.
    """

    def __init__(self, width: int, out: int, *, hidden: Sequence[int] = (2048, 2048), batch_norm: bool = True) -> None:
        super().__init__()
        if min(width, out, *hidden) < 1:
            raise OptionError(f"A projector takes positive widths: got width={width}, hidden={tuple(hidden)}, out={out}.")
        layers: list[nn.Module] = []
        for a, b in itertools.pairwise([width, *hidden]):
            layers.append(nn.Linear(a, b, bias=not batch_norm))
            layers.extend([nn.BatchNorm1d(b)] if batch_norm else [])
            layers.append(nn.ReLU())
        self.layers = nn.Sequential(*layers, nn.Linear(hidden[-1] if hidden else width, out))

    def forward(self, features: Tensor) -> Tensor:
        """Return `[N, out]` of features `[N, width]`."""
        projected: Tensor = self.layers(features)
        return projected
