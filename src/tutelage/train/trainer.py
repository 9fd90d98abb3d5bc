"""The trainer: turns the crank of any method, and can be killed and resumed at any instant."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from tutelage.data import Bags, Batches
from tutelage.errors import CheckpointError, TrainingError
from tutelage.teachers import Teacher
from tutelage.train.checkpoint import Checkpoint, Checkpoints, load_method
from tutelage.train.engine import Engine
from tutelage.train.interrupt import Interrupted, StopRequest
from tutelage.train.ledger import Ledger
from tutelage.train.log import History, MetricsFile, Row
from tutelage.train.memory import kept_memory
from tutelage.train.method import Batch, Method, OptimizerFactory
from tutelage.train.optim import SchedulerFactory, optimizer_factory, scheduler_factory
from tutelage.train.options import TrainOptions
from tutelage.train.progress import Bar
from tutelage.train.seeds import derive
from tutelage.train.sharding import cut_method, cut_optimizer, shard, whole

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Validate = Callable[[Any], dict[str, float]]


def launch(options: TrainOptions) -> Fabric:
    """Start Lightning Fabric as the options ask: device, precision, processes.

    Args:
        options: `accelerator`, `devices`, `strategy` and `precision`.

    Returns:
        A launched Fabric; with several devices every process returns from here.
    """
    from lightning_fabric import Fabric

    strategy: Any = options.strategy
    if strategy == "fsdp":
        from lightning_fabric.strategies.model_parallel import ModelParallelStrategy

        strategy = ModelParallelStrategy(shard)
    precision = cast(Any, options.precision)
    fabric = Fabric(accelerator=options.accelerator, devices=options.devices, strategy=strategy, precision=precision)
    fabric.launch()
    return fabric


def to_device(batch: Any, device: torch.device) -> Any:
    """Move every tensor of a batch to a device, in nested dictionaries and lists too."""
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, list):
        return [to_device(value, device) for value in batch]
    if isinstance(batch, dict):
        return {key: to_device(value, device) for key, value in batch.items()}
    return batch


def on_device(batches: Batches, device: torch.device) -> Batches:
    """Keep the data on the device, where its columns in memory take at most a quarter of what is free there."""
    if device.type != "cuda":
        return batches
    streams = [batches, *batches.companions.values()]
    columns = [c for s in streams for c in s.arrays.columns.values()]
    needed = sum(c.numel() * c.element_size() if isinstance(c, Tensor) else c.bytes for c in columns if isinstance(c, Tensor | Bags))
    return batches.to(device) if needed <= torch.cuda.mem_get_info(device)[0] // 4 else batches


def batch_size(batch: Batch) -> int:
    """Return the number of samples of a batch: the length of its first tensor or list."""
    for value in batch.values():
        if isinstance(value, Tensor | list):
            return len(value)
    return 0


class Trainer:
    """Trains a method on batches: steps, validation, metrics, checkpoints, exact resume.

    On a CPU the memory that a step frees is kept for the next one (see `train.memory`).

    Args:
        method: what is learned; afterwards it holds the final (or best) weights.
        batches: training batches, whose order is a function of (seed, epoch).
        options: length, optimizer, devices, checkpoints; see `TrainOptions`.
        directory: where metrics and checkpoints go; `None` keeps everything in memory.
        validate: measures the method after an epoch, `method -> {name: value}`.
        seed: seed of all randomness of the training: views, dropout, noise.
        name: shown in the progress bar and in errors.
        fabric: a launched Fabric; by default one is made from the options.
        bar: progress bar; by default on standard error when that is a terminal.
        optimizer: builds optimizers; by default the one that the options name.
        scheduler: builds learning-rate schedulers; by default as the options say.
    """

    def __init__(
        self,
        method: Method,
        batches: Batches,
        options: TrainOptions | None = None,
        *,
        directory: Path | None = None,
        validate: Validate | None = None,
        seed: int = 0,
        name: str = "training",
        fabric: Fabric | None = None,
        bar: Bar | None = None,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
    ) -> None:
        self.method, self.batches, self.options = method, batches, options or TrainOptions()
        self.directory, self.validate, self.seed, self.name = directory, validate, seed, name
        self.fabric = fabric or launch(self.options)
        self.bar = bar or Bar()
        self.steps_per_epoch = math.ceil(batches.steps(self.fabric.world_size) / self.options.accumulate)
        self.total_steps = self.options.epochs * self.steps_per_epoch
        self.engine = Engine(
            method,
            self.fabric,
            optimizer=optimizer or optimizer_factory(self.options),
            scheduler=scheduler or scheduler_factory(self.options, self.total_steps, self.steps_per_epoch),
            clip=self.options.clip,
        )
        self.checkpoints = Checkpoints(directory / "checkpoints") if directory else None
        self.history = History()
        self.warnings: list[str] = []
        self._ledger = Ledger(self._refuse)
        self._epoch = 0
        self._batch = 0
        self._since_best = 0
        self._finished = False
        self._file: MetricsFile | None = None
        self._constant = [n for n, m in method.named_modules() if isinstance(m, Teacher) and m.constant]
        # What is frozen beneath adapters stays as it is: a checkpoint of adapters need not hold the whole language model.
        self._frozen = {
            f"{n}.{k}"
            for n, m in method.named_modules()
            if getattr(m, "adapted", False)
            for k, p in m.named_parameters(remove_duplicate=False)
            if not p.requires_grad
        }
        self.batches = on_device(batches, self.engine.device)
        self._generator = torch.Generator(self.engine.device)
        self._check_each_step = self.engine.device.type == "cpu"

    def fit(self, *, resume: bool = False) -> History:
        """Train to the end.

        Args:
            resume: go on from the newest whole checkpoint of `directory`; a finished training returns at once.

        Returns:
            What was measured.

        Raises:
            TrainingError: a loss that is not finite, an empty batch, a missing batch key.
            CheckpointError: a checkpoint that cannot be written, or none that is whole to resume from.
            Interrupted: after Ctrl-C or SIGTERM; a checkpoint was saved.
        """
        offset = self._restore() if resume else 0
        if self._finished:
            self._use_best()
            return self.history
        if self.directory is not None and self.fabric.is_global_zero:
            self._file = MetricsFile(self.directory, offset=offset, step=self.history.steps, tensorboard=self.options.tensorboard)
        self.bar.start(self.name, self.total_steps, self.history.steps)
        before, started = self.history.seconds, time.perf_counter()
        try:
            with StopRequest() as stop, kept_memory() if self._check_each_step else nullcontext():
                while self._epoch < self.options.epochs and not self._finished:
                    self._run_epoch(stop)
                    self.history.seconds = before + time.perf_counter() - started
                    self._end_epoch()
        finally:
            self.bar.stop()
            if self._file is not None:
                self._file.close()
                self._file = None
        self._use_best()
        return self.history

    def _run_epoch(self, stop: StopRequest) -> None:
        self.method.train()
        options, rank, world = self.options, self.fabric.global_rank, self.fabric.world_size
        stream = self.batches.epoch(self._epoch, start=self._batch, rank=rank, world=world)
        while group := list(islice(stream, options.accumulate)):
            self._step(group)
            self._batch += len(group)
            step = self.history.steps
            if step % options.log_every == 0:
                self._write({"kind": "step", "step": step, "epoch": self._epoch} | self._ledger.latest())
            if stop.wanted:
                self._save()
                raise Interrupted(f"'{self.name}' stopped after step {step} of {self.total_steps}; what it learned is saved.")
            if options.checkpoint_steps and step % options.checkpoint_steps == 0 and self._batch < self.batches.steps(world):
                self._save()

    def _step(self, group: list[Batch]) -> None:
        method, engine, step = self.method, self.engine, self.history.steps
        method.progress, method.steps_done, method.epoch = step / self.total_steps, step, self._epoch
        if engine.device.type != "cpu":
            group = [to_device(batch, engine.device) for batch in group]
        shares = self._shares(group)
        for number, (batch, share) in enumerate(zip(group, shares, strict=True)):
            seed = derive(self.seed, step, number, self.fabric.global_rank)
            if self.engine.device.type == "cpu":
                torch.default_generator.manual_seed(seed)  # torch.manual_seed also tells every accelerator, which takes a millisecond
            else:
                torch.manual_seed(seed)
            method.generator = self._generator.manual_seed(seed)
            engine.begin(share, number == len(group) - 1)
            try:
                if method.step is not None:
                    method.attend(batch)
                losses = engine.play(batch) if method.step is None else method.step(batch, engine)
            except KeyError as error:
                if error.args and isinstance(error.args[0], str) and error.args[0] not in batch:
                    raise TrainingError(
                        f"Batches of '{self.name}' have no key '{error.args[0]}', which {type(method).__name__} needs; "
                        f"they have {', '.join(batch)}."
                    ) from error
                raise
            self._ledger.add(step, {name: value.detach() for name, value in losses.items()} | method.take_logged())
        method.update_teachers()
        engine.advance()
        self.history.steps += 1
        if self._check_each_step:
            self._ledger.settle()
        self.bar.step(self.history.steps, self._ledger.text)

    def _shares(self, group: list[Batch]) -> list[float]:
        sizes = [batch_size(batch) for batch in group]
        if 0 in sizes:
            raise TrainingError(
                f"'{self.name}' got an empty batch at step {self.history.steps}: the batch is smaller than the number of processes."
            )
        world = self.fabric.world_size
        if len(sizes) == 1 and world == 1:
            return [1.0]
        local = torch.tensor(float(sum(sizes)), device=self.engine.device)
        mean = self.engine.all_reduce(local).item()
        return [size / mean for size in sizes]

    def _refuse(self, name: str, value: float, step: int) -> None:
        kept = self.checkpoints.paths() if self.checkpoints else []
        where = f"The last good checkpoint is {kept[-1]}." if kept else "No checkpoint had been written yet."
        raise TrainingError(
            f"Loss '{name}' of '{self.name}' is {value} at step {step}. {where} Lower the learning rate, clip gradients (clip=1), "
            "or look for infinite inputs."
        )

    def _end_epoch(self) -> None:
        self._epoch, self._batch = self._epoch + 1, 0
        row: Row = {"epoch": self._epoch, "step": self.history.steps}
        row |= {name: self._mean(value) for name, value in self._ledger.close().items()}
        last_epoch = self._epoch == self.options.epochs
        if self.validate is not None and (last_epoch or self._epoch % self.options.validate_every == 0):
            row |= self._validated()
        self.history.epochs.append(row)
        self._write({"kind": "epoch"} | row)
        improved = self._note_best(row)
        patience = self.options.patience
        self._finished = last_epoch or (patience is not None and self._since_best > patience)
        if self._finished or improved or self._epoch % self.options.checkpoint_every == 0:
            self._save()

    def _write(self, row: Row) -> None:
        if self._file is not None:
            self._file.write(row)

    def _mean(self, value: float) -> float:
        if self.fabric.world_size == 1:
            return value
        return float(self.engine.all_reduce(torch.tensor(value, device=self.engine.device, dtype=torch.float32)))

    def _validated(self) -> dict[str, float]:
        assert self.validate is not None
        torch.manual_seed(derive(self.seed, self.history.steps, 1 << 32))
        self.method.eval()
        with torch.no_grad():
            found = {name: float(value) for name, value in self.validate(self.method).items()}
        self.method.train()
        return found

    def _note_best(self, row: Row) -> bool:
        if self.options.monitor not in row:
            if self.options.keep == "best" or self.options.patience is not None or self.options.schedule == "ReduceLROnPlateau":
                if self.validate is None:
                    raise TrainingError(
                        f"'{self.name}' should keep its best weights, stop early or follow a plateau, but has no validation to judge by."
                    )
                if self._epoch % self.options.validate_every == 0:
                    raise TrainingError(f"The metric '{self.options.monitor}' is not among those of '{self.name}': {', '.join(row)}.")
            return False
        value, best = row[self.options.monitor], self.history.best_value
        self.engine.validated(value)
        if best is None or (value < best if self.options.minimise else value > best):
            self.history.best_value, self.history.best_step, self._since_best = value, self.history.steps, 0
            self._best_weights = None
            if self.options.keep == "best" and self.checkpoints is None:
                self._best_weights = {k: v.detach().clone() for k, v in self.method.state_dict().items()}
            return self.options.keep == "best"
        self._since_best += 1
        return False

    _best_weights: dict[str, Tensor] | None = None

    def _use_best(self) -> None:
        if self.options.keep != "best" or self.history.best_step in (None, self.history.steps):
            return
        if self._best_weights is not None:
            self.method.load_state_dict(self._best_weights)
        elif self.checkpoints is not None:
            path = self.checkpoints.directory / f"step-{self.history.best_step:09d}"
            load_method(self.method, cut_method(self.checkpoints.read(path).state["method"], self.method), path)

    def _method_state(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        state: dict[str, Tensor] = whole(self.method.state_dict())
        prefixes = tuple(f"{name}." for name in self._constant)
        constant = {k: v for k, v in state.items() if k in self._frozen or (prefixes and k.startswith(prefixes))}
        return {k: v for k, v in state.items() if k not in constant}, constant

    def _save(self) -> None:
        self._ledger.settle()
        if self.checkpoints is None:
            return
        moving, constant = self._method_state()
        optimizers = {name: whole(optimizer.state_dict()) for name, optimizer in self.engine.raw.items()}
        if not self.fabric.is_global_zero:
            return
        offset = self._file.flush() if self._file is not None else 0
        history = self.history
        state = {
            "method": moving,
            "optimizers": optimizers,
            "schedulers": {name: scheduler.state_dict() for name, scheduler in self.engine.schedulers.items()},
            "place": {"epoch": self._epoch, "batch": self._batch, "since_best": self._since_best, "finished": self._finished},
            "history": {
                "epochs": history.epochs,
                "best_step": history.best_step,
                "best_value": history.best_value,
                "seconds": history.seconds,
            },
            "sums": self._ledger.sums,
            "offset": offset,
        }
        keep = (history.best_step,) if self.options.keep == "best" and history.best_step is not None else ()
        self.checkpoints.save(history.steps, state, constant=constant, keep=keep)

    def _restore(self) -> int:
        if self.checkpoints is None:
            return 0
        found, self.warnings = self.checkpoints.latest(self._load)
        if found is None:
            return 0
        return int(found.state["offset"])

    def _load(self, found: Checkpoint) -> None:
        state = found.state
        load_method(self.method, cut_method(state["method"], self.method), found.path)
        try:
            for name, optimizer in self.engine.raw.items():
                optimizer.load_state_dict(cut_optimizer(state["optimizers"][name], optimizer))
            for name, scheduler in self.engine.schedulers.items():
                scheduler.load_state_dict(state["schedulers"][name])
        except (KeyError, ValueError, IndexError) as error:
            raise CheckpointError(f"Checkpoint {found.path} is of other players or optimizers ({error}).") from error
        place, past = state["place"], state["history"]
        self._epoch, self._batch, self._since_best = place["epoch"], place["batch"], place["since_best"]
        self._finished, self._ledger.sums = place["finished"], state["sums"]
        self.history = History(past["epochs"], past["best_step"], past["best_value"], found.step, past["seconds"])
