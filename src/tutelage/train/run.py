"""A run: one directory with its configuration, its trainings and its report, which can be left and taken up again."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from tutelage import files
from tutelage.errors import CheckpointError, OptionError
from tutelage.teachers import Frozen
from tutelage.teachers.engines.record import follow
from tutelage.train.layout import lay_out
from tutelage.train.log import History
from tutelage.train.progress import Bar
from tutelage.train.trainer import Trainer, Validate, launch

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from tutelage.data import Batches
    from tutelage.train.method import Method, OptimizerFactory
    from tutelage.train.optim import SchedulerFactory
    from tutelage.train.options import TrainOptions


def plain(value: Any) -> Any:
    """Turn options into what JSON gives back (tuples become lists)."""
    return json.loads(json.dumps(value, default=str))


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Name the entries in which two configurations differ, as `name: old, now new`."""
    if isinstance(old, dict) and isinstance(new, dict):
        found: list[str] = []
        for key in sorted(old.keys() | new.keys()):
            name = f"{path}.{key}" if path else key
            if key in old and key in new:
                found += differences(old[key], new[key], name)
            else:
                found.append(f"{name}: {old.get(key, 'absent')!r}, now {new.get(key, 'absent')!r}")
        return found
    return [] if old == new else [f"{path}: {old!r}, now {new!r}"]


class Run:
    """A directory of trainings that belong together.

    Args:
        directory: where everything goes; `None` keeps it in memory.
        config: what was asked for; a directory that holds another configuration is refused.
        seeds: seeds over which the recipe runs.
        resume: take up the trainings that an earlier call left, and skip those that are finished.
        quick: whether this is the short form of a recipe.
        console: where progress and messages go; standard error by default.
        name: slug of the method or job, which its report bears.
        teacher_engine: how frozen teachers are run that were built without saying so; see `tutelage.teachers.Frozen`.

    Raises:
        OptionError: if the directory holds another configuration, or the same one without `resume`.
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        config: dict[str, Any] | None = None,
        seeds: Sequence[int] = (0,),
        resume: bool = False,
        quick: bool = False,
        console: Console | None = None,
        name: str = "run",
        teacher_engine: str = "eager",
    ) -> None:
        self.name, self.directory, self.seeds, self.resume, self.quick = name, directory, tuple(seeds), resume, quick
        self.teacher_engine = teacher_engine
        self._started, self._earlier = time.perf_counter(), 0.0
        self.config = plain(config or {})
        self.console = console or Console(stderr=True)
        self.bar = Bar(self.console)
        self._fabrics: dict[tuple[Any, ...], Fabric] = {}
        self._names: set[str] = set()
        if directory is not None:
            self._open(directory)

    def _open(self, directory: Path) -> None:
        # The processes of a distributed run share the directory that the first one opened.
        if int(os.environ.get("LOCAL_RANK", "0")) > 0 or int(os.environ.get("RANK", "0")) > 0:
            return
        path = directory / "run.json"
        if path.exists():
            try:
                old = json.loads(path.read_text())
            except ValueError as error:
                raise CheckpointError(f"{path} is damaged ({error}). Choose another output directory.") from error
            changed = differences(old, self.config)
            if changed:
                raise OptionError(
                    f"{directory} holds a run with another configuration ({'; '.join(changed[:4])}). "
                    "Choose another output directory, or the same options."
                )
            if not self.resume:
                raise OptionError(f"{directory} holds this run already. Add --resume to go on with it, or choose another output directory.")
        elif directory.exists() and any(directory.iterdir()):
            raise OptionError(f"{directory} exists and is not a run of tutelage (no run.json). Choose another output directory.")
        else:
            try:
                directory.mkdir(parents=True, exist_ok=True)
                files.write_json(path, self.config)
            except OSError as error:
                raise OptionError(f"Cannot write to {directory}: {error}. Choose another output directory.") from error

    def say(self, text: str) -> None:
        """Print a line for the person who watches."""
        self.console.print(text, highlight=False)

    @property
    def seconds(self) -> float:
        """Wall time of the run: since it was opened, and what the trainings that were taken up had used before."""
        return time.perf_counter() - self._started + self._earlier

    def fabric(self, options: TrainOptions) -> Fabric:
        """Return the launched Fabric of these options; one for all trainings that agree in them."""
        key = (options.accelerator, options.devices, options.strategy, options.precision)
        if key not in self._fabrics:
            self._fabrics[key] = launch(options)
        return self._fabrics[key]

    def train(
        self,
        name: str,
        method: Method,
        batches: Batches,
        options: TrainOptions,
        validate: Validate | None = None,
        *,
        seed: int | None = None,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
    ) -> History:
        """Train a method in a directory of its own; afterwards the method holds its final (or best) weights.

        Args:
            name: the training's path inside the run, `seed-0/student`.
            method: what is learned.
            batches: training batches.
            options: how to train.
            validate: measures the method after an epoch.
            seed: seed of views and noise; by default that of the batches.
            optimizer: builds optimizers, in place of the one that the options name.
            scheduler: builds learning-rate schedulers, in place of the one that the options name.

        Returns:
            What was measured.

        Raises:
            OptionError: if the name was used before in this run, or its directory holds another configuration.
        """
        if name in self._names:
            raise OptionError(f"This run has a training '{name}' already: give every training a name of its own.")
        self._names.add(name)
        directory = self.directory / name if self.directory else None
        fabric = self.fabric(options)
        if directory is not None and fabric.is_global_zero:
            self._claim(directory, {"method": type(method).__name__, "options": plain(asdict(options))})
        if fabric.world_size == 1:
            measured = lay_out(method, batches, options, fabric.device, None if directory is None else directory / "layout.json")
            if measured:
                self.say(measured)
        trainer = Trainer(
            method,
            batches,
            options,
            directory=directory,
            validate=validate,
            seed=batches.seed if seed is None else seed,
            name=name,
            fabric=fabric,
            bar=self.bar,
            optimizer=optimizer,
            scheduler=scheduler,
        )
        if self.teacher_engine != "eager":
            for teacher in [m for m in method.modules() if isinstance(m, Frozen) and m.engine == "eager"]:
                teacher.run_by(self.teacher_engine)
        kept = None if directory is None else directory / "engine.json"
        follow(method, kept, say=self.say, calls=trainer.total_steps * options.accumulate)
        started = time.perf_counter()
        history = trainer.fit(resume=self.resume)
        self._earlier += max(history.seconds - (time.perf_counter() - started), 0.0)
        for warning in trainer.warnings:
            self.say(f"[yellow]{warning} Went on from the one before.")
        return history

    def _claim(self, directory: Path, config: dict[str, Any]) -> None:
        path = directory / "config.json"
        if not path.exists():
            shutil.rmtree(directory, ignore_errors=True)
            files.write_json(path, config)
            return
        changed = differences(json.loads(path.read_text()), config)
        if changed:
            raise OptionError(
                f"{directory} was trained with another configuration ({'; '.join(changed[:4])}). Choose another output directory."
            )
