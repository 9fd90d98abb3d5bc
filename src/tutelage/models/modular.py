"""A one-layer transformer for sums modulo a prime, the classic case of delayed generalisation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tutelage.errors import OptionError


class SumTransformer(nn.Module):
    """Embedding of a, b and "=", one layer of causal-free attention and an MLP, and logits of `(a + b) mod p` at "=".

    There is no normalisation, so that the scale of weights and outputs stays what it was set to.

    Args:
        modulus: p, number of residues and classes.
        width: width of the residual stream, a multiple of `heads`.
        heads: attention heads.

    Raises:
        OptionError: for a modulus below 2 or a width that the heads do not divide.

    Source: Nanda et al., Progress Measures for Grokking via Mechanistic Interpretability, ICLR 2023, section 3.
    """

    def __init__(self, modulus: int, *, width: int = 32, heads: int = 4) -> None:
        super().__init__()
        if modulus < 2 or heads < 1 or width < 1 or width % heads:
            raise OptionError(
                f"modulus {modulus}, width {width}, heads {heads}: expected modulus of at least 2, width a multiple of heads."
            )
        self.embed = nn.Embedding(modulus + 1, width)
        self.place = nn.Parameter(torch.randn(3, width) / width**0.5)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width))
        self.head = nn.Linear(width, modulus, bias=False)
        self.modulus, self.heads = modulus, heads
        nn.init.normal_(self.embed.weight, std=width**-0.5)

    def forward(self, pairs: Tensor) -> Tensor:
        """Return logits `[N, p]` of pairs of residues, int64 `[N, 2]`."""
        tokens = torch.cat([pairs, torch.full_like(pairs[:, :1], self.modulus)], 1)
        stream = self.embed(tokens) + self.place

        def split(values: Tensor) -> Tensor:
            return values.reshape(*values.shape[:2], self.heads, -1).transpose(1, 2)

        # Only the answer at "=" is read, so only its query is needed.
        query = split(self.query(stream[:, -1:]))
        seen = nn.functional.scaled_dot_product_attention(query, split(self.key(stream)), split(self.value(stream)))
        last = stream[:, -1] + self.out(seen.transpose(1, 2).flatten(2))[:, 0]
        found: Tensor = self.head(last + self.mlp(last))
        return found


def modular_pairs(modulus: int) -> tuple[Tensor, Tensor]:
    """Return all pairs of residues `[p^2, 2]` and their sums modulo p `[p^2]`, int64.

    Args:
        modulus: p.
    """
    residues = torch.arange(modulus)
    pairs = torch.cartesian_prod(residues, residues)
    return pairs, pairs.sum(1) % modulus
