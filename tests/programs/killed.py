"""Trains in a child process, kills it at random moments until it has finished, and prints how often.

usage: killed.py DIRECTORY SEED
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import lightning_fabric
import torch
from torch import nn

from tutelage.data import Arrays, Batches
from tutelage.teachers import EMA, Frozen
from tutelage.train import Run, Supervised, TrainOptions

assert lightning_fabric  # imported before the children are made, so that each starts at once
torch.set_num_threads(1)


class Lesson(Supervised):
    """Dropout, noise, a moving average and a frozen teacher: everything that a resumed run must not forget."""

    def __init__(self, student: nn.Module, teacher: nn.Module) -> None:
        super().__init__(student, view=lambda x, g: x + 0.1 * torch.randn(x.shape, generator=g))
        self.mean, self.frozen = EMA(student, momentum=0.9, warmup=True), Frozen(teacher)

    def losses(self, batch):
        found = super().losses(batch)
        found["mean"] = (self.student(batch["input"]) - self.mean(batch["input"])).square().mean()
        found["frozen"] = 0.1 * (self.student(batch["input"]) - self.frozen(batch["input"])).square().mean()
        return found


def train(directory: Path, resume: bool) -> None:
    torch.manual_seed(0)
    x = torch.randn(256, 8)
    arrays = Arrays({"input": x, "label": x[:, :3].argmax(1)}, classes=("a", "b", "c"))

    def build() -> nn.Module:
        return nn.Sequential(nn.Linear(8, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 3))

    method = Lesson(build(), build())
    options = TrainOptions(
        epochs=8, batch_size=32, optimizer="AdamW", learning_rate=1e-3, accelerator="cpu", log_every=3, checkpoint_steps=2, keep="best"
    )

    def validate(method):
        return {"accuracy": float((method.predict(arrays.gather()).argmax(1) == arrays.labels).float().mean() * 100)}

    run = Run(directory, config={"job": "killed"}, resume=resume)
    run.train("seed-0/lesson", method, Batches(arrays, 32, seed=4), options, validate)
    torch.save({k: v for k, v in method.state_dict().items()}, directory / "final.pt")


def main() -> None:
    directory, seed = Path(sys.argv[1]), int(sys.argv[2])
    moments = random.Random(seed)
    for name in ("warm-up", "whole"):  # the second one is timed: the first pays for cold files
        child = os.fork()
        if child == 0:
            started = time.perf_counter()
            train(directory / name, False)
            (directory / "seconds").write_text(str(time.perf_counter() - started))
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    whole = float((directory / "seconds").read_text())
    kills = attempts = 0
    while not (directory / "parts/final.pt").exists() or kills < 2:
        if (directory / "parts/final.pt").exists():  # it was faster than the killer: again from the start
            shutil.rmtree(directory / "parts")
            kills = 0
        attempts += 1
        assert attempts < 200, "no progress"
        child = os.fork()
        if child == 0:
            train(directory / "parts", (directory / "parts/run.json").exists())
            os._exit(0)
        time.sleep(moments.uniform(0.1, 0.4) * whole)
        os.kill(child, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code in (0, -signal.SIGKILL), code
        kills += code == -signal.SIGKILL
    print(f"kills {kills}")


main()
