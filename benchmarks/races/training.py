"""A whole training run, and what it is made of: wall time, the moving average, checkpoints, start-up."""

from __future__ import annotations

import argparse
import contextlib
import copy
import dataclasses
import functools
import importlib.util
import itertools
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from torch import nn

from benchmarks.ema import resnet50_sized
from benchmarks.races import lightning, runners
from benchmarks.races.harness import Lane, Race, Ratio, Section, measured, ratio, turns
from benchmarks.races.tasks import Task, small
from tutelage.teachers import EMA, Frozen
from tutelage.train.checkpoint import Checkpoints

OURS, LIGHTLY, SPT = "ours", "lightly", "stable-pretraining"
UPDATES = 5
CLOSE = 0.02  # Of the way that a student goes: what rounding explains.
SUBPROCESS = {
    "torch alone": "import torch",
    OURS: "import torch; import tutelage, tutelage.train, tutelage.losses, tutelage.teachers, tutelage.data, tutelage.models",
    "torchdistill": "import torch; import torchdistill.core.distillation, torchdistill.losses, torchdistill.datasets, torchdistill.models",
    "textbrewer": "import torch; import textbrewer",
    LIGHTLY: "import torch; import lightly.loss, lightly.models.modules, lightly.models.utils, lightly.transforms",
    SPT: "import torch; import stable_pretraining; stable_pretraining.Module, stable_pretraining.Manager",
}
"""What a script of each that trains needs first."""


@dataclass(frozen=True)
class Options:
    """Sizes of the race."""

    images: int = 25_600
    """Images of 28x28 of the whole run."""
    epochs: int = 4
    """Its epochs."""

    def tiny(self) -> Options:
        """Return sizes that only show that it runs."""
        return dataclasses.replace(self, images=1024, epochs=2)


def installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def against_others(taken: dict[str, list[float]], what: str) -> list[Ratio]:
    """Return how many times as fast ours is as each other lane."""
    others = {name: seconds for name, seconds in taken.items() if name != OURS}
    return [ratio(f"{what}, times as fast as {name}", seconds, taken[OURS], at_least=1.0) for name, seconds in others.items()]


def whole_run(task: Task, folder: Path, *, rounds: int, console: Console) -> Section:
    """Race a distillation from nothing to the last checkpoint: making ready, choosing an engine, a checkpoint an epoch."""
    numbers = itertools.count()

    def fresh(run: Callable[[Path], runners.Go]) -> Callable[[], Callable[[], nn.Module]]:
        def prepare() -> Callable[[], nn.Module]:
            place = folder / str(next(numbers))
            place.mkdir()
            return lambda: run(place)()

        return prepare

    def ours(place: Path) -> runners.Go:
        return runners.ours(task, Frozen(task.models()[0], engine="auto", calls=task.steps), place)

    lanes = {
        OURS: ours,
        "torchdistill": lambda place: runners.torchdistill(task, place),
        "textbrewer": lambda place: runners.textbrewer(task, place),
        "plain loop": lambda place: runners.plain(task, folder=place),
    }
    if installed("stable_pretraining"):
        lanes[SPT] = lambda place: lightning.distillation(task, place)
    reference = fresh(lanes["plain loop"])()()
    for name, run in lanes.items():
        share = runners.apart(fresh(run)()(), reference, task.student)
        if not share <= CLOSE:
            raise SystemExit(f"'{name}' did other work than the plain loop: its student ends {share:.3f} of the way apart.")
    taken = turns([Lane(name, fresh(run)) for name, run in lanes.items()], rounds=rounds, warm_up=0, console=console)
    section = Section(
        "A whole run",
        f"Hinton distillation of {task.about}, {task.epochs} epochs in batches of {task.batch}, from ready models to the last checkpoint; "
        "one is written after each epoch. Choosing our teacher's engine and our student's layout counts. Ours flushes its checkpoints to "
        "the disk, no other does.",
    )
    section.measured = [measured(name, seconds, "s") for name, seconds in taken.items()]
    section.ratios = against_others(taken, "ours")
    return section


