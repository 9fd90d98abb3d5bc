"""What is distilled: images, a teacher, a student, and one order of batches for every lane."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler, TensorDataset

from tutelage import models
from tutelage.data import Arrays, Batches
from tutelage.data.fashion import fashion_mnist
from tutelage.errors import DataError

TEMPERATURE, ALPHA, RATE, MOMENTUM = 4.0, 0.9, 0.05, 0.9


class Order(Sampler[int]):
    """The order that our own batches have, epoch after epoch, for a DataLoader."""

    def __init__(self, dataset: object, *, batches: Batches) -> None:
        self.batches, self.epoch = batches, 0

    def __len__(self) -> int:
        return len(self.batches.arrays)

    def __iter__(self) -> Iterator[int]:
        order = self.batches.order(self.epoch).tolist()
        self.epoch += 1
        return iter(order)


class MappedImages(Dataset[tuple[Tensor, ...]]):
    """Some rows of a memory-mapped array, read and scaled one by one, as a data set for a DataLoader is written."""

    def __init__(self, images: np.ndarray, rows: np.ndarray, labels: Tensor) -> None:
        self.images, self.rows, self.labels = images, rows, labels

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> tuple[Tensor, ...]:
        return torch.from_numpy(np.array(self.images[self.rows[row]])).float().div_(255), self.labels[row]


@dataclass(frozen=True)
class Task:
    """One distillation.

    Args:
        about: what the images are.
        arrays: the images for our lanes, uint8, with labels.
        dataset: the same for a DataLoader.
        batch: images of a batch.
        teacher: frozen, in eval mode.
        student: from which every lane starts.
        epochs: passes over the images.
    """

    about: str
    arrays: Arrays
    dataset: Dataset[tuple[Tensor, ...]]
    batch: int
    teacher: nn.Module
    student: nn.Module
    epochs: int = 1

    @property
    def batches(self) -> Batches:
        """Our batches."""
        return Batches(self.arrays, self.batch)

    @property
    def steps(self) -> int:
        """Steps of all epochs."""
        return self.epochs * len(self.batches)

    @property
    def images(self) -> int:
        """Images that a lane trains on, over all epochs."""
        return self.epochs * len(self.arrays)

    def loader(self) -> DataLoader[tuple[Tensor, ...]]:
        """Return a DataLoader with our order, in this process."""
        return DataLoader(self.dataset, self.batch, sampler=Order(self.dataset, batches=self.batches), num_workers=0)

    def models(self) -> tuple[nn.Module, nn.Module]:
        """Return fresh copies of teacher and student."""
        return copy.deepcopy(self.teacher).eval().requires_grad_(False), copy.deepcopy(self.student)


def networks(teacher: str, student: str, shape: tuple[int, int, int], classes: int) -> tuple[nn.Module, nn.Module]:
    """Build teacher and student from their specifications."""
    torch.manual_seed(0)
    return (
        models.build(teacher, num_classes=classes, input_shape=shape, role="teacher").eval(),
        models.build(student, num_classes=classes, input_shape=shape),
    )


def small(images: int, epochs: int = 1, batch: int = 128) -> Task:
    """Return the task of 28x28 images: Fashion-MNIST where it is to be had, else random ones."""
    try:
        found = fashion_mnist().parts["train"]
        pixels, labels, about = found.column("input")[:images], found.labels[:images], "of Fashion-MNIST"
    except DataError:
        generator = torch.Generator().manual_seed(0)
        pixels = torch.randint(0, 256, (images, 1, 28, 28), generator=generator, dtype=torch.uint8)
        labels = torch.randint(0, 10, (images,), generator=generator)
        about = "of random numbers (Fashion-MNIST was not found)"
    if len(pixels) < images:
        raise SystemExit(f"Fashion-MNIST has {len(pixels):,} training images, {images:,} were asked for.")
    arrays = Arrays({"input": pixels, "label": labels}, classes=tuple("0123456789"), name="small images")
    teacher, student = networks("tutelage:cnn?widths=32,64,128", "tutelage:small-cnn?widths=8,16", (1, 28, 28), 10)
    # Peers get their images as float tensors in memory, so that no conversion is counted against them.
    dataset = TensorDataset(pixels.float().div_(255), labels)
    return Task(f"{images:,} images of 28x28 {about}", arrays, dataset, batch, teacher, student, epochs)


def large(folder: Path, *, stored: int, steps: int, batch: int, side: int = 224) -> Task:
    """Return the task of large images in a memory-mapped file, of which a lane trains on `steps` random batches."""
    path = folder / "images.npy"
    written = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(stored, 3, side, side))
    generator = np.random.default_rng(0)
    for start in range(0, stored, 256):
        rows = min(256, stored - start)
        written[start : start + rows] = np.frombuffer(generator.bytes(rows * 3 * side * side), np.uint8).reshape(rows, 3, side, side)
    written.flush()
    del written
    mapped = np.load(path, mmap_mode="r")
    count = min(steps * batch, stored)
    # A run of so many random images reads as a whole epoch of them all does, and takes minutes instead of hours.
    chosen = np.sort(generator.choice(stored, count, replace=False))
    labels = torch.from_numpy(generator.integers(0, 10, count))
    whole = Arrays({"input": mapped}).subset(chosen)
    arrays = Arrays({"input": whole.column("input"), "label": labels}, classes=tuple("0123456789"), name="large images")
    teacher, student = networks("tutelage:resnet?widths=16,32,64&depth=3", "tutelage:resnet?widths=8,16,32&depth=1", (3, side, side), 10)
    about = f"{count:,} of {stored:,} random images of 3x{side}x{side}, uint8, memory-mapped"
    return Task(about, arrays, MappedImages(mapped, chosen, labels), batch, teacher, student)
