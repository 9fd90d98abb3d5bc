"""An optimizer of binary networks whose weights grow harder to turn the further they are from zero."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

from tutelage.errors import OptionError


class MetaplasticAdam(torch.optim.AdamW):
    """Adam whose updates towards zero are damped by `1 - tanh(m h)^2`, where h is the hidden weight; those away from it are Adam's.

    All parameters given are taken as hidden weights of a binary network.

    Args:
        params: parameters, or groups of them.
        lr: learning rate.
        metaplasticity: m; 0 is Adam.
        betas: decay of the running means.
        weight_decay: decoupled decay, damped like other updates.

    Raises:
        OptionError: for negative metaplasticity.

    Source: Laborieux, Ernoult, Hirtzlin, Querlioz, Synaptic metaplasticity in binarized neural networks, arXiv 2003.03533.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.005,
        *,
        metaplasticity: float = 1.35,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 0.0,
    ) -> None:
        if metaplasticity < 0:
            raise OptionError(f"metaplasticity is {metaplasticity}; expected 0 or more.")
        super().__init__(params, lr=lr, betas=betas, weight_decay=weight_decay)
        self.metaplasticity = metaplasticity

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move every weight, damped where it would come closer to zero.

        Args:
            closure: evaluates the loss again, as for other optimizers.
        """
        moving = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        before = [p.clone() for p in moving]
        loss = super().step(closure)
        for parameter, old in zip(moving, before, strict=True):
            change = parameter - old
            damped = change * (1 - torch.tanh(self.metaplasticity * old).square())
            parameter.copy_(old + torch.where(change * old < 0, damped, change))
        return loss
