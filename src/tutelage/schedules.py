"""Schedules: how a scalar changes with progress.

A schedule maps progress (0 at the first step, 1 at the end of training) to a number. Those made here are small frozen values: they print
as they were written, compare equal, and survive copying and pickling, so that a run can record its configuration and send it to other
processes. Any function of one number serves as well. Nothing here needs torch.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from tutelage.errors import OptionError

__all__ = ["Schedule", "chain", "constant", "cosine", "exponential", "linear", "product", "sine", "step", "value", "warmup"]

Schedule: TypeAlias = Callable[[float], float]
"""A function from progress in [0, 1] to a number."""


def _checked(progress: float) -> float:
    if not 0.0 <= progress <= 1.0:
        raise OptionError(
            f"progress is {progress!r}; expected a number from 0 (first step) to 1 (end of training): steps done / steps in all"
        )
    return progress


def value(option: float | Schedule, progress: float) -> float:
    """Return what an option that may be scheduled is worth now.

    Args:
        option: a number, or a schedule.
        progress: share of the training that is done, in [0, 1].

    Returns:
        The number itself, or the schedule's value at this progress.

    Raises:
        OptionError: if progress is outside [0, 1] or not a number.
    """
    _checked(progress)
    return option(progress) if callable(option) else option


@dataclass(frozen=True)
class constant:
    """The same value throughout.

    Args:
        value: that value.
    """

    value: float

    def __call__(self, progress: float) -> float:
        """Return the value at this progress in [0, 1]."""
        _checked(progress)
        return self.value


@dataclass(frozen=True)
class linear:
    """A straight line: `start + (end - start) * progress`.

    Args:
        start: value at progress 0.
        end: value at progress 1.
    """

    start: float
    end: float

    def __call__(self, progress: float) -> float:
        """Return the value at this progress in [0, 1]."""
        # This form is exact at both ends, which start + (end - start) * progress is not.
        return self.start * (1.0 - _checked(progress)) + self.end * progress


@dataclass(frozen=True)
class cosine:
    """Half a cosine wave, flat at both ends: `end + (start - end) * (1 + cos(pi * progress)) / 2`.

    Args:
        start: value at progress 0.
        end: value at progress 1.

    Source: Loshchilov and Hutter, SGDR, ICLR 2017, eq. 5, without restarts.
    """

    start: float
    end: float

    def __call__(self, progress: float) -> float:
        """Return the value at this progress in [0, 1]."""
        share = 0.5 * (1.0 + math.cos(math.pi * _checked(progress)))
        return self.start * share + self.end * (1.0 - share)


@dataclass(frozen=True)
class sine:
    """A quarter of a sine wave, steep at the start and flat at the end: `start + (end - start) * sin(pi / 2 * progress)`.

    Args:
        start: value at progress 0.
        end: value at progress 1.
    """

    start: float
    end: float

    def __call__(self, progress: float) -> float:
        """Return the value at this progress in [0, 1]."""
        share = math.sin(0.5 * math.pi * _checked(progress))
        return self.start * (1.0 - share) + self.end * share


@dataclass(frozen=True)
class exponential:
    """A constant ratio per unit of progress: `start * (end / start) ** progress`.

    Args:
        start: value at progress 0; not zero.
        end: value at progress 1; not zero, of the same sign.

    Raises:
        OptionError: if an end is zero or the signs differ.
    """

    start: float
    end: float

    def __post_init__(self) -> None:
        """Refuse ends between which no ratio leads."""
        if not self.start * self.end > 0.0:
            raise OptionError(
                f"exponential({self.start!r}, {self.end!r}): both ends must be non-zero and of one sign; use linear to reach zero"
            )

    def __call__(self, progress: float) -> float:
        """Return the value at this progress in [0, 1]."""
        # Weighted in this way, both ends are exact.
        sign = math.copysign(1.0, self.start)
        return sign * math.pow(abs(self.start), 1.0 - _checked(progress)) * math.pow(abs(self.end), progress)


@dataclass(frozen=True)
class step:
    """A staircase: multiplied by a factor at each milestone.

    Args:
        start: value before the first milestone.
        at: milestones as shares of training in [0, 1], in increasing order; the value changes at the milestone itself.
        factor: multiplier at each milestone. Default 0.1.

    Raises:
        OptionError: if milestones leave [0, 1] or do not increase.
    """

    start: float
    at: tuple[float, ...] = field(kw_only=True)
    factor: float = field(default=0.1, kw_only=True)

    def __post_init__(self) -> None:
        """Refuse milestones out of range or order."""
        ordered = all(a < b for a, b in itertools.pairwise(self.at))
        if not ordered or not all(0.0 <= milestone <= 1.0 for milestone in self.at):
            raise OptionError(f"step(at={self.at!r}): milestones must increase and lie in [0, 1]; divide epochs by their number")

    def __call__(self, progress: float) -> float:
        """Return the value at this progress in [0, 1]."""
        _checked(progress)
        passed = sum(progress >= milestone for milestone in self.at)
        return self.start * self.factor**passed


@dataclass(frozen=True)
class warmup:
    """A linear rise, followed by another schedule over what is left of the training.

    Args:
        after: value or schedule that follows; it sees progress 0 when the rise ends and 1 at the end of training. Default 1.
        share: share of the training that the rise takes, in [0, 1). Default 0.1.
        start: value at progress 0. Default 0.

    Raises:
        OptionError: if the share leaves [0, 1).
    """

    after: float | Schedule = 1.0
    share: float = field(default=0.1, kw_only=True)
    start: float = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        """Refuse a rise that leaves no training behind it."""
        if not 0.0 <= self.share < 1.0:
            raise OptionError(
                f"warmup(share={self.share!r}): expected a share of the training in [0, 1); divide warm-up steps by all steps"
            )

    def __call__(self, progress: float) -> float:
        """Return the value at this progress in [0, 1]."""
        if _checked(progress) < self.share:
            return linear(self.start, value(self.after, 0.0))(progress / self.share)
        return value(self.after, (progress - self.share) / (1.0 - self.share))


@dataclass(frozen=True, init=False)
class product:
    """The product of several schedules, all at the same progress.

    Args:
        *factors: numbers or schedules; at least one.

    Raises:
        OptionError: if there are none.
    """

    factors: tuple[float | Schedule, ...]

    def __init__(self, *factors: float | Schedule) -> None:
        """Keep the factors."""
        if not factors:
            raise OptionError("product() has no factors; give at least one number or schedule")
        object.__setattr__(self, "factors", factors)

    def __call__(self, progress: float) -> float:
        """Return the value at this progress in [0, 1]."""
        _checked(progress)
        return math.prod(value(factor, progress) for factor in self.factors)

    def __repr__(self) -> str:
        """Return the call that makes this schedule."""
        return f"product({', '.join(map(repr, self.factors))})"


@dataclass(frozen=True, init=False)
class chain:
    """Several schedules one after the other, each over its own stretch of the training.

    `chain((0.3, linear(0.0, 1.0)), (1.0, cosine(1.0, 0.0)))` rises during the first 30 % of training and falls during the rest.

    Args:
        *pieces: pairs (progress at which the piece ends, number or schedule). Ends increase and the last is 1. A schedule sees its own
            stretch as progress from 0 to 1; where two pieces meet the later one counts.

    Raises:
        OptionError: if the ends do not increase from above 0 to 1.
    """

    pieces: tuple[tuple[float, float | Schedule], ...]

    def __init__(self, *pieces: tuple[float, float | Schedule]) -> None:
        """Keep the pieces."""
        ends = (0.0, *(end for end, _ in pieces))
        if ends[-1] != 1.0 or not all(a < b for a, b in itertools.pairwise(ends)):
            raise OptionError(f"chain: its pieces end at {list(ends[1:])}; expected increasing ends above 0, the last of them 1")
        object.__setattr__(self, "pieces", pieces)

    def __call__(self, progress: float) -> float:
        """Return the value at this progress in [0, 1]."""
        _checked(progress)
        begin = 0.0
        for end, option in self.pieces[:-1]:
            if progress < end:
                return value(option, (progress - begin) / (end - begin))
            begin = end
        return value(self.pieces[-1][1], (progress - begin) / (1.0 - begin))

    def __repr__(self) -> str:
        """Return the call that makes this schedule."""
        return f"chain({', '.join(map(repr, self.pieces))})"
