"""Networks of binary weights: a variational layer that holds a distribution over them, and its deterministic counterpart.

A weight w in {-1, +1} has a real field t: its probability is proportional to `e^{b t w}`, with a sharpness (inverse temperature) b. Its
mean is `m = tanh(b t)`, its variance `s = 1 - m^2`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tutelage.errors import OptionError, ShapeError

_LEAST_VARIANCE = 1e-12


def field_mean(field: Tensor, sharpness: float | Tensor = 1.0) -> Tensor:
    """Return the mean of binary weights, `tanh(b t)`.

    Args:
        field: t, of any shape.
        sharpness: b.
    """
    return torch.tanh(sharpness * field)


def field_variance(field: Tensor, sharpness: float | Tensor = 1.0) -> Tensor:
    """Return the variance of binary weights, `1 - tanh(b t)^2`, which keeps its precision where it is small.

    Args:
        field: t, of any shape.
        sharpness: b.
    """
    twice = 2 * sharpness * field
    return 4 * torch.sigmoid(twice) * torch.sigmoid(-twice)


def stability(field: Tensor, inputs: Tensor, sharpness: float | Tensor = 1.0, *, squares: Tensor | None = None) -> Tensor:
    """Return the mean over the standard deviation of a binary perceptron's pre-activation, `m . x / sqrt(sum s x^2)`.

    Args:
        field: t, one perceptron `[D]` or several `[K, D]`, which see the same inputs.
        inputs: `[N, D]`.
        sharpness: b.
        squares: `inputs ** 2`, where it is known already.

    Returns:
        `[N]` or `[K, N]`.
    """
    squares = inputs.square() if squares is None else squares
    spread = F.linear(field_variance(field, sharpness), squares).clamp_min(_LEAST_VARIANCE).sqrt()
    return F.linear(field_mean(field, sharpness), inputs) / spread


class FieldLinear(nn.Module):
    """A linear layer whose weights are distributions over {-1, +1}, scaled by `1 / sqrt(inputs)`, without a bias.

    Its answer is a draw from the normal law that many independent weights give the pre-activation, fresh for every unit and sample:
    `z = m a / sqrt(n) + e sqrt(s a^2 / n)`, differentiable in the fields.

    Args:
        inputs: number of inputs, n.
        outputs: number of outputs.
        spread: standard deviation of the fields at the start.

    Attributes:
        field: t, `[outputs, inputs]`.
        sharpness: b, a scalar buffer; 1 at the start.

    Source: the Gaussian-field approximation of arXiv 2212.02846; Kingma, Salimans, Welling, arXiv 1506.02557 (local reparameterisation).
    """

    sharpness: Tensor

    def __init__(self, inputs: int, outputs: int, *, spread: float = 1.0) -> None:
        super().__init__()
        _check(inputs, outputs, spread)
        self.field = nn.Parameter(spread * torch.randn(outputs, inputs))
        self.register_buffer("sharpness", torch.ones(()))

    @property
    def mean(self) -> Tensor:
        """Mean of every weight, `[outputs, inputs]`."""
        return field_mean(self.field, self.sharpness)

    @property
    def variance(self) -> Tensor:
        """Variance of every weight, `[outputs, inputs]`."""
        return field_variance(self.field, self.sharpness)

    def moments(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance of the pre-activations.

        Args:
            inputs: `[N, inputs]`.

        Returns:
            Two tensors `[N, outputs]`.
        """
        n = self.field.shape[1]
        return F.linear(inputs, self.mean) / math.sqrt(n), F.linear(inputs.square(), self.variance) / n

    def forward(self, inputs: Tensor) -> Tensor:
        """Return a draw of the pre-activations `[N, outputs]`."""
        mean, variance = self.moments(inputs)
        # The square root has no gradient at zero, where there is nothing to draw.
        spread = torch.where(variance > 0, variance, 1.0).sqrt() * (variance > 0)
        return mean + torch.randn_like(mean) * spread


