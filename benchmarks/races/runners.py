"""How each library runs one distillation, as its users run it: every function makes ready and returns what is timed."""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.races.tasks import ALPHA, MOMENTUM, RATE, TEMPERATURE, Order, Task
from tutelage.methods.distillation.hinton import Hinton
from tutelage.teachers import Frozen, Teacher
from tutelage.train import Supervised, Trainer, TrainOptions
from tutelage.train.layout import lay_out
from tutelage.train.method import Method

Go = Callable[[], nn.Module]
"""A whole training; returns the student."""


def ours(task: Task, teacher: Teacher | None, folder: Path | None = None) -> Go:
    """Return our trainer's run, with a teacher or on the labels alone; the student is stored as is measured to be faster."""
    student = task.models()[1]
    method: Method = Supervised(student) if teacher is None else Hinton(student, teacher, temperature=TEMPERATURE, alpha=ALPHA)
    options = TrainOptions(
        epochs=task.epochs, batch_size=task.batch, learning_rate=RATE, momentum=MOMENTUM, accelerator="cpu", channels_last="auto"
    )
    lay_out(method, task.batches, options, torch.device("cpu"), None)
    trainer = Trainer(method, task.batches, options, directory=folder)
    if isinstance(teacher, Frozen):
        # A trainer moves its method to its device, upon which a teacher builds its engine anew: done here, once for a training.
        with torch.no_grad():
            teacher(task.batches.batch(0, 0)["input"])

    def go() -> nn.Module:
        trainer.fit()
        return student

    return go


def plain(task: Task, *, distil: bool = True, folder: Path | None = None) -> Go:
    """Return the loop that one writes by hand: DataLoader, no_grad, kl_div, SGD, and the loss read at each step."""
    teacher, student = task.models()
    loader = task.loader()
    optimizer = torch.optim.SGD(student.parameters(), lr=RATE, momentum=MOMENTUM)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, task.steps)

    def go() -> nn.Module:
        student.train()
        for epoch in range(task.epochs):
            for x, y in loader:
                logits = student(x)
                loss = F.cross_entropy(logits, y)
                if distil:
                    with torch.no_grad():
                        target = F.softmax(teacher(x) / TEMPERATURE, dim=1)
                    soft = F.kl_div(F.log_softmax(logits / TEMPERATURE, dim=1), target, reduction="batchmean")
                    loss = ALPHA * TEMPERATURE**2 * soft + (1 - ALPHA) * loss
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                scheduler.step()
                if not loss.item() < float("inf"):
                    raise ValueError("loss is not finite")
            if folder is not None:
                torch.save({"model": student.state_dict(), "optimizer": optimizer.state_dict()}, folder / f"epoch-{epoch}.pt")
        return student

    return go


def torchdistill_config(task: Task) -> dict[str, Any]:
    """Return the configuration that its YAML files hold, for Hinton distillation."""
    return {
        "num_epochs": task.epochs,
        "train_data_loader": {
            "dataset_id": "train",
            "sampler": {"class_or_func": Order, "kwargs": {"batches": task.batches}},
            "kwargs": {"batch_size": task.batch, "num_workers": 0, "drop_last": False},
        },
        "teacher": {"forward_proc": "forward_batch_only", "requires_grad": False},
        "student": {"forward_proc": "forward_batch_only", "requires_grad": True},
        "optimizer": {"key": "SGD", "kwargs": {"lr": RATE, "momentum": MOMENTUM}},
        "scheduler": {"key": "CosineAnnealingLR", "kwargs": {"T_max": task.steps}, "scheduling_step": 1},
        "criterion": {
            "key": "WeightedSumLoss",
            "kwargs": {
                "sub_terms": {
                    "kd": {
                        "criterion": {
                            "key": "KDLoss",
                            "kwargs": {
                                "student_module_path": ".",
                                "student_module_io": "output",
                                "teacher_module_path": ".",
                                "teacher_module_io": "output",
                                "temperature": TEMPERATURE,
                                "alpha": 1 - ALPHA,
                                "beta": ALPHA,
                                "reduction": "batchmean",
                            },
                        },
                        "weight": 1.0,
                    }
                }
            },
        },
    }


def torchdistill(task: Task, folder: Path | None = None) -> Go:
    """Return the epoch of torchdistill's own example scripts around its distillation box, with their logger, which prints nothing."""
    from torchdistill.common.main_util import save_ckpt
    from torchdistill.core.distillation import get_distillation_box
    from torchdistill.misc.log import MetricLogger, SmoothedValue

    teacher, student = task.models()
    device = torch.device("cpu")
    box = get_distillation_box(teacher, student, {"train": task.dataset}, torchdistill_config(task), device, None, False, 1)

    def epoch(number: int) -> None:
        logger = MetricLogger(delimiter="  ")
        logger.add_meter("lr", SmoothedValue(window_size=1, fmt="{value}"))
        logger.add_meter("img/s", SmoothedValue(window_size=10, fmt="{value}"))
        box.pre_epoch_process(epoch=number)
        for x, y, extra in logger.log_every(box.train_data_loader, 10**9, f"Epoch: [{number}]"):
            started = time.time()
            x, y = x.to(device), y.to(device)
            loss = box.forward_process(x, y, extra)
            box.post_forward_process(loss)
            logger.update(loss=loss.item(), lr=box.optimizer.param_groups[0]["lr"])
            logger.meters["img/s"].update(len(x) / (time.time() - started))
        box.post_epoch_process()

    def go() -> nn.Module:
        for number in range(task.epochs):
            epoch(number)
            if folder is not None:
                save_ckpt(student, box.optimizer, box.lr_scheduler, 0.0, argparse.Namespace(), str(folder / f"{number}.pt"))
        return student

    return go


class WithLabels(nn.Module):
    """A network that is called on a whole batch, as textbrewer calls its models."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        logits: Tensor = self.network(x)
        return logits


def textbrewer(task: Task, folder: Path) -> Go:
    """Return textbrewer's distiller, which writes the student's weights after each epoch whether asked or not."""
    from textbrewer import DistillationConfig, GeneralDistiller, TrainingConfig

    teacher, student = task.models()
    loader = task.loader()
    optimizer = torch.optim.SGD(student.parameters(), lr=RATE, momentum=MOMENTUM)
    distiller = GeneralDistiller(
        TrainingConfig(device="cpu", output_dir=str(folder)),
        # Its soft term is a cross-entropy without the squared temperature; the gradient is that of the others.
        DistillationConfig(temperature=TEMPERATURE, kd_loss_weight=ALPHA * TEMPERATURE**2, hard_label_weight=1 - ALPHA),
        WithLabels(teacher),
        WithLabels(student),
        lambda batch, logits: {"logits": logits},
        lambda batch, logits: {"logits": logits, "losses": F.cross_entropy(logits, batch[1])},
    )
    cosine = functools.partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=task.steps)

    def go() -> nn.Module:
        with distiller:
            distiller.train(optimizer, loader, num_epochs=task.epochs, scheduler_class=cosine, scheduler_args={})
        return student

    return go


def apart(student: nn.Module, reference: nn.Module, start: nn.Module) -> float:
    """Return how far two trained students are from each other, as a share of the way that the reference went.

    Args:
        student: trained by one lane.
        reference: trained by another.
        start: where both began.
    """

    def flat(model: nn.Module) -> Tensor:
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    way = torch.linalg.vector_norm(flat(reference) - flat(start))
    return float(torch.linalg.vector_norm(flat(student) - flat(reference)) / way)
