"""What moves parameters: players, their optimizers, precision, distribution, clipping and accumulation."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from tutelage.errors import OptionError, TrainingError
from tutelage.train.method import Batch, Method, OptimizerFactory, Player
from tutelage.train.optim import Plateau, Scheduler, SchedulerFactory

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class Engine:
    """The hands of a training: back-propagates, and moves each player with its own optimizer.

    `Method.step(batch, engine)` gets it; the trainer uses it for every other method.

    Args:
        method: the method, which is moved to the device and wrapped for distribution.
        fabric: a launched Fabric.
        optimizer: builds the optimizer of players that bring none.
        scheduler: builds the learning-rate scheduler of each optimizer.
        clip: largest gradient norm of each player, or `None`.
    """

    def __init__(
        self, method: Method, fabric: Fabric, *, optimizer: OptimizerFactory, scheduler: SchedulerFactory, clip: float | None = None
    ) -> None:
        self.method, self.fabric, self.clip = method, fabric, clip
        ddp = getattr(fabric.strategy, "_ddp_kwargs", None)
        if ddp is not None and not ddp.get("find_unused_parameters") and len({p.turn for p in method.players().values()}) > 1:
            raise OptionError(
                f"The players of {type(method).__name__} move in turn, so some parameters get no gradient at each turn: "
                "set strategy to ddp_find_unused_parameters_true."
            )
        self.module: nn.Module = fabric.setup_module(method)
        # Sharding replaces parameters, so players are asked for once the module is set up.
        self.players: dict[str, Player] = method.players()
        self._check_players()
        self.raw = {name: (player.optimizer or optimizer)(player.parameters) for name, player in self.players.items()}
        self.schedulers: dict[str, Scheduler] = {name: scheduler(o) for name, o in self.raw.items()}
        wrapped = fabric.setup_optimizers(*self.raw.values())
        self.optimizers: dict[str, Any] = dict(zip(self.players, wrapped if isinstance(wrapped, tuple) else (wrapped,), strict=True))
        # A lone device in full precision needs none of Fabric's wrapping: calling the method itself saves its per-call cost.
        self.plain = fabric.world_size == 1 and fabric._precision.precision == "32-true"
        if self.plain:
            self.module, self.optimizers = method, dict(self.raw)
        if fabric.world_size > 1 and method.step is not None:
            for tensor in method.state_dict().values():
                fabric.broadcast(tensor)
        self.share = 1.0
        self.last = True

    def _check_players(self) -> None:
        owner: dict[int, str] = {}
        for name, player in self.players.items():
            if not player.parameters:
                raise OptionError(
                    f"Player '{name}' of {type(self.method).__name__} owns no trainable parameters: its model is frozen or has none. "
                    "Set requires_grad on what should learn."
                )
            for parameter in player.parameters:
                if id(parameter) in owner:
                    raise OptionError(
                        f"Players '{owner[id(parameter)]}' and '{name}' both own a parameter of shape {tuple(parameter.shape)}."
                    )
                owner[id(parameter)] = name

    @property
    def device(self) -> torch.device:
        """Where the method is."""
        device: torch.device = self.fabric.device
        return device

    def autocast(self) -> AbstractContextManager[None]:
        """Return the context in which a forward pass runs in the precision of this training."""
        return nullcontext() if self.plain else self.fabric.autocast()

    def begin(self, share: float, last: bool) -> None:
        """Say what part of an optimizer step the next batch is.

        Args:
            share: its part of the samples of the whole step, times the number of processes.
            last: whether the optimizers move after it.
        """
        self.share, self.last = share, last

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a loss to those of this step, weighted by the batch's share of it."""
        scaled = loss if self.share == 1.0 else loss * self.share
        if self.plain:
            scaled.backward()  # type: ignore[no-untyped-call]
        else:
            self.fabric.backward(scaled)

    def zero_grad(self, name: str) -> None:
        """Forget the gradients of one player."""
        self.optimizers[name].zero_grad(set_to_none=True)

    def move(self, name: str) -> None:
        """Clip, step and clear one player; waits while gradients are still being accumulated."""
        if not self.last:
            return
        player = self.players[name]
        if self.fabric.world_size > 1 and self.method.step is not None:
            for parameter in player.parameters:
                if parameter.grad is not None:
                    parameter.grad.copy_(self.all_reduce(parameter.grad))
        if self.clip is not None:
            if self.plain:
                torch.nn.utils.clip_grad_norm_(player.parameters, self.clip)
            else:
                self.fabric.clip_gradients(self.module, self.optimizers[name], max_norm=self.clip, error_if_nonfinite=False)
        self.optimizers[name].step()
        self.optimizers[name].zero_grad(set_to_none=True)

    def advance(self) -> None:
        """Move every learning rate on by one step of the training."""
        for scheduler in self.schedulers.values():
            scheduler.step()

    def validated(self, value: float) -> None:
        """Tell the schedulers that follow validations the monitored metric."""
        for scheduler in self.schedulers.values():
            if isinstance(scheduler, Plateau):
                scheduler.validated(value)

    def learning_rate(self, name: str) -> float:
        """Return the learning rate that a player moves with now."""
        return float(self.optimizers[name].param_groups[0]["lr"])

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """Return the mean of a tensor over all processes."""
        if self.fabric.world_size == 1:
            return tensor
        return cast(Tensor, self.fabric.all_reduce(tensor, reduce_op="mean"))

    def play(self, batch: Batch) -> dict[str, Tensor]:
        """Give every player its turn on one batch and return all losses by name.

        Raises:
            TrainingError: if a player names a loss that the method does not return.
        """
        moving = {n: p for n, p in self.players.items() if self.method.steps_done % p.every == 0}
        turns = sorted({p.turn for p in moving.values()})
        lone = len({p.turn for p in self.players.values()}) == 1 and len(moving) == len(self.players)
        losses: dict[str, Tensor] = {}
        for turn in turns:
            active = {n: p for n, p in moving.items() if p.turn == turn}
            self.method.turn = turn
            with nullcontext() if lone else self._held_still(active):
                found: dict[str, Tensor] = self.module(batch)
                self.backward(self._total(found, active))
            losses |= {n: loss.detach() for n, loss in found.items()}
            for name in active:
                self.move(name)
        return losses

    def _total(self, losses: dict[str, Tensor], active: dict[str, Player]) -> Tensor:
        if any(p.losses is None for p in active.values()):
            chosen = list(losses)
        else:
            chosen = list(dict.fromkeys(n for p in active.values() for n in p.losses or ()))
        absent = [n for n in chosen if n not in losses]
        if absent or not chosen:
            raise TrainingError(
                f"{type(self.method).__name__} returned the losses {sorted(losses)}, but its players descend {absent or 'none'}."
            )
        total = losses[chosen[0]]
        for name in chosen[1:]:
            total = total + losses[name]
        return total

    def _held_still(self, active: dict[str, Player]) -> AbstractContextManager[None]:
        return _HeldStill([p for n, player in self.players.items() if n not in active for p in player.parameters])


class _HeldStill:
    """Keeps parameters out of the graph for the time of a context."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        self.parameters = parameters

    def __enter__(self) -> None:
        for parameter in self.parameters:
            parameter.requires_grad_(False)

    def __exit__(self, *_: object) -> None:
        for parameter in self.parameters:
            parameter.requires_grad_(True)
