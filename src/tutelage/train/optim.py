"""Optimizers and learning-rate schedules, from options or from the user's own factories."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from tutelage import schedules
from tutelage.errors import OptionError, nearest
from tutelage.train.method import OptimizerFactory
from tutelage.train.options import TrainOptions

Scheduler = torch.optim.lr_scheduler.LRScheduler
SchedulerFactory = Callable[[torch.optim.Optimizer], Scheduler]


def _class(module: object, base: type, name: str, what: str) -> type:
    known = {k: v for k, v in vars(module).items() if isinstance(v, type) and issubclass(v, base) and v is not base}
    if name not in known:
        raise OptionError(f"No {what} is called '{name}'.{nearest(name, known)}")
    return known[name]


def optimizer_factory(options: TrainOptions) -> OptimizerFactory:
    """Return what builds the optimizer that the options name.

    Args:
        options: `optimizer`, `learning_rate`, `optimizer_arguments`, and `momentum` and `weight_decay` where the optimizer has them.

    Returns:
        `parameters -> torch.optim.Optimizer`.

    Raises:
        OptionError: for an optimizer or an argument that does not exist.
    """
    kind = _class(torch.optim, torch.optim.Optimizer, options.optimizer, "optimizer of torch.optim")
    takes = inspect.signature(kind).parameters
    arguments: dict[str, float] = {"lr": options.learning_rate}
    arguments |= {name: getattr(options, name) for name in ("momentum", "weight_decay") if name in takes}
    for name, value in options.optimizer_arguments.items():
        if name not in takes:
            raise OptionError(f"{options.optimizer} has no argument '{name}'.{nearest(name, takes)}")
        arguments[name] = value

    def build(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        optimizer: torch.optim.Optimizer = kind(parameters, **arguments)
        return optimizer

    return build


def learning_rate_schedule(options: TrainOptions) -> schedules.Schedule | None:
    """Return the factor on the learning rate as a function of progress, or `None` for a scheduler of torch."""
    shapes: dict[str, schedules.Schedule] = {
        "cosine": schedules.cosine(1.0, 0.0),
        "linear": schedules.linear(1.0, 0.0),
        "constant": schedules.constant(1.0),
        "step": schedules.step(1.0, at=options.milestones, factor=options.gamma),
    }
    if options.schedule not in shapes:
        return None
    shape = shapes[options.schedule]
    return schedules.warmup(shape, share=options.warmup) if options.warmup else shape


def scheduler_factory(options: TrainOptions, total_steps: int, steps_per_epoch: int) -> SchedulerFactory:
    """Return what builds the learning-rate scheduler; the trainer steps it after every optimizer step.

    ReduceLROnPlateau is told the monitored metric after every validation in place of that, and by default takes any better value for one.

    Raises:
        OptionError: for a scheduler or an argument that does not exist, or warm-up with a scheduler of torch.
    """
    shape = learning_rate_schedule(options)
    if shape is not None:
        factor = shape
        return lambda optimizer: torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: factor(min(step / max(total_steps, 1), 1.0)))
    ours = ("cosine", "linear", "constant", "step")
    if not hasattr(torch.optim.lr_scheduler, options.schedule):
        known = [k for k in vars(torch.optim.lr_scheduler) if k[0].isupper() and (k.endswith(("LR", "Restarts", "Plateau")))]
        raise OptionError(f"No learning-rate schedule is called '{options.schedule}'.{nearest(options.schedule, [*ours, *known])}")
    if options.warmup:
        raise OptionError(
            f"warmup goes with the schedules {', '.join(ours)}; '{options.schedule}' of torch has no warm-up here. Set warmup to 0."
        )
    kind = _class(torch.optim.lr_scheduler, Scheduler, options.schedule, "learning-rate schedule")
    takes = inspect.signature(kind).parameters
    for name in options.schedule_arguments:
        if name not in takes:
            raise OptionError(f"{options.schedule} has no argument '{name}'.{nearest(name, takes)}")
    if kind is torch.optim.lr_scheduler.ReduceLROnPlateau:
        arguments: dict[str, Any] = {"mode": "min" if options.minimise else "max", "threshold": 0.0} | options.schedule_arguments
        return lambda optimizer: Plateau(optimizer, **arguments)

    def build(optimizer: torch.optim.Optimizer) -> Scheduler:
        scheduler: Scheduler = kind(optimizer, **options.schedule_arguments)
        return _PerEpoch(scheduler, steps_per_epoch)

    return build


class Plateau(torch.optim.lr_scheduler.ReduceLROnPlateau):
    """Lowers the learning rate when validations stop getting better; a step of the optimizer does nothing to it.

    The arguments are those of `torch.optim.lr_scheduler.ReduceLROnPlateau`.
    """

    def step(self, *_: object) -> None:
        """Do nothing: what counts are validations."""

    def validated(self, value: float) -> None:
        """Take the monitored metric of a validation, and lower the learning rate after more than `patience` without a better one."""
        super().step(value)


class _PerEpoch(Scheduler):
    """Steps a scheduler of torch, which counts epochs, once per epoch of optimizer steps."""

    def __init__(self, inner: Scheduler, steps_per_epoch: int) -> None:
        self.inner, self.steps_per_epoch, self.count = inner, steps_per_epoch, 0

    def step(self, epoch: int | None = None) -> None:
        self.count += 1
        if self.count % self.steps_per_epoch == 0:
            self.inner.step()

    def state_dict(self) -> dict[str, object]:
        return {"count": self.count, "inner": self.inner.state_dict()}

    def load_state_dict(self, state_dict: dict[str, object]) -> None:
        self.count = int(str(state_dict["count"]))
        inner = state_dict["inner"]
        assert isinstance(inner, dict)
        self.inner.load_state_dict(inner)
