"""Images a second of batched views, against torchvision's transforms applied image by image, as a Dataset of most scripts does."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks.measure import Row, paired_ratio, take_turns
from tutelage import views
from tutelage.views.mixing import class_mask, paste

BATCH, ROUNDS = 128, 5
JITTER, BLUR = (0.4, 0.4, 0.2, 0.1), 0.5
CLASSES = 8


class PerSample(Dataset[Any]):
    """Stored images, each changed by itself when it is asked for."""

    def __init__(self, images: Any, change: Callable[[Any], Any]) -> None:
        self.images, self.change = images, change

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> Any:
        return self.change(self.images[row])


def through_loader(images: Any, change: Callable[[Any], Any]) -> Callable[[], None]:
    """Return an epoch of a DataLoader in this process."""

    def go() -> None:
        for _ in DataLoader(PerSample(images, change), BATCH, num_workers=0):
            pass

    return go


def by_batch(images: Tensor, change: Callable[[Tensor, torch.Generator], object]) -> Callable[[], None]:
    """Return an epoch of views of whole batches, from the same stored images."""
    generator = torch.Generator().manual_seed(0)

    def go() -> None:
        for part in torch.split(images, BATCH):
            change(part.float().div_(255), generator)

    return go


def usual(size: int, scale: tuple[float, float], *, to_tensor: bool = False) -> Callable[[Any], Tensor]:
    """Return torchvision's form of `views.crop_and_colour`, on uint8 until its end, which is its fastest way."""
    from torchvision.transforms import v2

    return v2.Compose(  # type: ignore[no-any-return]
        [
            v2.RandomResizedCrop(size, scale=scale),
            v2.RandomHorizontalFlip(),
            v2.RandomApply([v2.ColorJitter(*JITTER)], 0.8),
            v2.RandomGrayscale(0.2),
            v2.RandomApply([v2.GaussianBlur(max(3, size // 10 | 1), (0.1, 2.0))], BLUR),
            v2.RandomSolarize(128, 0.2),
            *([v2.ToImage()] if to_tensor else []),
            v2.ToDtype(torch.float32, scale=True),
        ]
    )


def pictures(number: int, channels: int, side: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (number, channels, side, side), generator=generator, dtype=torch.uint8)


Case = tuple[str, int, Callable[[], None], dict[str, Callable[[], None]]]
"""What is made, of how many images, ours, and the others by name."""


def small() -> Iterator[Case]:
    """Yield the crop and flip of small grey images."""
    from torchvision.transforms import v2

    images = pictures(6400, 1, 28)
    ours = views.Compose([views.random_crop(padding=3), views.horizontal_flip()])
    theirs = v2.Compose([v2.RandomCrop(28, padding=3), v2.RandomHorizontalFlip(), v2.ToDtype(torch.float32, scale=True)])
    yield "crop, flip of 28x28", len(images), by_batch(images, ours), {"tensors": through_loader(images, theirs)}


def coloured() -> Iterator[Case]:
    """Yield the view of self-supervised learning at two sizes, and many of it."""
    from PIL import Image

    for side, number in ((32, 1280), (96, 512)):
        images = pictures(number, 3, side)
        opened = [Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()) for image in images]
        theirs = {
            "tensors": through_loader(images, usual(side, views.GLOBAL_SCALE)),
            "PIL images": through_loader(opened, usual(side, views.GLOBAL_SCALE, to_tensor=True)),
        }
        ours = by_batch(images, views.crop_and_colour(blur_probability=BLUR))
        yield f"crop, flip, colour, grey, blur of 3x{side}x{side}", number, ours, theirs
    images = pictures(128, 3, 96)
    crops = views.MultiCrop(views.crop_and_colour(), views.crop_and_colour(48, scale=views.LOCAL_SCALE), wide_count=2, narrow_count=6)
    wide, narrow = usual(96, views.GLOBAL_SCALE), usual(48, views.LOCAL_SCALE)

    def each(image: Tensor) -> list[Tensor]:
        return [*(wide(image) for _ in range(2)), *(narrow(image) for _ in range(6))]

    yield "multi-crop, 2 of 96x96 and 6 of 48x48", len(images), by_batch(images, crops), {"tensors": through_loader(images, each)}


def mixed() -> Iterator[Case]:
    """Yield ClassMix of images and of their labels, against the masks of its authors' code."""
    generator = torch.Generator().manual_seed(1)
    images, others = pictures(512, 3, 96), pictures(512, 3, 96).flip(0)
    labels, other_labels = (
        torch.randint(0, CLASSES, (512, 6, 6), generator=generator).repeat_interleave(16, 1).repeat_interleave(16, 2) for _ in range(2)
    )

    def ours() -> None:
        for first, second, label, other in zip(*(torch.split(each, BATCH) for each in (images, others, labels, other_labels)), strict=True):
            mask = class_mask(label, CLASSES, generator)
            paste(mask, first.float().div_(255), second.float().div_(255)), paste(mask, label, other)

    def one(row: int) -> tuple[Tensor, Tensor]:
        first, second = (each[row].float().div_(255) for each in (images, others))
        present = torch.unique(labels[row])
        chosen = present[torch.randperm(len(present))[: (len(present) + 1) // 2]]
        mask = (labels[row] == chosen[:, None, None]).sum(0)
        return mask * first + (1 - mask) * second, mask * labels[row] + (1 - mask) * other_labels[row]

    yield "ClassMix of 3x96x96", 512, ours, {"its authors' masks": through_loader(range(512), one)}


def rows() -> Iterator[Row]:
    torch.set_num_threads(1)
    for cases in (small, coloured, mixed):
        for name, number, ours, theirs in cases():
            taken = take_turns(ours, *theirs.values(), rounds=ROUNDS)
            for what, seconds in zip(theirs, taken[1:], strict=True):
                ratio = paired_ratio(seconds, taken[0])
                speeds = [number / statistics.median(each) for each in (taken[0], seconds)]
                who = what if what.startswith("its") else f"torchvision on {what}"
                yield Row(f"{name}, by the batch against {who}, one by one", *speeds, "images/s", ratio, ">= 1", ratio >= 1)
