"""A small student learns from a larger frozen teacher: images a second, ours live and stored against peers and plain loops."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from torch import nn

from benchmarks.races import runners
from benchmarks.races.harness import Lane, Measured, Race, Ratio, Section, measured, ratio, turns
from benchmarks.races.tasks import Task, large, small
from tutelage import store
from tutelage.teachers import Frozen, Stored

LIVE, STORED, ALONE = "ours, live", "ours, stored", "ours, student alone"
TORCHDISTILL, TEXTBREWER, PLAIN, PLAIN_ALONE = "torchdistill", "textbrewer", "plain loop", "plain loop, student alone"
CLOSE = 0.02  # A stored teacher's logits are in half precision, and engines round differently.
TRAINING = 30  # Epochs that the choice of an engine is made for: the trainer's default.


@dataclass(frozen=True)
class Options:
    """Sizes of the race."""

    small_images: int = 60_000
    """Images of 28x28; an epoch of them is one turn. 0 leaves them out."""
    large_images: int = 10_000
    """Images of 3x224x224 in the mapped file. 0 leaves them out."""
    large_steps: int = 6
    """Steps of one turn on the large images."""
    large_batch: int = 16
    """Images of a batch of large images."""
    side: int = 224
    """Pixels of a side of the large images."""

    def tiny(self) -> Options:
        """Return sizes that only show that it runs."""
        return dataclasses.replace(self, small_images=1024, large_images=32, large_steps=2, large_batch=4, side=64)


@dataclass(frozen=True)
class Teachers:
    """Both of our teachers, and what making them took."""

    live: Frozen
    stored: Stored
    choosing: float
    labelling: float


def teachers(task: Task, folder: Path) -> Teachers:
    """Choose an engine on the first batch, and label all images with a teacher of the same kind."""
    batch = task.batches.batch(0, 0)["input"]
    live = Frozen(task.models()[0], engine="auto", calls=TRAINING * len(task.batches))
    started = time.perf_counter()
    with torch.no_grad():
        live(batch)
    choosing = time.perf_counter() - started
    labeller = Frozen(task.models()[0], engine="auto", batch=256, calls=-(-len(task.arrays) // 256))
    started = time.perf_counter()
    kept = store.label(labeller, task.arrays, folder / "store", console=Console(quiet=True))
    return Teachers(live, Stored(kept), choosing, time.perf_counter() - started)


def lanes(task: Task, made: Teachers, folder: Path) -> dict[str, Callable[[], runners.Go]]:
    """Return who runs, by name."""
    return {
        LIVE: lambda: runners.ours(task, made.live),
        STORED: lambda: runners.ours(task, made.stored),
        ALONE: lambda: runners.ours(task, None),
        TORCHDISTILL: lambda: runners.torchdistill(task),
        TEXTBREWER: lambda: runners.textbrewer(task, folder),
        PLAIN: lambda: runners.plain(task),
        PLAIN_ALONE: lambda: runners.plain(task, distil=False),
    }


def same_work(task: Task, folder: Path) -> dict[str, float]:
    """Let every lane train on a few batches and return how far its student ends from the plain loop's.

    Raises:
        SystemExit: if one is further than rounding explains, so that it did not do the same work.
    """
    # A student that learns without a teacher has nobody else to agree with than the other that does.
    made = teachers(task, folder)
    trained = {name: prepare()() for name, prepare in lanes(task, made, folder).items()}
    found: dict[str, float] = {}
    for name, student in trained.items():
        reference: nn.Module = trained[PLAIN_ALONE if "alone" in name else PLAIN]
        found[name] = runners.apart(student, reference, task.student)
        if not found[name] <= CLOSE:
            raise SystemExit(
                f"'{name}' did other work than '{PLAIN}': its student ends {found[name]:.3f} of the way apart, {CLOSE} is allowed."
            )
    return found


def few(task: Task, batches: int) -> Task:
    """Return the same task on its first rows, enough for so many batches."""
    rows = torch.arange(min(batches * task.batch, len(task.arrays)))
    columns = {name: column for name, column in task.arrays.subset(rows).columns.items() if name != "index"}
    dataset: torch.utils.data.Dataset = torch.utils.data.Subset(task.dataset, rows.tolist())
    return dataclasses.replace(task, arrays=dataclasses.replace(task.arrays, columns=columns), dataset=dataset)


def race(task: Task, *, rounds: int, live: float, stored: float | None, folder: Path, console: Console) -> Section:
    """Run one task.

    Args:
        task: what is distilled.
        rounds: turns of each lane.
        live: goal of ours live against torchdistill.
        stored: goal of ours stored against torchdistill.
        folder: for what is written on the way.
        console: where progress goes.

    Returns:
        What was measured.
    """
    (folder / "check").mkdir()
    apart = same_work(few(task, 4), folder / "check")
    made = teachers(task, folder)
    taken = turns([Lane(name, prepare) for name, prepare in lanes(task, made, folder).items()], rounds=rounds, console=console)
    section = Section(
        task.about,
        f"One epoch in batches of {task.batch}, {task.steps} steps, SGD with momentum, temperature 4, labels beside the teacher.",
    )
    section.measured = [measured(name, [task.images / s for s in seconds], "images/s") for name, seconds in taken.items()]
    section.measured += [
        once("labelling, once", len(task.arrays) / made.labelling, "images/s"),
        once("choosing the live teacher's engine, once", made.choosing, "s"),
    ]
    section.ratios = compared(taken, live, stored)
    section.notes = [
        f"{made.live.reason} Its choice is made once for a training and is not in the rate above; "
        f"against torchdistill it {repaid(made.choosing, taken)}.",
        "Our student's weights are stored channels-last where one batch shows that to be faster (channels_last=auto); that choice, under "
        "a second, is not in the rates either.",
        "All lanes did the same work: after four batches the students ended at most "
        f"{max(apart.values()):.1e} of the way that they had gone from the plain loop's.",
    ]
    return section


def repaid(seconds: float, taken: Mapping[str, list[float]]) -> str:
    """Say after how many epochs the seconds that were spent once are made up for."""
    saved = measured("", taken[TORCHDISTILL], "s").median - measured("", taken[LIVE], "s").median
    return f"is made up for after {seconds / saved:.2g} such epochs" if saved > 0 else "is not made up for"


def once(name: str, value: float, unit: str) -> Measured:
    """Return a number that was measured once."""
    return Measured(name, unit, value, value, value, 1)


def compared(taken: Mapping[str, list[float]], live: float, stored: float | None) -> list[Ratio]:
    """Return the comparisons, from the seconds of each lane."""
    return [
        ratio("ours live, times as fast as torchdistill", taken[TORCHDISTILL], taken[LIVE], at_least=live),
        ratio("ours stored, times as fast as torchdistill", taken[TORCHDISTILL], taken[STORED], at_least=stored),
        ratio("ours stored, cost in trainings of the student alone", taken[STORED], taken[ALONE], at_most=1.05, less=True),
        ratio("ours live, times as fast as textbrewer", taken[TEXTBREWER], taken[LIVE]),
        ratio("ours live, times as fast as a plain loop", taken[PLAIN], taken[LIVE]),
        ratio("ours alone, times as fast as a plain loop alone", taken[PLAIN_ALONE], taken[ALONE]),
    ]


def run(options: Options, *, rounds: int, console: Console) -> Race:
    found = Race("distillation", "Distilling a small student")
    if options.small_images:
        with tempfile.TemporaryDirectory() as folder:
            found.sections.append(
                race(small(options.small_images), rounds=rounds, live=2.0, stored=3.0, folder=Path(folder), console=console)
            )
    if options.large_images:
        with tempfile.TemporaryDirectory() as folder:
            task = large(Path(folder), stored=options.large_images, steps=options.large_steps, batch=options.large_batch, side=options.side)
            found.sections.append(race(task, rounds=rounds, live=1.2, stored=None, folder=Path(folder), console=console))
    found.left_out = [
        "lightly and stable-pretraining have no distillation of their own; see the whole run.",
        "textbrewer can keep a teacher's logits in memory, with the batches as they were: always the same samples together.",
    ]
    return found
