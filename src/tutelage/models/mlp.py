"""A reference multi-layer perceptron, for tables and small images."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from torch import Tensor, nn

from tutelage.errors import OptionError, ShapeError


class MLP(nn.Module):
    """Linear layers with ReLU between them, on flattened inputs.

    Tap points: `hidden.0` (one per hidden layer, after its ReLU), `head`.

    Args:
        num_classes: outputs.
        input_shape: shape of one input without the batch dimension, `(D,)` or `(C, H, W)`.
        widths: units of each hidden layer; none makes it logistic regression.
        dropout: share of each hidden layer dropped in training, 0 to 1.

    Raises:
        OptionError: for widths or dropout out of range.
    """

    def __init__(self, *, num_classes: int, input_shape: Sequence[int], widths: Sequence[int] = (128,), dropout: float = 0.0) -> None:
        super().__init__()
        if any(w < 1 for w in widths) or not 0 <= dropout < 1:
            raise OptionError(f"An MLP takes positive widths and dropout from 0 to 1: got widths={tuple(widths)}, dropout={dropout}.")
        self.input_shape = tuple(input_shape)
        sizes = [math.prod(self.input_shape), *widths]
        self.hidden = nn.Sequential(*(nn.Sequential(nn.Linear(a, b), nn.ReLU(), nn.Dropout(dropout)) for a, b in itertools.pairwise(sizes)))
        self.head = nn.Linear(sizes[-1], num_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits [N, num_classes] of inputs [N, *input_shape]."""
        flat = inputs.flatten(1)
        if flat.shape[1] != math.prod(self.input_shape):
            raise ShapeError(f"This MLP takes inputs [N, {', '.join(map(str, self.input_shape))}], got {list(inputs.shape)}.")
        logits: Tensor = self.head(self.hidden(flat))
        return logits
