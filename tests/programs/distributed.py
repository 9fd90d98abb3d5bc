"""Trains small methods alone, under DDP and under FSDP, and checks that all end with the same weights: run by torchrun with 2 processes."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import lightning_fabric
import torch
import torch.distributed
from leaving import leave
from torch import nn

from tutelage.data import Arrays, Batches
from tutelage.teachers import EMA
from tutelage.train import Method, Supervised, Trainer, TrainOptions
from tutelage.train.sharding import whole


class Own(Supervised):
    """Takes the whole step itself, through the engine."""

    def step(self, batch, engine):
        loss = self.losses(batch)["ce"]
        engine.backward(loss)
        engine.move("student")
        return {"ce": loss}


class Averaged(Supervised):
    """Has a teacher that follows."""

    def __init__(self, student):
        super().__init__(student)
        self.mean = EMA(student, momentum=0.9)

    def losses(self, batch):
        return super().losses(batch) | {"mean": (self.student(batch["input"]) - self.mean(batch["input"])).square().mean()}


class Left(Exception):
    """The training is left after its first checkpoint."""


def train(kind: type[Supervised], strategy: str, directory: Path | None = None, *, leave: bool = False) -> Method:
    torch.manual_seed(0)
    x = torch.randn(101, 8)
    arrays = Arrays({"input": x, "label": x[:, :3].argmax(1)}, classes=("a", "b", "c"))
    torch.manual_seed(1)
    method = kind(nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3)))
    alone = strategy == "alone"
    options = TrainOptions(
        epochs=3,
        batch_size=16,
        optimizer="AdamW",
        learning_rate=0.01,
        accelerator="cpu",
        devices=1 if alone else 2,
        strategy="auto" if alone else strategy,
        clip=1.0,
        accumulate=2,
    )
    fabric = lightning_fabric.Fabric(accelerator="cpu", devices=1) if alone else None

    def validate(method: Method) -> dict[str, float]:
        if leave and method.epoch == 1:
            raise Left
        return {}

    Trainer(method, Batches(arrays, 16, seed=3), options, directory=directory, fabric=fabric, validate=validate).fit(
        resume=directory is not None
    )
    return method


def check(expected: dict, method: Method, what: str) -> None:
    for name, value in whole(method.state_dict()).items():
        difference = float((value - expected[name]).abs().max())
        assert difference <= 1e-5, f"{what}: {name} differs by {difference}"
    print(f"same: {what};")


def main() -> None:
    # Batch shares of the lone process are those of the pair: a group of two batches of 16, 101 samples an epoch.
    directory = Path(sys.argv[1])
    for kind in (Averaged, Own):
        pair = train(kind, "ddp")
        expected = torch.load(directory / f"{kind.__name__}.pt", weights_only=True)
        check(expected, pair, f"ddp {kind.__name__}")
    expected = torch.load(directory / "Averaged.pt", weights_only=True)
    check(expected, train(Averaged, "fsdp"), "fsdp")
    with contextlib.suppress(Left):
        train(Averaged, "fsdp", directory / "fsdp", leave=True)
    torch.distributed.barrier()
    check(expected, train(Averaged, "fsdp", directory / "fsdp"), "fsdp resumed")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
    leave()


if "alone" in sys.argv:
    for each in (Averaged, Own):
        torch.save(train(each, "alone").state_dict(), Path(sys.argv[1]) / f"{each.__name__}.pt")
else:
    main()
