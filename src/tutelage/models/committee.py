"""A committee: a two-layer network whose readouts are all one, the student (and often the teacher) of learning theory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from tutelage.errors import OptionError, ShapeError

Activation = Literal["quadratic", "relu", "erf", "tanh"]


class Committee(nn.Module):
    """The mean over hidden units of `phi(w_i . x)`; only the `w_i` are parameters.

    Args:
        dimensions: D, input dimensions.
        width: N, hidden units.
        activation: phi: `quadratic` is `h + (epsilon / 2) h^2`, or one of the usual names.
        epsilon: share of the square in the quadratic activation; 0 makes the network linear. Other activations ignore it.
        weight_scale: standard deviation of the initial weights.
        seed: seed of the initial weights, at least 0.
        dtype: of the weights; double by default, as tangent kernels and long full-batch descents need it.

    Raises:
        OptionError: for sizes below 1, an unknown activation or a scale that is not positive.

    Source: the student of Kumar et al., ICLR 2024 (quadratic); Saad and Solla, PRL 1995 (erf).
    """

    def __init__(
        self,
        dimensions: int,
        width: int,
        *,
        activation: Activation = "quadratic",
        epsilon: float = 0.05,
        weight_scale: float = 1.0,
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        super().__init__()
        known: dict[str, Callable[[Tensor], Tensor]] = {"relu": torch.relu, "erf": torch.erf, "tanh": torch.tanh}
        if activation != "quadratic" and activation not in known:
            raise OptionError(f"activation is '{activation}'; expected one of quadratic, {', '.join(known)}.")
        if dimensions < 1 or width < 1:
            raise OptionError(f"A committee of {width} units on {dimensions} dimensions cannot be built: expected at least 1 of each.")
        if not weight_scale > 0:
            raise OptionError(f"weight_scale is {weight_scale}; expected a number above 0, 1 is the usual standard deviation.")
        self.activation, self.epsilon = activation, epsilon
        self._phi = known.get(activation)
        draws = np.random.default_rng([seed, 3]).standard_normal((width, dimensions))
        self.weight = nn.Parameter((weight_scale * torch.from_numpy(draws)).to(dtype))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return one number per row, `[N]`, of inputs `[N, D]`."""
        if inputs.shape[-1] != self.weight.shape[1]:
            raise ShapeError(f"This committee takes inputs [N, {self.weight.shape[1]}], got {list(inputs.shape)}.")
        hidden = inputs @ self.weight.mT
        if self._phi is None:
            return (hidden + 0.5 * self.epsilon * hidden**2).mean(-1)
        return self._phi(hidden).mean(-1)
