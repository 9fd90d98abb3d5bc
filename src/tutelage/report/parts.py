"""The parts of a report that are more than a number: claims, curves and pictures."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Claim:
    """A sentence of a paper, checked.

    Args:
        text: the sentence.
        value: mean over seeds of what it is about; an improvement is positive.
        interval: 95% t-interval of that mean over seeds, `None` with one seed.
        held: whether `value >= at_least`.
        at_least: what the sentence asks for; negative for "not worse than by".
        per_seed: the values behind the mean.
    """

    text: str
    value: float
    interval: tuple[float, float] | None
    held: bool
    at_least: float = 0.0
    per_seed: tuple[float, ...] = ()


@dataclass(frozen=True)
class Curve:
    """One chart: a line per arm over a shared axis.

    Args:
        title: heading.
        x: positions on the shared axis.
        y: for each arm one number per position.
        x_label: name and unit of the axis.
        y_label: name and unit of the values.
    """

    title: str
    x: tuple[float, ...]
    y: dict[str, tuple[float, ...]]
    x_label: str
    y_label: str


@dataclass(frozen=True)
class Picture:
    """A picture with its caption.

    Args:
        title: heading.
        caption: what a reader sees in it; also its alternative text.
        png: the picture's bytes.
    """

    title: str
    caption: str
    png: bytes = field(repr=False)
