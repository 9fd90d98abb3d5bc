"""Labels in a child process, kills it at random moments until it has finished, and prints how often, and how many rows were asked about.

usage: label_killed.py DIRECTORY SEED KEEP
"""

from __future__ import annotations

import io
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import torch
from rich.console import Console
from torch import nn

from tutelage import store
from tutelage.data import Arrays, DataSet

torch.set_num_threads(1)
ROWS, SHARD, BATCH = 160, 8, 4


class Network(nn.Module):
    """A network with views, which notes how many rows it was asked about."""

    def __init__(self, notes: Path) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(36, 5))
        self.notes = notes

    def forward(self, x):
        with self.notes.open("a") as file:
            file.write(f"{len(x)}\n")
        return self.layers(x)


class Writer:
    """A chat model whose replies are a function of the prompt."""

    fingerprint = "writer"

    def __init__(self, notes: Path) -> None:
        self.notes = notes

    def complete(self, prompts):
        with self.notes.open("a") as file:
            file.write(f"{len(prompts)}\n")
        return [{"text": f"{prompt} \n ✓ \u2028 said", "log_probs": [len(prompt) / 7]} for prompt in prompts]


def label(out: Path, keep: str, resume: bool) -> None:
    notes = out.with_suffix(".notes")
    if keep == "text":
        columns = {"input": [f"prompt {row}" for row in range(ROWS)]}
        teacher, options = Writer(notes), {}
    else:
        columns = {"input": torch.rand(ROWS, 1, 6, 6, generator=torch.Generator().manual_seed(0))}
        teacher, options = Network(notes), {"view": "crop-flip", "views": 2}
    whole = Arrays(columns)
    data = DataSet("data", whole.subset(range(20, ROWS)), whole.subset(range(10)), whole.subset(range(10, 20)))
    quiet = Console(file=io.StringIO())
    store.label(teacher, data, out, keep=keep, shard_rows=SHARD, batch_size=BATCH, resume=resume, console=quiet, **options)
    out.with_suffix(".done").touch()


def main() -> None:
    directory, seed, keep = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    moments = random.Random(seed)
    for name in ("warm-up", "whole"):  # the second one is timed: the first pays for cold files
        child = os.fork()
        if child == 0:
            started = time.perf_counter()
            label(directory / name, keep, False)
            (directory / "seconds").write_text(str(time.perf_counter() - started))
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    whole = float((directory / "seconds").read_text())
    kills = attempts = 0
    while not (directory / "parts.done").exists() or kills < 3:
        if (directory / "parts.done").exists():  # it was faster than the killer: again from the start
            shutil.rmtree(directory / "parts")
            (directory / "parts.done").unlink()
            (directory / "parts.notes").unlink()
            kills = 0
        attempts += 1
        assert attempts < 200, "no progress"
        child = os.fork()
        if child == 0:
            label(directory / "parts", keep, True)
            os._exit(0)
        time.sleep(moments.uniform(0.0, 0.5) * whole)
        os.kill(child, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code in (0, -signal.SIGKILL), code
        kills += code == -signal.SIGKILL
    asked = sum(int(line) for line in (directory / "parts.notes").read_text().split())
    needed = sum(int(line) for line in (directory / "whole.notes").read_text().split())
    print(f"kills {kills} asked {asked} needed {needed}")


main()
