"""BYOL on ready views and on views made from stored images: the loop of lightly's documentation, and ours with its heads and loss."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from benchmarks.races.tasks import Order
from tutelage import models, views
from tutelage.data import Arrays, Batches
from tutelage.teachers import EMA
from tutelage.train import Batch, Method, Trainer, TrainOptions

MOMENTUM, RATE = 0.99, 0.06
CROP, JITTER, SOLARISED = (0.08, 1.0), (0.4, 0.4, 0.2, 0.1), (0.0, 0.2)
"""Those of lightly's `BYOLTransform`: areas, amounts, and how often each of both views is solarised."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Setting:
    """What is trained.

    Args:
        images: images, or pairs of views.
        batch: those of a batch.
        made: whether views are made in the step, from stored images; else they are there.
    """

    images: int
    batch: int
    made: bool = False

    @property
    def stored(self) -> Tensor:
        """The images, uint8 [N, 3, 32, 32]."""
        return torch.randint(0, 256, (self.images, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)

    @property
    def views(self) -> tuple[Tensor, Tensor]:
        """Both views of all images, float32 [N, 3, 32, 32]."""
        generator = torch.Generator().manual_seed(0)
        image = torch.rand(self.images, 3, 32, 32, generator=generator)
        first, second = (image + 0.1 * torch.rand(image.shape, generator=generator) for _ in range(2))
        return first, second

    @property
    def batches(self) -> Batches:
        """Our batches of images or pairs."""
        if self.made:
            return Batches(Arrays({"input": self.stored}), self.batch, drop_last=True)
        first, second = self.views
        return Batches(Arrays({"input": first, "second": second}), self.batch, drop_last=True)

    def student(self) -> nn.Module:
        """Return backbone, projection and prediction in their starting weights."""
        from lightly.models.modules import BYOLPredictionHead, BYOLProjectionHead

        torch.manual_seed(0)
        backbone = models.build("tutelage:resnet", num_classes=10, input_shape=(3, 32, 32))
        backbone.head = nn.Identity()
        encoder = nn.Sequential(backbone, BYOLProjectionHead(64, 256, 64))
        return nn.ModuleDict({"encoder": encoder, "prediction": BYOLPredictionHead(64, 256, 64)})


def batched_views() -> list[views.View]:
    """Return both views of lightly's documentation for images of 32x32, as ours."""
    made = []
    for solarised in SOLARISED:
        view = views.crop_and_colour(32, scale=CROP, jitter=JITTER, blur_probability=0.0, solarise_probability=solarised)
        made.append(views.Compose([view, views.normalise(MEAN, STD)]))
    return made


class Byol(Method):
    """Each view's prediction is the other view's projection by the average of the student."""

    def __init__(self, student: nn.Module, made: list[views.View] | None = None) -> None:
        from lightly.loss import NegativeCosineSimilarity

        super().__init__()
        self.student, self.made = student, made
        # As in lightly's documentation: the average normalises with the batch's own statistics.
        self.teacher = EMA(student["encoder"], momentum=MOMENTUM, mode="follow", buffers="keep")
        self.distance = NegativeCosineSimilarity()

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        if self.made is None:
            first, second = batch["input"], batch["second"]
        else:
            first, second = (view(batch["input"], self.generator) for view in self.made)
        predicted = [self.student["prediction"](self.student["encoder"](view)) for view in (first, second)]
        target = [self.teacher(view) for view in (first, second)]
        return {"byol": 0.5 * (self.distance(predicted[0], target[1]) + self.distance(predicted[1], target[0]))}


def ours(setting: Setting) -> Callable[[], nn.Module]:
    """Return our trainer's run."""
    student = setting.student()
    options = TrainOptions(epochs=1, batch_size=setting.batch, learning_rate=RATE, momentum=0.0, schedule="constant", accelerator="cpu")
    trainer = Trainer(Byol(student, batched_views() if setting.made else None), setting.batches, options)

    def go() -> nn.Module:
        trainer.fit()
        return student

    return go


class StoredImages(Dataset[list[Tensor]]):
    """Stored images, each opened as torchvision's CIFAR10 opens it and given to a transform."""

    def __init__(self, images: Tensor) -> None:
        from lightly.transforms.byol_transform import BYOLTransform, BYOLView1Transform, BYOLView2Transform

        self.images = images.permute(0, 2, 3, 1).contiguous().numpy()
        self.transform = BYOLTransform(
            BYOLView1Transform(input_size=32, gaussian_blur=0.0), BYOLView2Transform(input_size=32, gaussian_blur=0.0)
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> list[Tensor]:
        from PIL import Image

        made: list[Tensor] = self.transform(Image.fromarray(self.images[row]))
        return made


def lightly(setting: Setting) -> Callable[[], nn.Module]:
    """Return the loop of lightly's documentation (examples, BYOL in PyTorch)."""
    from lightly.loss import NegativeCosineSimilarity
    from lightly.models.utils import deactivate_requires_grad, update_momentum

    student = setting.student()
    average = copy.deepcopy(student["encoder"])
    deactivate_requires_grad(average)
    distance = NegativeCosineSimilarity()
    optimizer = torch.optim.SGD(student.parameters(), lr=RATE)
    dataset: Dataset = StoredImages(setting.stored) if setting.made else TensorDataset(*setting.views)
    order = Order(dataset, batches=setting.batches)
    loader = DataLoader(dataset, setting.batch, sampler=order, drop_last=True, num_workers=0)

    def go() -> nn.Module:
        total = 0.0
        for first, second in loader:
            update_momentum(student["encoder"], average, m=MOMENTUM)
            predicted = [student["prediction"](student["encoder"](view)) for view in (first, second)]
            target = [average(view).detach() for view in (first, second)]
            loss = 0.5 * (distance(predicted[0], target[1]) + distance(predicted[1], target[0]))
            total += loss.detach().item()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        return student

    return go
