"""Printed digits: a teacher that saw nothing but print, and handwritten digits, upright and turned, on which it must do."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tutelage import data, models, views
from tutelage import losses as L
from tutelage.data import Arrays
from tutelage.data.glyphs import glyphs
from tutelage.models.zero_shot import ZeroShot, cosine_logits, prototypes
from tutelage.recipes.instances.pcoreset import ROUND
from tutelage.train import Batch, Method, Run


def turn(arrays: Arrays, seed: int, *, side: int, turned: bool) -> Arrays:
    """Return images averaged down to a side, every other one of each class turned by 90 degrees and of a class of its own.

    Args:
        arrays: square images, their side a multiple of `side`; labels.
        seed: seed of which are turned.
        side: pixels.
        turned: whether any are.
    """
    batch = arrays.gather()
    images, label = batch["input"], batch["label"]
    if images.shape[-1] != side:
        images = F.interpolate(images, size=(side, side), mode="area")
    names = arrays.classes
    if turned:
        order = torch.randperm(len(label), generator=torch.Generator().manual_seed(seed))
        rank = torch.empty_like(order)
        by_class = order[label[order].argsort(stable=True)]
        rank[by_class] = torch.arange(len(label))
        half = rank % 2 == 1
        images = torch.where(half[:, None, None, None], images.rot90(1, (2, 3)), images)
        label = label + half * len(names)
        names = (*names, *(f"{name} turned" for name in names))
    return Arrays({"input": images.contiguous(), "label": label}, names, arrays.name)


class Matching(Method):
    """Teaches an encoder to match distorted pictures with clean ones of their class, as a contrastive model matches pictures with prompts.

    Batch:
        input: distorted by `view`, float32 `[N, C, H, W]`.
        label: int64 `[N]`.

    Args:
        encoder: from images to features.
        clean: clean pictures `[F, T, C, H, W]`, one per font and class.
        view: distortion.
        scale: of the cosines.
        fonts: drawn for the prototypes of a step.
    """

    clean: Tensor

    def __init__(self, encoder: nn.Module, clean: Tensor, view: views.View, *, scale: float, fonts: int = 4) -> None:
        super().__init__()
        self.student = encoder
        self.view = view
        self.scale = scale
        self.fonts = fonts
        self.register_buffer("clean", clean, persistent=False)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy of the cosines with this step's prototypes as `"match"`."""
        drawn = torch.randperm(len(self.clean), generator=self.generator)[: self.fonts]
        clean = self.clean[drawn]
        seen = self.view(batch["input"], self.generator)
        features = F.normalize(self.student(torch.cat([seen, clean.flatten(0, 1)])), dim=1)
        prompts = features[len(seen) :].reshape(len(drawn), clean.shape[1], -1).mean(0)
        return {"match": L.mean(L.cross_entropy(cosine_logits(features[: len(seen)], prompts, self.scale), batch["label"]))}


def print_teacher(
    run: Run,
    name: str = "teacher",
    *,
    side: int,
    turned: bool,
    widths: tuple[int, ...],
    width: int,
    steps: int,
    scale: float,
    seed: int = 0,
) -> ZeroShot:
    """Train a network on distorted printed digits and return it with prototypes of clean print, which play the part of text prompts.

    Args:
        run: the run.
        name: the training's path inside it.
        side: side of the images in pixels.
        turned: whether digits turned by 90 degrees are classes too.
        widths: channels of its convolutions.
        width: number of its features.
        steps: optimizer steps.
        scale: of the cosines, in training and afterwards.
        seed: seed of weights and distortions.
    """
    clean = torch.from_numpy(glyphs("0123456789", size=2 * side)).float() / 255
    names = tuple("0123456789")
    if turned:
        clean = torch.cat([clean, clean.rot90(1, (-2, -1))], 1)
        names = (*names, *(f"{name} turned" for name in names))
    label = torch.arange(len(names)).repeat(len(clean))
    large = clean.flatten(0, 1).contiguous()
    clean = F.avg_pool2d(large, 2).reshape(*clean.shape[:3], side, side)
    distort = views.random_affine(25.0, shift=0.15, scale=0.3)
    noise = views.gaussian_noise(0.1)

    def view(images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        # Distorted before they are scaled down, so that strokes stay smooth.
        return noise(F.avg_pool2d(distort(images, generator), 2), generator)

    torch.manual_seed(seed)
    encoder = models.cnn(num_classes=width, widths=widths, grid=3)
    method = Matching(encoder, clean, view, scale=scale)
    batches = data.Batches(data.Arrays({"input": large, "label": label}, names, "print"), 128, seed=seed, draws=128 * steps)
    run.train(name, method, batches, replace(ROUND, learning_rate=2e-3, schedule="cosine", warmup=0.0))
    encoder.eval()
    with torch.no_grad():
        return ZeroShot(encoder, prototypes(encoder(clean.flatten(0, 1)), label), scale=scale).eval()
