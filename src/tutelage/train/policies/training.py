"""A training of a Stable-Baselines3 student that is watched, kept and taken up again bit for bit."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tutelage.errors import OptionError, optional
from tutelage.train.checkpoint import Checkpoints
from tutelage.train.interrupt import Interrupted, StopRequest
from tutelage.train.policies.state import load_random, load_student, save_student
from tutelage.train.progress import Bar

optional("stable_baselines3", "rl")
from stable_baselines3.common.callbacks import BaseCallback, CallbackList  # noqa: E402

Row = dict[str, float]


@dataclass(frozen=True)
class Watch:
    """A measurement that is repeated while a student learns, and that does not touch its randomness.

    Args:
        measure: from the student to numbers by name.
        every: environment steps between two measurements; each is taken at the first rollout that begins after them, and at the end.
    """

    measure: Callable[[Any], Row]
    every: int


def train(
    student: Any,
    steps: int,
    *,
    directory: Path | None = None,
    resume: bool = False,
    every: int = 10_000,
    watch: Watch | None = None,
    callbacks: Sequence[Any] = (),
    name: str = "student",
    bar: Bar | None = None,
) -> list[Row]:
    """Train a student of Stable-Baselines3 with its own algorithm.

    With a directory, student, teacher, environments and random states are written together every so often; a killed training that is
    resumed ends on the CPU with the same weights and the same curriculum as one that ran through. Its environments must come from `taught`
    or `vectorise`, its learning rates and other options are those of its constructor.

    Args:
        student: untrained student; any algorithm of Stable-Baselines3.
        steps: environment steps in all.
        directory: where checkpoints go; `None` keeps none.
        resume: take up the newest good checkpoint in `directory`.
        every: environment steps between two checkpoints, each written when the next rollout begins.
        watch: what to measure meanwhile.
        callbacks: callbacks of Stable-Baselines3; what they remember is not in the checkpoints.
        name: name on the progress bar.
        bar: progress bar.

    Returns:
        What was measured, one row per measurement with its `step`.

    Raises:
        OptionError: if the directory holds checkpoints and `resume` is False.
        CheckpointError: if checkpoints do not fit or cannot be written.
        Interrupted: after Ctrl-C or SIGTERM, with a checkpoint of that moment.
    """
    if steps < 1 or every < 1 or (watch is not None and watch.every < 1):
        raise OptionError(f"train got steps={steps}, every={every}; expected at least 1, for measurements too.")
    checkpoints = None if directory is None else Checkpoints(Path(directory))
    if checkpoints is not None and not resume and checkpoints.paths():
        raise OptionError(f"{directory} holds a training already. Pass resume=True to go on with it, or choose another directory.")
    with StopRequest() as stop:
        keeper = _Keeper(checkpoints, steps, every, watch, stop, name, bar)
        try:
            student.learn(steps, callback=CallbackList([keeper, *callbacks]), log_interval=None)
        finally:
            if bar is not None:
                bar.stop()
    return keeper.rows


class _Keeper(BaseCallback):  # type: ignore[misc]
    """Measures and writes checkpoints where a student is whole: between an update and the next rollout."""

    def __init__(
        self, checkpoints: Checkpoints | None, steps: int, every: int, watch: Watch | None, stop: StopRequest, name: str, bar: Bar | None
    ) -> None:
        super().__init__()
        self.checkpoints, self.steps, self.every, self.watch, self.stop, self.title, self.bar = (
            checkpoints,
            steps,
            every,
            watch,
            stop,
            name,
            bar,
        )
        self.rows: list[Row] = []
        self._saved, self._loaded = 0, {}  # type: int, dict[str, Any]

    def _on_training_start(self) -> None:
        if self.checkpoints is not None:
            found, problems = self.checkpoints.latest(lambda checkpoint: load_student(self.model, checkpoint.state["student"]))
            for problem in problems:
                warnings.warn(f"{problem} Went on from the one before.", stacklevel=2)
            if found is not None:
                self._loaded, self._saved = found.state["student"], found.step
                self.rows = [dict(row) for row in found.state["rows"]]
                self.num_timesteps = self.model.num_timesteps
        if self.bar is not None:
            self.bar.start(self.title, self.steps, self.model.num_timesteps)

    def _on_rollout_start(self) -> None:
        if self._loaded:
            # State-dependent noise is drawn before this call: the checkpoint was written after that.
            load_random(self.model, self._loaded)
            self._loaded = {}
        self._look(last=False)
        step = self.model.num_timesteps
        if self.checkpoints is not None and (step // self.every > self._saved // self.every or self.stop.wanted):
            self._save()
        if self.stop.wanted:
            kept = "" if self.checkpoints is None else f" Its checkpoint is in {self.checkpoints.directory}; resume goes on from there."
            raise Interrupted(f"{self.title} stopped after {step} of {self.steps} steps.{kept}")

    def _on_step(self) -> bool:
        if self.bar is not None:
            self.bar.step(self.model.num_timesteps, self._told)
        return True

    def _on_training_end(self) -> None:
        if not self.rows or self.rows[-1]["step"] < self.model.num_timesteps:
            self._look(last=True)
        if self.checkpoints is not None and self.model.num_timesteps > self._saved:
            self._save()

    def _look(self, *, last: bool) -> None:
        if self.watch is None:
            return
        step = self.model.num_timesteps
        seen = int(self.rows[-1]["step"]) // self.watch.every if self.rows else -1
        if last or step // self.watch.every > seen:
            with untouched_randomness():
                self.rows.append({"step": float(step), **self.watch.measure(self.model)})

    def _save(self) -> None:
        assert self.checkpoints is not None
        self._saved = self.model.num_timesteps
        self.checkpoints.save(self._saved, {"student": save_student(self.model), "rows": self.rows})

    def _told(self) -> str:
        last = list(self.model.ep_info_buffer or ())
        return f"return {np.mean([episode['r'] for episode in last]):.1f}" if last else ""


@contextmanager
def untouched_randomness() -> Iterator[None]:
    """Put the global generators of Python, NumPy and torch back when the block ends."""
    kept = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(kept[0])
        np.random.set_state(kept[1])
        torch.set_rng_state(kept[2])
