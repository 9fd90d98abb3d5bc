"""Random batches from a label store of a million rows: what they cost beside a small student's step, and in memory."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from rich.console import Console
from torch import nn

from benchmarks.measure import Row, paired_ratio, take_turns
from tutelage import losses, models, store
from tutelage.data import Arrays

ROWS, BATCH, BATCHES = 1_000_000, 256, 20


READER = """
import sys, torch
from tutelage import store

def own():
    # Without mapped pages of files, which the system takes back when it needs them.
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024

rows, before = int(sys.argv[2]), own()
held = store.Store.open(sys.argv[1])
for _ in range(1000):
    held.read("train", torch.randint(rows, (256,)))
print(own() - before)
"""


def memory_taken(path: Path) -> float:
    """Return the MB by which a fresh process grows that opens a store and reads a thousand batches. Linux only."""
    answer = subprocess.run([sys.executable, "-c", READER, str(path), str(ROWS)], check=True, capture_output=True, text=True)
    return float(answer.stdout)


def labelled(folder: Path, classes: int, keep: str) -> store.Store:
    """Label a million rows of random numbers with a linear teacher."""
    generator = torch.Generator().manual_seed(0)
    data = Arrays({"input": torch.randn(ROWS, 8, generator=generator)}, classes=tuple(map(str, range(classes))))
    torch.manual_seed(0)
    return store.label(nn.Linear(8, classes), data, folder, keep=keep, batch_size=2048, console=Console(quiet=True))


def rows() -> Iterator[Row]:
    torch.set_num_threads(1)
    for name, classes, keep in (("dense 10 classes", 10, "logits"), ("top-32 of 1,000 classes", 1000, "top-k:32")):
        with tempfile.TemporaryDirectory() as folder:
            labelled(Path(folder) / "store", classes, keep)
            yield from compared(name, classes, Path(folder) / "store")


def compared(name: str, classes: int, path: Path) -> Iterator[Row]:
    """Compare reading with a training step, and the memory that it takes with the size of the store."""
    generator = torch.Generator().manual_seed(1)
    held = store.Store.open(path)
    images = torch.rand(BATCH, 1, 28, 28, generator=generator)
    labels = torch.randint(classes, (BATCH,), generator=generator)
    torch.manual_seed(0)
    student = models.build("tutelage:small-cnn", num_classes=classes, input_shape=(1, 28, 28))
    optimizer = torch.optim.SGD(student.parameters(), lr=0.01, momentum=0.9)

    def read() -> None:
        for _ in range(BATCHES):
            held.read("train", torch.randint(ROWS, (BATCH,), generator=generator))

    def step() -> None:
        for _ in range(BATCHES):
            losses.mean(losses.cross_entropy(student(images), labels)).backward()
            optimizer.step()
            optimizer.zero_grad()

    reading, training = take_turns(read, step, rounds=9, warm_up=2)
    each = 1000 / BATCHES
    spent = [statistics.median(seconds) * each for seconds in (reading, training)]
    share = paired_ratio(reading, training)
    yield Row(f"store, {name}: reading a batch against the student's step", *spent, "ms", share, "< 0.05", share < 0.05)
    speed = [1000 * BATCH / milliseconds for milliseconds in spent]
    faster = paired_ratio(training, reading)
    yield Row(f"store, {name}: rows read against rows trained on", *speed, "rows/s", faster, "> 20", faster > 20)
    size, taken = store.info(path)["bytes"] / 2**20, memory_taken(path)
    yield Row(f"store, {name}: memory taken against size on disk", taken, size, "MB", taken / size, "16 MB at most", taken <= 16)
