"""A teacher that is the moving average of its student."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Literal, Self, get_args

import torch
from torch import Tensor, nn

from tutelage import schedules
from tutelage.errors import OptionError, ShapeError, nearest
from tutelage.teachers.base import Teacher
from tutelage.teachers.slots import Slot, locals_of, reshard, slots, unwrapped

Buffers = Literal["copy", "average", "keep"]
Mode = Literal["eval", "follow"]


class EMA(Teacher):
    """The exponential moving average of a student's weights: `teacher = m * teacher + (1 - m) * student` after each step.

    It starts as a copy of the student and holds it without owning it: the student's parameters are not the teacher's.
    A student wrapped by DDP, Fabric or `torch.compile` is followed inside its wrapper. With FSDP2, build the
    average first, then call `fully_shard` on the student and on `ema.model` alike: each rank updates its own shard.
    An average kept at higher precision than its student (`ema.model.float()`) loses nothing to rounding when `m` is close to 1.

    Args:
        student: the network to follow. Its structure must not change afterwards.
        momentum: `m`, 0 to 1, or a schedule of progress.
        buffers: what happens to buffers such as batch-norm statistics: `"copy"` takes the student's, `"average"` averages
            those that are floating point and copies the rest, `"keep"` leaves the teacher's own (for `mode="follow"`).
        warmup: use `min(1 - 1/(n + 1), m)`, where `n` counts the updates already made: the plain mean of the students
            seen so far, the initial one left out, until that memory is as long as the momentum's.
        mode: `"eval"` answers in eval mode always, `"follow"` in whatever mode the method is (dropout and batch
            statistics in the teacher too).

    Raises:
        OptionError: for an option out of its range, or a student that cannot be copied.

    Source: Tarvainen and Valpola, Mean teachers are better role models, arXiv 1703.01780, section 2.
    """

    updates: Tensor

    def __init__(
        self,
        student: nn.Module,
        momentum: float | schedules.Schedule = 0.999,
        *,
        buffers: Buffers = "copy",
        warmup: bool = False,
        mode: Mode = "eval",
    ) -> None:
        super().__init__()
        if buffers not in get_args(Buffers):
            raise OptionError(f"EMA(buffers={buffers!r}) is not an option.{nearest(str(buffers), get_args(Buffers))}")
        if mode not in get_args(Mode):
            raise OptionError(f"EMA(mode={mode!r}) is not an option.{nearest(str(mode), get_args(Mode))}")
        if not callable(momentum):
            _checked(momentum)
        self.momentum = momentum
        self.buffer_rule: Buffers = buffers
        self.warmup = warmup
        self.mode: Mode = mode
        source = unwrapped(student)
        self.model = _copied(source)
        self._student = (source,)  # inside a tuple, so that it does not become a sub-module
        self._pairs = _paired(slots(source, "parameters"), slots(self.model, "parameters"))
        self._buffer_pairs = _paired(slots(source, "buffers"), slots(self.model, "buffers"))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self._count: int | None = 0
        self.freeze()

    @property
    def student(self) -> nn.Module:
        """The network that is followed, without its wrappers."""
        return self._student[0]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return the averaged network's answer.

        Args:
            *args: passed to the network.
            **kwargs: passed to the network.

        Returns:
            What the network returns.
        """
        return self.model(*args, **kwargs)

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode, or with `mode="follow"` do as told.

        Args:
            mode: what the method that holds the teacher switches to.

        Returns:
            The teacher itself.
        """
        return nn.Module.train(self, mode and self.mode == "follow")

    @torch.no_grad()
    def update(self, progress: float) -> None:
        """Move the average one step towards the student.

        Args:
            progress: share of the training that is done, 0 to 1, for the momentum's schedule.

        Raises:
            OptionError: if the momentum's schedule leaves 0 to 1.
            ShapeError: if the student's structure or sharding is no longer that of its copy.
        """
        momentum = _checked(schedules.value(self.momentum, progress))
        if self.warmup:
            momentum = min(1.0 - 1.0 / (self._made() + 1), momentum)
        reshard(self.student)
        reshard(self.model)
        sources, targets = locals_of(self._pairs, "parameters")
        _lerp(targets, sources, 1.0 - momentum)
        if self.buffer_rule != "keep":
            sources, targets = locals_of(self._buffer_pairs, "buffers")
            averaged = [self.buffer_rule == "average" and t.is_floating_point() for t in targets]
            _lerp(_only(targets, averaged, True), _only(sources, averaged, True), 1.0 - momentum)
            _copy(_only(targets, averaged, False), _only(sources, averaged, False))
        self.updates += 1
        self._count = None if self._count is None else self._count + 1

    @torch.no_grad()
    def restart(self) -> None:
        """Begin anew as a copy of the student, parameters and buffers: the end of a warm-up without a teacher."""
        reshard(self.student)
        reshard(self.model)
        for sources, targets in (locals_of(self._pairs, "parameters"), locals_of(self._buffer_pairs, "buffers")):
            _copy(targets, [s.to(t) for s, t in zip(sources, targets, strict=True)])
        self.updates.zero_()
        self._count = 0

    def _made(self) -> int:
        """Number of updates made, read from the buffer only after a restore (reading it stalls a GPU)."""
        if self._count is None:
            self._count = int(self.updates)
        return self._count

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(state_dict, *args, **kwargs)
        self._count = None


def _checked(momentum: float) -> float:
    if not 0.0 <= momentum <= 1.0:
        raise OptionError(f"An EMA's momentum is between 0 and 1, got {momentum}. Values near 1 move slowly; 0.99 to 0.9999 are usual.")
    return float(momentum)


def _copied(student: nn.Module) -> nn.Module:
    if any(nn.parameter.is_lazy(p) for p in student.parameters()):
        raise OptionError("EMA cannot copy a student whose lazy layers have no weights yet. Run one batch through it first.")
    try:
        return copy.deepcopy(student)
    except (AssertionError, RuntimeError, TypeError, NotImplementedError) as error:
        raise OptionError(
            f"EMA cannot copy this student ({type(student).__name__}: {error}). Build the EMA before fully_shard, with plain parameters "
            "(torch.nn.utils.parametrizations in place of the older weight_norm and spectral_norm)."
        ) from error


def _paired(sources: list[Slot], targets: list[Slot]) -> list[tuple[Slot, Slot]]:
    if [s.name for s in sources] != [t.name for t in targets]:
        raise ShapeError("EMA: the student's copy has other parameters or buffers than the student. Its __deepcopy__ must keep them all.")
    return list(zip(sources, targets, strict=True))


def _only(tensors: list[Tensor], mask: list[bool], wanted: bool) -> list[Tensor]:
    return [t for t, m in zip(tensors, mask, strict=True) if m is wanted]


def _lerp(targets: list[Tensor], sources: list[Tensor], weight: float) -> None:
    """`target += weight * (source - target)`, one launch for all on CUDA; on a CPU a loop is as fast."""
    sources = [s if s.dtype == t.dtype and s.device == t.device else s.to(t) for s, t in zip(sources, targets, strict=True)]
    if targets and targets[0].is_cuda:
        torch._foreach_lerp_(targets, sources, weight)
        return
    for target, source in zip(targets, sources, strict=True):
        target.lerp_(source, weight)


def _copy(targets: list[Tensor], sources: list[Tensor]) -> None:
    if targets:
        torch._foreach_copy_(targets, sources)