def moving_average(*, rounds: int, console: Console) -> Section:
    """Race the update of a ResNet-50-sized average."""
    from lightly.models.utils import update_momentum

    student = resnet50_sized()
    with_buffers, without = EMA(student, momentum=0.999), EMA(student, momentum=0.999, buffers="keep")
    theirs = copy.deepcopy(student)

    def times(update: Callable[[], object]) -> Callable[[], Callable[[], None]]:
        def go() -> None:
            for _ in range(UPDATES):
                update()

        return lambda: go

    lanes = {
        OURS: lambda: without.update(0.5),
        LIGHTLY: lambda: update_momentum(student, theirs, m=0.999),
        "ours, with buffers": lambda: with_buffers.update(0.5),
    }
    if installed("stable_pretraining"):
        lanes[f"{SPT}, with buffers"] = lightning.average(student)
    taken = turns([Lane(name, times(update)) for name, update in lanes.items()], rounds=4 * rounds, warm_up=2)
    about = "One update of 161 tensors with 25.6 million numbers; with the buffers of the batch norms where it says so."
    section = Section("The moving average", about)
    section.measured = [measured(name, [1000 * s / UPDATES for s in seconds], "ms") for name, seconds in taken.items()]
    section.ratios = [ratio("ours, times as fast as lightly", taken[LIGHTLY], taken[OURS], at_least=1.0)]
    if len(lanes) > 3:
        name = f"{SPT}, with buffers"
        section.ratios.append(ratio(f"ours with buffers, times as fast as {SPT}", taken[name], taken["ours, with buffers"], at_least=1.0))
    return section


def checkpoints(folder: Path, *, rounds: int, console: Console) -> Section:
    """Race writing the model and SGD's momentum of a ResNet-50-sized network."""
    from torchdistill.common.main_util import save_ckpt

    model = resnet50_sized()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    kept, steps = Checkpoints(folder / "ours"), itertools.count(1)

    def ours() -> None:
        kept.save(next(steps), {"method": model.state_dict(), "optimizers": {"student": optimizer.state_dict()}})

    def flushed() -> None:
        with open(folder / "plain.pt", "wb") as file:
            torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
            file.flush()
            os.fsync(file.fileno())

    lanes: dict[str, Callable[[], object]] = {
        OURS: ours,
        "torch.save, flushed to the disk": flushed,
        "torchdistill": lambda: save_ckpt(model, optimizer, None, 0.0, argparse.Namespace(), str(folder / "torchdistill.pt")),
    }
    if installed("stable_pretraining"):
        lanes[SPT] = lightning.checkpoint(model, optimizer, folder)
    # Ours keeps its last two: from the third on it removes one for each that it writes, as a training does.
    taken = turns([Lane(name, lambda save=save: save) for name, save in lanes.items()], rounds=4 * rounds, warm_up=4, console=console)
    section = Section(
        "Writing a checkpoint",
        "Weights and momentum of 25.6 million numbers each, 205 MB, where an older one makes room. Ours is safetensors and JSON with a "
        "checksum, which all cores count, flushed to the disk and renamed; the peers pickle into the system's cache, and a crash can leave "
        "a part of a file.",
    )
    section.measured = [measured(name, seconds, "s") for name, seconds in taken.items()]
    section.ratios = against_others(taken, "ours")
    return section


def start_up(*, rounds: int, console: Console) -> Section:
    """Race the start of a Python that imports each library."""
    modules = {"torchdistill": "torchdistill", "textbrewer": "textbrewer", LIGHTLY: "lightly", SPT: "stable_pretraining"}
    lanes = {name: code for name, code in SUBPROCESS.items() if name not in modules or installed(modules[name])}

    def python(code: str) -> Callable[[], object]:
        return lambda: subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)

    taken = turns([Lane(name, functools.partial(python, code)) for name, code in lanes.items()], rounds=rounds, console=console)
    section = Section("Start-up", "A new Python that imports torch and what a training script of the library imports.")
    section.measured = [measured(name, seconds, "s") for name, seconds in taken.items()]
    section.ratios = [found for found in against_others(taken, "ours") if "torch alone" not in found.name]
    return section


def run(options: Options, *, rounds: int, console: Console) -> Race:
    found = Race("training", "A whole training")
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        folder = Path(name)
        (folder / "runs").mkdir()
        found.sections = [
            whole_run(small(options.images, options.epochs), folder / "runs", rounds=rounds, console=console),
            moving_average(rounds=rounds, console=console),
            checkpoints(folder, rounds=rounds, console=console),
            start_up(rounds=rounds, console=console),
        ]
    found.left_out = [
        "lightly in the whole run and in checkpoints: it has losses and modules, and leaves the loop to its users.",
        "torchdistill and textbrewer in the moving average: they have none.",
        "textbrewer in checkpoints: it writes the student's weights alone.",
    ]
    if not installed("stable_pretraining"):
        found.left_out.append("stable-pretraining: it is not installed here (tools/setup-peers.sh --with stable-pretraining).")
    return found
