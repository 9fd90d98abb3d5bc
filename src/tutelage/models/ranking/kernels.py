"""Kernel pooling: how often a query's words are matched how well, counted softly."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from tutelage.errors import OptionError

HALF = (torch.float16, torch.bfloat16)
FAR = 1e3
"""What stands for the cosine of padding: so far from every centre that no kernel counts it."""

MEANS = (1.0, 0.9, 0.7, 0.5, 0.3, 0.1, -0.1, -0.3, -0.5, -0.7, -0.9)
"""Centres of the kernels on the scale of cosines; the first is for exact matches."""


class KernelPooling(nn.Module):
    """A score from a matrix of cosines: Gaussian counts per query token, their logarithms summed, one linear layer.

    `K_m(i) = sum_j exp(-(M_ij - mu_m)^2 / (2 sigma^2))`, `phi_m = sum_i log max(alpha_m K_m(i), floor)`, `s = w . phi + b`.

    Args:
        means: mu, the kernels' centres. Default 11 from 1.0 to -0.9 (paper).
        sigma: their width. Default 0.1 (paper).
        floor: smallest count. Default 1e-4 (paper).
        scale: alpha at the start, learned. Default 1 (paper).

    Raises:
        OptionError: for no kernel, or sizes that are not above 0.

    Source: Xiong et al., End-to-End Neural Ad-hoc Ranking with Kernel Pooling, SIGIR 2017; values of Hofstaetter et al., SIGIR 2021.
    """

    def __init__(self, *, means: tuple[float, ...] = MEANS, sigma: float = 0.1, floor: float = 1e-4, scale: float = 1.0) -> None:
        super().__init__()
        if not means or min(sigma, floor, scale) <= 0:
            raise OptionError(f"Kernels take a mean or more, and sigma, floor and scale above 0: got {means}, {sigma}, {floor}, {scale}.")
        self.centres = tuple(float(mean) for mean in means)
        self.sigma, self.floor = sigma, floor
        self.alpha = nn.Parameter(torch.full((len(means),), float(scale)))
        self.output = nn.Linear(len(means), 1)
        nn.init.uniform_(self.output.weight, -0.01, 0.01)

    def activations(self, cosines: Tensor, query_mask: Tensor, passage_mask: Tensor) -> Tensor:
        """Return phi, `[..., m]`.

        Args:
            cosines: M, `[..., Q, W]`; half types are computed in float32.
            query_mask: bool `[..., Q]`, True for tokens, or weights of them, 0 for padding.
            passage_mask: bool `[..., W]`.
        """
        cosines = (cosines.float() if cosines.dtype in HALF else cosines).masked_fill(~passage_mask.unsqueeze(-2), FAR)
        # exp(-a (M - mu)^2) = exp(-a M^2 + 2 a mu M) exp(-a mu^2): two passes over M for each kernel, one at a time, because the matrix of
        # all kernels would be eleven times as large.
        slope = 0.5 / self.sigma**2
        squares = -slope * cosines.square()
        sums = [torch.add(squares, cosines, alpha=2 * slope * mean).exp().sum(-1) * math.exp(-slope * mean**2) for mean in self.centres]
        counts = torch.stack(sums, -1)
        return ((self.alpha * counts).clamp_min(self.floor).log() * query_mask.unsqueeze(-1)).sum(-2)

    def forward(self, cosines: Tensor, query_mask: Tensor, passage_mask: Tensor) -> Tensor:
        """Return scores `[...]`, of the arguments that `activations` takes."""
        score: Tensor = self.output(self.activations(cosines, query_mask, passage_mask)).squeeze(-1)
        return score