class SignLinear(nn.Module):
    """A linear layer of the signs of its hidden weights, scaled by `1 / sqrt(inputs)`, trained straight through.

    Args:
        inputs: number of inputs.
        outputs: number of outputs.
        spread: standard deviation of the hidden weights at the start.
        clip: largest hidden weight that still gets a gradient; `None` for no limit.

    Attributes:
        hidden: real weights, `[outputs, inputs]`; a zero counts as positive.

    Source: Courbariaux, Bengio, David, BinaryConnect, arXiv 1511.00363; Bengio, Leonard, Courville, arXiv 1308.3432.
    """

    def __init__(self, inputs: int, outputs: int, *, spread: float = 0.1, clip: float | None = None) -> None:
        super().__init__()
        _check(inputs, outputs, spread)
        self.hidden = nn.Parameter(spread * torch.randn(outputs, inputs))
        self.clip = clip

    @property
    def weight(self) -> Tensor:
        """The binary weights, with the gradient of the hidden ones."""
        through = self.hidden if self.clip is None else self.hidden.clamp(-self.clip, self.clip)
        signs = torch.where(self.hidden < 0, -1.0, 1.0).to(self.hidden.dtype)
        return through + (signs - through).detach() if torch.is_grad_enabled() else signs

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the pre-activations `[N, outputs]`."""
        return F.linear(inputs, self.weight) / math.sqrt(self.hidden.shape[1])


class _Stack(nn.Module):
    """Layers with ReLU between them, on flattened inputs."""

    def __init__(self, num_classes: int, input_shape: Sequence[int], widths: Sequence[int]) -> None:
        super().__init__()
        self.num_classes, self.input_shape, self.widths = num_classes, tuple(input_shape), tuple(widths)
        self.layers = nn.ModuleList()

    def _sizes(self) -> list[tuple[int, int]]:
        return list(itertools.pairwise([math.prod(self.input_shape), *self.widths, self.num_classes]))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits `[N, num_classes]` of inputs `[N, *input_shape]`."""
        flat = inputs.flatten(1)
        if flat.shape[1] != math.prod(self.input_shape):
            raise ShapeError(f"This network takes inputs [N, {', '.join(map(str, self.input_shape))}], got {list(inputs.shape)}.")
        for layer in self.layers[:-1]:
            flat = F.relu(layer(flat))
        logits: Tensor = self.layers[-1](flat)
        return logits


class SignMLP(_Stack):
    """A multi-layer perceptron of `SignLinear` layers.

    Args:
        num_classes: outputs.
        input_shape: shape of one input without the batch dimension.
        widths: units of each hidden layer.
        spread: standard deviation of the hidden weights at the start.
        clip: largest hidden weight that still gets a gradient; `None` for no limit.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        input_shape: Sequence[int],
        widths: Sequence[int] = (512, 512),
        spread: float = 0.1,
        clip: float | None = None,
    ) -> None:
        super().__init__(num_classes, input_shape, widths)
        self.layers.extend(SignLinear(a, b, spread=spread, clip=clip) for a, b in self._sizes())


class FieldMLP(_Stack):
    """A multi-layer perceptron of `FieldLinear` layers; every call draws anew, in evaluation too.

    Args:
        num_classes: outputs.
        input_shape: shape of one input without the batch dimension.
        widths: units of each hidden layer.
        spread: standard deviation of the fields at the start.
    """

    def __init__(self, *, num_classes: int, input_shape: Sequence[int], widths: Sequence[int] = (512, 512), spread: float = 1.0) -> None:
        super().__init__(num_classes, input_shape, widths)
        self.layers.extend(FieldLinear(a, b, spread=spread) for a, b in self._sizes())

    def settled(self) -> SignMLP:
        """Return the deterministic network in which every weight is its likelier value, for deployment."""
        network = SignMLP(num_classes=self.num_classes, input_shape=self.input_shape, widths=self.widths)
        with torch.no_grad():
            for mine, theirs in zip(self.layers, network.layers, strict=True):
                theirs.get_parameter("hidden").copy_(mine.get_parameter("field"))
        return network.to(next(self.parameters()).device)


class FieldPerceptron(nn.Module):
    """A perceptron of binary weights whose class probabilities are averaged over them exactly, for two classes.

    Its answer is `log Phi(-u)`, `log Phi(u)` with the stability u: log-probabilities, so their cross-entropy is `-log Phi(y u)`.

    Args:
        inputs: number of inputs.
        spread: standard deviation of the fields at the start.

    Attributes:
        field: t, `[inputs]`.
        sharpness: b, a scalar buffer; 1 at the start.
    """

    sharpness: Tensor

    def __init__(self, inputs: int, *, spread: float = 1.0) -> None:
        super().__init__()
        _check(inputs, 1, spread)
        self.field = nn.Parameter(spread * torch.randn(inputs))
        self.register_buffer("sharpness", torch.ones(()))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return log-probabilities `[N, 2]` of inputs `[N, inputs]`."""
        u = stability(self.field, inputs, self.sharpness)
        logits: Tensor = torch.special.log_ndtr(torch.stack([-u, u], -1))
        return logits


def _check(inputs: int, outputs: int, spread: float) -> None:
    if min(inputs, outputs) < 1 or spread < 0:
        raise OptionError(f"A binary layer takes positive sizes and a spread of at least 0: got {inputs}, {outputs} and {spread}.")
