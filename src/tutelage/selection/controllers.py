"""Controllers that keep several teachers in balance while a student learns: one moves temperatures, one moves weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tutelage.errors import OptionError, ShapeError

_FLOOR = 1e-12


class EntropyBalance(nn.Module):
    """Temperatures that warm the sharper teacher and cool the softer one until all carry the same entropy.

    `tau_k <- clip(tau_k - rate sign(H_k / H_others - 1), low, high)`, where `H_others` is the mean entropy of the other
    teachers: for two teachers this is the published pair of rules. The state is the buffer `temperatures`, float32 `[K]`.

    Args:
        count: number K of teachers, at least 2. Default 2.
        start: temperature of every teacher at the start. Default 1.
        low: smallest temperature. Default 1.
        high: largest temperature. Default 10.

    Raises:
        OptionError: for fewer than two teachers, or a start outside the bounds.

    Source: Zhao et al., arXiv 2306.16170, Entropy-Based Balance; the mean over more than one other teacher is ours.
    """

    temperatures: Tensor

    def __init__(self, count: int = 2, *, start: float = 1.0, low: float = 1.0, high: float = 10.0) -> None:
        super().__init__()
        if count < 2:
            raise OptionError(f"count is {count}; expected at least 2 teachers to balance.")
        if not 0 < low <= start <= high:
            raise OptionError(f"temperatures start at {start} with bounds [{low}, {high}]; expected 0 < low <= start <= high.")
        self.low = low
        self.high = high
        self.register_buffer("temperatures", torch.full((count,), start))

    @torch.no_grad()
    def update(self, entropies: Sequence[Tensor] | Tensor, rate: float) -> None:
        """Move every temperature one step towards equal entropies.

        Args:
            entropies: mean entropy of each teacher's tempered probabilities on this batch, K scalars, in nats.
            rate: length of the step, `r_tau`; 0 changes nothing.

        Raises:
            ShapeError: if there are not K entropies.
        """
        entropy = _gathered(entropies, self.temperatures)
        others = (entropy.sum() - entropy) / (len(entropy) - 1)
        # sign(H_k / H_others - 1) without the division, which two certain teachers would make 0 / 0.
        self.temperatures.sub_(rate * torch.sign(entropy - others)).clamp_(self.low, self.high)


class LossBalance(nn.Module):
    """Weights that go to the losses that have fallen least, each measured against its own first value.

    With `l_k = L_k / L_k(first)` and targets `r_k = l_k^beta / sum_j l_j^beta`:
    `w_k <- w_k - rate (w_k - r_k)`, clipped at 0 and divided by their sum. The state is the buffers `weights` and
    `first`, float32 `[K]`; `first` is NaN until the first update.

    Args:
        count: number K of losses, at least 2. Default 2.
        beta: exponent that sharpens (above 1) or flattens (below 1) the targets. Default 1.
        complement: only the first of two weights follows the rule and the other is one minus it, without clipping or
            renormalising. Default False.

    Raises:
        OptionError: for fewer than two losses, a negative `beta`, or `complement` with more than two.

    Source: Zhao et al., arXiv 2306.16170, Normalization Loss Balance; `complement` is the form of their first release (ECCV 2022).
    """

    weights: Tensor
    first: Tensor

    def __init__(self, count: int = 2, *, beta: float = 1.0, complement: bool = False) -> None:
        super().__init__()
        if count < 2:
            raise OptionError(f"count is {count}; expected at least 2 losses to balance.")
        if beta < 0:
            raise OptionError(f"beta is {beta}; expected 0 or more.")
        if complement and count != 2:
            raise OptionError(f"complement=True with count={count}; one minus the first weight needs exactly 2 losses.")
        self.beta = beta
        self.complement = complement
        self.register_buffer("weights", torch.full((count,), 1 / count))
        self.register_buffer("first", torch.full((count,), float("nan")))

    @torch.no_grad()
    def update(self, losses: Sequence[Tensor] | Tensor, rate: float) -> Tensor:
        """Move every weight a share of the way to its target, and return the new weights.

        Args:
            losses: K scalar losses of this batch, not negative; the first call remembers them.
            rate: share of the way, `r_w`, in [0, 1]; 0 changes nothing.

        Returns:
            The weights, float32 `[K]`, which sum to 1 and carry no gradient.

        Raises:
            ShapeError: if there are not K losses.
        """
        loss = _gathered(losses, self.weights)
        self.first.copy_(torch.where(self.first.isnan(), loss, self.first))
        # A loss that starts at zero has nothing to learn; the floor keeps 0 / 0 out of the weights.
        relative = (loss.clamp_min(0) + _FLOOR) / (self.first.clamp_min(0) + _FLOOR)
        powered = relative**self.beta
        target = powered / powered.sum()
        moved = self.weights - rate * (self.weights - target)
        if self.complement:
            moved[1] = 1 - moved[0]
        else:
            moved = moved.clamp_min(0)
            moved = moved / moved.sum()
        self.weights.copy_(moved)
        return self.weights.clone()


def _gathered(values: Sequence[Tensor] | Tensor, state: Tensor) -> Tensor:
    """Return K scalars as one tensor of the state's kind, averaged over processes so that all keep the same state."""
    stacked = (values if isinstance(values, Tensor) else torch.stack(list(values))).detach().to(state)
    if stacked.shape != state.shape:
        raise ShapeError(f"{tuple(stacked.shape)} values for a controller of {len(state)}; expected one scalar for each.")
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(stacked)
        stacked = stacked / torch.distributed.get_world_size()
    return stacked
