"""A self-supervised step: moving average, loss, heads and, in the second task, the views, against the same step with lightly's parts."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass

import torch
from rich.console import Console

from benchmarks.races import byol, runners
from benchmarks.races.harness import Race, Section, measured, ratio, turns
from benchmarks.races.processes import Prepare, apart

OURS, LIGHTLY = "ours", "lightly"
EXACT = 1e-9  # Of the way that a student goes: what rounding explains in float64.


@dataclass(frozen=True)
class Options:
    """Sizes of the race."""

    images: int = 1024
    """Images of 3x32x32."""
    batch: int = 64
    """Images of a batch."""

    def tiny(self) -> Options:
        """Return sizes that only show that it runs."""
        return dataclasses.replace(self, images=64, batch=16)


def same_work(batch: int) -> float:
    """Let both train in float64, for these steps blow up what rounding differs by, and return how far apart the students end."""
    setting = byol.Setting(4 * batch, batch)
    torch.set_default_dtype(torch.float64)
    try:
        share = runners.apart(byol.ours(setting)(), byol.lightly(setting)(), setting.student())
    finally:
        torch.set_default_dtype(torch.float32)
    if not share <= EXACT:
        raise SystemExit(f"Ours and lightly's BYOL did other work: the students end {share:.1e} of the way apart.")
    return share


def section(name: str, about: str, setting: byol.Setting, *, rounds: int, console: Console) -> Section:
    """Race one task."""
    lanes: dict[str, Prepare] = {
        OURS: functools.partial(byol.ours, setting),
        LIGHTLY: functools.partial(byol.lightly, setting),
    }
    with apart(lanes) as ready:
        taken = turns(ready, rounds=rounds, console=console)
    found = Section(name, about)
    found.measured = [measured(name, [setting.images / s for s in seconds], "images/s") for name, seconds in taken.items()]
    found.ratios = [ratio("ours, times as fast as lightly", taken[LIGHTLY], taken[OURS], at_least=1.0)]
    return found


def run(options: Options, *, rounds: int, console: Console) -> Race:
    share = same_work(options.batch)
    ready, made = (byol.Setting(options.images, options.batch, made) for made in (False, True))
    found = Race("self_supervised", "A self-supervised step")
    found.sections = [
        section(
            "On ready views",
            f"BYOL: {options.images:,} pairs of ready views of 3x32x32 in batches of {options.batch}, a residual network of 20 layers, "
            "lightly's own heads and loss in both lanes; the loop of its documentation with `update_momentum` and a DataLoader against our "
            "trainer with `teachers.EMA`.",
            ready,
            rounds=rounds,
            console=console,
        ),
        section(
            "With its views",
            f"The same from {options.images:,} stored images, uint8: two views of each by lightly's `BYOLTransform`, as its documentation "
            "sets it for images of 32x32 (crop, flip, colour jitter, grey, solarisation), image by image in a DataLoader; and by ours of "
            "the same ranges and probabilities, by the batch.",
            made,
            rounds=rounds,
            console=console,
        ),
    ]
    found.sections[0].notes = [f"Both did the same: after four batches in float64 the students ended {share:.0e} of the way apart."]
    found.sections[0].notes.append(
        "Every lane has a process of its own, as for its users: our trainer keeps the memory that a step frees, which the C library would "
        "otherwise give back to the system and have cleared again in the next."
    )
    found.left_out = [
        "lightly with worker processes: they make views on further cores, and every lane has one here.",
        "torchdistill and textbrewer: they have no moving average.",
    ]
    return found
