"""Virtual steps: a student that walks ahead, is looked at, and is put back."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from tutelage.errors import OptionError

if TYPE_CHECKING:
    from tutelage.train.engine import Engine


@contextmanager
def virtual(engine: Engine, network: nn.Module, player: str = "student", *, restore_optimizer: bool = False) -> Iterator[None]:
    """Let a player's network take real optimizer steps inside the context, and put it back where it was afterwards.

    Parameters and buffers of the network are saved and restored in place, so that a moving average that follows the network
    sees the steps while they last.

    Args:
        engine: the engine of the training, which moves the player.
        network: what is put back.
        player: the player whose optimizer moves it.
        restore_optimizer: put the optimizer's own state (momenta, moments) back too; otherwise it remembers the virtual steps.

    Raises:
        OptionError: if gradients are accumulated over several batches, so that no step would be taken.
    """
    if not engine.last:
        raise OptionError("Virtual steps need a whole batch at each step: set accumulate to 1 and raise batch_size instead.")
    saved = [tensor.detach().clone() for tensor in _state(network)]
    optimizer = engine.raw[player]
    state = copy.deepcopy(optimizer.state_dict()) if restore_optimizer else None
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, old in zip(_state(network), saved, strict=True):
                tensor.copy_(old)
        if state is not None:
            optimizer.load_state_dict(state)


class Soup:
    """The plain average of a network's weights at several moments, which can be served in place of the network's own.

    Args:
        network: the network whose weights are averaged, parameters and floating-point buffers.

    Source: Wortsman et al., Model soups, ICML 2022 (the uniform soup).
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.count = 0
        self._sums: list[Tensor] = []

    @torch.no_grad()
    def add(self) -> None:
        """Add the weights that the network has now."""
        state = _state(self.network)
        self.count += 1
        if not self._sums:
            self._sums = [tensor.detach().clone() for tensor in state]
            return
        for total, tensor in zip(self._sums, state, strict=True):
            total.copy_(tensor) if not tensor.is_floating_point() else total.add_(tensor)

    @torch.no_grad()
    def serve(self) -> None:
        """Put the average into the network; counters and other whole numbers are those of the last one added.

        Raises:
            OptionError: if nothing was added.
        """
        if not self.count:
            raise OptionError("A soup of no weights was served. Call add() at least once before.")
        for tensor, total in zip(_state(self.network), self._sums, strict=True):
            tensor.copy_(total / self.count if total.is_floating_point() else total)


def _state(network: nn.Module) -> list[Tensor]:
    return [*network.parameters(), *network.buffers()]
