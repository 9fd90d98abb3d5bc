"""A network whose output is scaled, and optionally starts at exactly zero: the knob between lazy and rich training."""

from __future__ import annotations

import copy

from torch import Tensor, nn

from tutelage.errors import OptionError


class OutputScale(nn.Module):
    """Answers `scale * f(x)`, or `scale * (f(x) - f_0(x))` with f_0 the network as it was given.

    A large scale lets the network fit with weights that hardly move, as its tangent kernel would; a small one makes it learn features.
    Divide the learning rate by the square of the scale, so that the tangent kernel's phase takes as many steps at every scale.

    Args:
        model: any network with one tensor as its answer.
        scale: factor of its answers, not 0.
        centred: subtract the answer at initialisation; a frozen copy of the network is kept for it.

    Raises:
        OptionError: if the scale is 0 or not finite.

    Source: Chizat, Oyallon, Bach, On Lazy Training in Differentiable Programming, NeurIPS 2019.
    """

    def __init__(self, model: nn.Module, scale: float = 1.0, *, centred: bool = False) -> None:
        super().__init__()
        if not 0 < abs(scale) < float("inf"):
            raise OptionError(f"scale is {scale}; expected a finite number other than 0: 1 leaves the network as it is.")
        self.model, self.scale = model, scale
        self.origin = copy.deepcopy(model).requires_grad_(False) if centred else None

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the scaled answer, of the network's own shape."""
        answer: Tensor = self.model(inputs)
        return self.scale * (answer if self.origin is None else answer - self.origin(inputs))
