"""Images a second of a whole training with augmentation, against a DataLoader with per-sample transforms."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset

from benchmarks.measure import Row, paired_ratio, take_turns
from tutelage import models, views
from tutelage.data import Arrays, Batches
from tutelage.train import Supervised, Trainer, TrainOptions

IMAGES, BATCH = 12_800, 128


class PerSample(Dataset):
    """What most training scripts have: transforms of torchvision on one image at a time."""

    def __init__(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        from torchvision.transforms import v2

        self.images, self.labels = images, labels
        self.transform = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.RandomCrop(28, padding=3), v2.RandomHorizontalFlip()])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.transform(self.images[row]), self.labels[row]


def rows() -> Iterator[Row]:
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (IMAGES, 1, 28, 28), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, 10, (IMAGES,), generator=generator)
    arrays = Arrays({"input": images, "label": labels}, classes=tuple("0123456789"))

    for name, spec in (("perceptron", "tutelage:mlp?widths=64"), ("network of widths 4,8", "tutelage:small-cnn?widths=4,8")):
        ours, theirs = _raced(arrays, spec)
        for seconds, workers in zip(theirs, ("no workers", "2 workers"), strict=True):
            ratio = paired_ratio(seconds, ours)
            speed = [IMAGES / statistics.median(taken) for taken in (ours, seconds)]
            yield Row(f"28x28 images, {name}, against DataLoader, {workers}", *speed, "images/s", ratio, ">= 3", ratio >= 3)


def _raced(arrays: Arrays, spec: str) -> tuple[list[float], tuple[list[float], list[float]]]:
    """Return the seconds of our training of a student, and of the DataLoader's without and with workers."""

    def student() -> torch.nn.Module:
        torch.manual_seed(0)
        return models.build(spec, num_classes=10, input_shape=(1, 28, 28))

    def loader(workers: int) -> None:
        model = student()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        for x, y in DataLoader(PerSample(*(arrays.columns[name] for name in ("input", "label"))), BATCH, shuffle=True, num_workers=workers):
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    rounds, warm_up = 5, 1
    trainers = []
    for _ in range(rounds + warm_up):
        view = views.Compose([views.random_crop(padding=3), views.horizontal_flip()])
        method = Supervised(student(), view=view)
        trainers.append(Trainer(method, Batches(arrays, BATCH), TrainOptions(epochs=1, batch_size=BATCH, accelerator="cpu")))
    a, b, c = take_turns(lambda: trainers.pop().fit(), lambda: loader(0), lambda: loader(2), rounds=rounds, warm_up=warm_up)
    return a, (b, c)
