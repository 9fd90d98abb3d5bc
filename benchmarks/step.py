"""A distillation step of the trainer against the same step written by hand."""

from __future__ import annotations

import copy
import statistics
from collections.abc import Iterator

import torch
import torch.nn.functional as F

from benchmarks.measure import Row, paired_ratio, take_turns
from tutelage import models
from tutelage.data import Arrays, Batches
from tutelage.methods.distillation.hinton import Hinton
from tutelage.teachers import Frozen
from tutelage.train import Trainer, TrainOptions

STEPS, BATCH = 40, 128


def by_hand(student: torch.nn.Module, teacher: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor) -> None:
    teacher.eval()
    student.train()
    optimizer = torch.optim.SGD(student.parameters(), lr=0.05, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    running = 0.0
    for rows in order.split(BATCH):
        x, y = images[rows].float() / 255, labels[rows]
        with torch.no_grad():
            target = F.softmax(teacher(x) / 4, dim=1)
        logits = student(x)
        soft = F.kl_div(F.log_softmax(logits / 4, dim=1), target, reduction="batchmean")
        loss = 0.9 * 16 * soft + 0.1 * F.cross_entropy(logits, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        running += loss.item()
        if not running < float("inf"):
            raise ValueError("loss is not finite")


def rows() -> Iterator[Row]:
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (STEPS * BATCH, 1, 28, 28), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, 10, (STEPS * BATCH,), generator=generator)
    arrays = Arrays({"input": images, "label": labels}, classes=tuple("0123456789"))
    teacher = models.build("tutelage:cnn", num_classes=10, input_shape=(1, 28, 28), role="teacher")
    for widths in ("8,16", "16,32"):
        student = models.build(f"tutelage:small-cnn?widths={widths}", num_classes=10, input_shape=(1, 28, 28))
        trainer_options = TrainOptions(epochs=1, batch_size=BATCH, accelerator="cpu")
        trainers: list[Trainer] = []

        def ours(trainers: list[Trainer] = trainers) -> None:
            trainers.pop().fit()

        def theirs(student: torch.nn.Module = student) -> None:
            by_hand(copy.deepcopy(student), teacher, images, labels)

        rounds, warm_up = 7, 1
        for _ in range(rounds + warm_up):
            method = Hinton(copy.deepcopy(student), Frozen(copy.deepcopy(teacher)), temperature=4.0, alpha=0.9)
            trainers.append(Trainer(method, Batches(arrays, BATCH), trainer_options))
        a, b = take_turns(ours, theirs, rounds=rounds, warm_up=warm_up)
        ratio = paired_ratio(a, b)
        each = 1000 / STEPS
        yield Row(
            f"training step, student of widths {widths}",
            statistics.median(a) * each,
            statistics.median(b) * each,
            "ms",
            ratio,
            "<= 1.03",
            ratio <= 1.03,
        )
