"""A network replaced by its first-order Taylor expansion in its weights: what it would learn if its features never changed."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp

from tutelage.errors import ShapeError


class Linearised(nn.Module):
    """Answers `f(x; W0) + J(x; W0) d`, where d, the displacement of the weights from W0, is all that is trained.

    J d is a forward-mode product: no Jacobian is ever stored. Train it with the optimizer of the network itself: under plain
    gradient descent it is regression with the tangent kernel at W0.

    Args:
        model: the network at W0, which is copied; it runs in evaluation mode.
        centred: answer `J d` alone, which is 0 at the start.

    Raises:
        ShapeError: if it has nothing to train.

    Source: Lee et al., Wide Neural Networks of Any Depth Evolve as Linear Models, NeurIPS 2019, eq. 4.
    """

    def __init__(self, model: nn.Module, *, centred: bool = False) -> None:
        super().__init__()
        trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
        if not trained:
            raise ShapeError(f"This {type(model).__name__} has no parameter that requires a gradient: there is nothing to linearise.")
        self.origin = copy.deepcopy(model).requires_grad_(False).eval()
        self.centred = centred
        self._names = tuple(trained)
        self.displacement = nn.ParameterList([torch.zeros_like(value) for value in trained.values()])

    def train(self, mode: bool = True) -> Linearised:
        """Set the mode; the network inside stays in evaluation mode, as its expansion was taken there."""
        super().train(mode)
        self.origin.eval()
        return self

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the expansion's answer, of the network's own shape."""
        weights = dict(self.origin.named_parameters())
        fixed = {name: value for name, value in weights.items() if name not in self._names}
        point = {name: weights[name] for name in self._names}
        tangent = dict(zip(self._names, self.displacement, strict=True))

        def answer(moving: dict[str, Tensor]) -> Tensor:
            found: Tensor = functional_call(self.origin, fixed | moving, (inputs,))
            return found

        start, change = jvp(answer, (point,), (tangent,))[:2]
        found: Tensor = change if self.centred else start + change
        return found
