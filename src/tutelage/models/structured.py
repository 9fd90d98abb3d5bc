"""Structurally connected heads: output layers whose units belong to groups of classes (verticals).

Reference: Gao, Guo, Li, Nevatia, "Knowledge Concentration: Learning 100K Object Classifiers in a Single CNN", arXiv:1711.07607.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tutelage.errors import OptionError, ShapeError

Structure = Literal["fc-fc", "fc-sc", "sc-sc"]


def check_verticals(verticals: Tensor | Sequence[int]) -> Tensor:
    """Return a map from class to vertical as a checked tensor.

    Args:
        verticals: vertical of each class, integers `[C]`; every number from 0 to the largest occurs.

    Returns:
        The same map, int64 `[C]`.

    Raises:
        ShapeError: if it is empty, not one-dimensional or leaves out a vertical.
    """
    index = torch.as_tensor(verticals).long()
    if index.ndim != 1 or index.numel() == 0:
        raise ShapeError(f"`verticals` has shape {list(index.shape)}; expected one vertical per class, shape [C] with C >= 1.")
    missing = sorted(set(range(int(index.max()) + 1)) - set(index.tolist()))
    if missing or int(index.min()) < 0:
        raise ShapeError(
            f"`verticals` must number the verticals 0, 1, ... without a gap; got minimum {int(index.min())}, no class for {missing}."
        )
    return index


def _rectified(in_features: int, out_features: int) -> nn.Linear:
    """Return a linear layer whose initial weights keep the scale of what passes through it and a ReLU (He et al. 2015)."""
    layer = nn.Linear(in_features, out_features)
    nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)
    return layer


class SeparateLinear(nn.Module):
    """Linear layers side by side, one per vertical, which share nothing; initialised for a ReLU behind them.

    Args:
        verticals: number of verticals, M.
        in_features: input units of each.
        out_features: output units of each.
    """

    def __init__(self, verticals: int, in_features: int, out_features: int) -> None:
        super().__init__()
        bound = math.sqrt(6 / in_features)  # as `_rectified`, with the fan of one vertical
        self.weight = nn.Parameter(torch.empty(verticals, in_features, out_features).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(verticals, 1, out_features))

    def forward(self, hidden: Tensor) -> Tensor:
        """Map `[N, M, in_features]` to `[N, M, out_features]`, each vertical by its own layer."""
        return torch.baddbmm(self.bias, hidden.transpose(0, 1), self.weight).transpose(0, 1)


class ClassLinear(nn.Module):
    """Scores of classes, each from the units of its own vertical only.

    The weights are kept sorted by vertical, so that the classes of a vertical are one matrix product.

    Args:
        verticals: vertical of each class, integers `[C]`.
        in_features: units per vertical.
        prior: initial probability of each class under the sigmoid, in (0, 1).
    """

    position: Tensor

    def __init__(self, verticals: Tensor | Sequence[int], in_features: int, *, prior: float = 0.5) -> None:
        super().__init__()
        index = check_verticals(verticals)
        self.sizes: list[int] = torch.bincount(index).tolist()
        self.register_buffer("position", torch.argsort(torch.argsort(index, stable=True)), persistent=False)
        bound = 1 / math.sqrt(in_features)
        self.weight = nn.Parameter(torch.empty(len(index), in_features).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.full((len(index),), math.log(prior / (1 - prior))))

    def forward(self, hidden: Tensor) -> Tensor:
        """Map `[N, M, in_features]` to scores `[N, C]`."""
        blocks = zip(torch.split(self.weight, self.sizes), torch.split(self.bias, self.sizes), strict=True)
        scores = [F.linear(hidden[:, m], weight, bias) for m, (weight, bias) in enumerate(blocks)]
        return torch.cat(scores, dim=1)[:, self.position]


class StructuredHead(nn.Module):
    """Two hidden layers and a class layer over a body's features, fully or structurally connected.

    `fc-fc` is the ordinary head. In `fc-sc` the first layer is shared and each vertical has its own second layer, which feeds only its
    own classes. In `sc-sc` both layers are separate. With `shared` > 0, that many of the second layer's units serve every vertical.
    The weights, without biases, number, for s_b input features, M verticals and N classes,

    - fc-fc: `s_b s1 + s1 s2 + s2 N`
    - fc-sc: `s_b s1 + s1 shared + s1 (s2 - shared) M + s2 N`
    - sc-sc: `s_b s1 M + s1 s2 M + s2 N`

    Args:
        in_features: width of the body's features, s_b.
        verticals: vertical of each class, integers `[N]`, every number from 0 to M - 1 occurring.
        structure: "fc-fc", "fc-sc" (the paper's best) or "sc-sc".
        first: units of the first layer, s1 (per vertical in `sc-sc`); the paper's best has 4096.
        second: units of the second layer that each class sees, s2; the paper's best has 512.
        prior: initial probability of each class, in (0, 1), as the bias of the class layer: nearly all of many labels are off, and
            normalised scores have to start in that direction. Default 0.05 (ours; the idea is that of Lin et al. 2017 for detectors).
        shared: how many of `second` all verticals share, only for `fc-sc`: 0 shares none, `second` gives `fc-fc`. Sharing only hurts.

    Raises:
        OptionError: if the structure is unknown, a width is not positive, or `shared` is out of range or without `fc-sc`.
        ShapeError: if `verticals` is not a map from class to vertical.

    Source:
        Knowledge Concentration, section on structurally connected layers.
    """

    def __init__(
        self,
        in_features: int,
        verticals: Tensor | Sequence[int],
        *,
        structure: Structure = "fc-sc",
        first: int = 4096,
        second: int = 512,
        shared: int = 0,
        prior: float = 0.05,
    ) -> None:
        super().__init__()
        if not 0 < prior < 1:
            raise OptionError(
                f"prior={prior} is not a probability; expected a number between 0 and 1, about the share of labels that are on."
            )
        if structure not in ("fc-fc", "fc-sc", "sc-sc"):
            raise OptionError(f"structure={structure!r} is not known; choose 'fc-fc', 'fc-sc' or 'sc-sc'.")
        if min(in_features, first, second) < 1:
            raise OptionError(f"Layer widths must be at least 1; got in_features={in_features}, first={first}, second={second}.")
        if not 0 <= shared <= second or (shared and structure != "fc-sc"):
            raise OptionError(f"shared={shared} with structure={structure!r}: expected 0 to second={second}, with structure='fc-sc'.")
        index = check_verticals(verticals)
        self.structure = structure
        self.groups = int(index.max()) + 1
        self.shared = second if structure == "fc-fc" else shared
        self.separate = second - self.shared
        if structure == "sc-sc":
            self.first: nn.Module = _rectified(in_features, self.groups * first)
            self.second: nn.Module = SeparateLinear(self.groups, first, second)
        else:
            self.first = _rectified(in_features, first)
            self.second = _rectified(first, self.shared + self.groups * self.separate)
        self.classes = ClassLinear(index, second, prior=prior)

    def forward(self, features: Tensor) -> Tensor:
        """Map features `[N, in_features]` to raw class scores `[N, C]`."""
        hidden = F.relu(self.first(features))
        if self.structure == "sc-sc":
            return self.scores(self.second(hidden.reshape(hidden.shape[0], self.groups, -1)))
        common, own = torch.split(self.second(hidden), [self.shared, self.groups * self.separate], dim=1)
        common = common.unsqueeze(1).expand(-1, self.groups, -1)
        return self.scores(torch.cat([common, own.reshape(own.shape[0], self.groups, self.separate)], dim=2))

    def scores(self, hidden: Tensor) -> Tensor:
        """Map second-layer units before their activation `[N, M, second]` to class scores `[N, C]`."""
        scores: Tensor = self.classes(F.relu(hidden))
        return scores

    def count_weights(self) -> int:
        """Return the number of weights without biases, as the paper counts them."""
        return sum(p.numel() for name, p in self.named_parameters() if name.endswith("weight"))


class SelfPacedScale(nn.Module):
    """Normalise class scores and scale them by a learned gamma, so that each vertical finds its own pace.

    `y_i = gamma_m(i) x_i / ||x||`: a larger gamma gives larger gradients. Dividing by the norm over a vertical of N_v classes shrinks each
    score by about `1 / sqrt(N_v)`, which is why gamma starts there.

    Args:
        verticals: vertical of each class, integers `[C]`.
        level: "vertical" has one gamma per vertical (the paper's best), "class" one per class.
        gamma: mean of gamma's initial value; "sqrt" for `sqrt(N_v)`. The paper also tried 10.
        std: standard deviation of gamma's initial value; the paper has a variance of 1e-3. A fixed gamma has none.
        learned: whether gamma is trained; the paper also tried it fixed at `sqrt(N_v)`.
        norm_scope: the norm runs over the classes of the "vertical" (default, ours) or over "all" classes.

    Raises:
        OptionError: if `level`, `gamma` or `norm_scope` is unknown.

    Source:
        Knowledge Concentration, section on self-paced learning; `norm_scope` is ours, since the paper's scope is not known to us.
    """

    verticals: Tensor
    slots: Tensor

    def __init__(
        self,
        verticals: Tensor | Sequence[int],
        *,
        level: Literal["vertical", "class"] = "vertical",
        gamma: float | Literal["sqrt"] = "sqrt",
        std: float = 1e-3**0.5,
        learned: bool = True,
        norm_scope: Literal["vertical", "all"] = "vertical",
    ) -> None:
        super().__init__()
        if level not in ("vertical", "class"):
            raise OptionError(f"level={level!r} is not known; choose 'vertical' or 'class'.")
        if norm_scope not in ("vertical", "all"):
            raise OptionError(f"norm_scope={norm_scope!r} is not known; choose 'vertical' or 'all'.")
        if isinstance(gamma, str) and gamma != "sqrt":
            raise OptionError(f"gamma={gamma!r} is not known; give a number or 'sqrt'.")
        index = check_verticals(verticals)
        sizes = torch.bincount(index).float()
        if level == "class":
            sizes = sizes[index]
        mean = sizes.sqrt() if isinstance(gamma, str) else torch.full_like(sizes, gamma)
        self.gamma = nn.Parameter(mean + std * torch.randn_like(mean) if learned else mean, requires_grad=learned)
        self.groups = int(index.max()) + 1
        self.norm_scope = norm_scope
        self.register_buffer("verticals", index, persistent=False)
        self.register_buffer("slots", torch.arange(len(index)) if level == "class" else index, persistent=False)

    def forward(self, scores: Tensor) -> Tensor:
        """Map raw class scores `[N, C]` to self-paced ones `[N, C]`."""
        square = scores.to(torch.promote_types(scores.dtype, torch.float32)).square()  # half precision would overflow
        if self.norm_scope == "all":
            total = square.sum(dim=1, keepdim=True)
        else:
            total = square.new_zeros(scores.shape[0], self.groups).index_add(1, self.verticals, square)[:, self.verticals]
        return (self.gamma[self.slots] * scores * total.clamp_min(1e-24).rsqrt()).to(scores.dtype)
