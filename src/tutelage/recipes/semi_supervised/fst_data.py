"""What the recipe of FST learns from: scenes that it makes, or pictures of the user's own with labels of pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from tutelage import data, models
from tutelage.data import Arrays
from tutelage.data.scenes import digit_scenes
from tutelage.data.segmentation_sets import pixel_set
from tutelage.data.spec import PIXELS, parse
from tutelage.errors import DataError, OptionError, ShapeError
from tutelage.models.unet import UNet
from tutelage.train import Batch, Supervised
from tutelage.views.pairs import JointView

if TYPE_CHECKING:
    from tutelage.recipes.semi_supervised.fst import FSTRecipe


@dataclass(frozen=True)
class Domains:
    """Pictures of one seed.

    Args:
        unlabelled: those that pseudo-labels are made for; labels, if any, are only watched.
        test: those of the reported numbers.
        validation: those of the curves, or `None`.
        source: labelled ones of another domain, or `None`: then nothing adapts.
        few: a few labelled ones of the same domain, or `None`.
    """

    unlabelled: Arrays
    test: Arrays
    validation: Arrays | None = None
    source: Arrays | None = None
    few: Arrays | None = None


def scenes(recipe: FSTRecipe, seed: int) -> Domains:
    """Make clean and textured scenes of digits, by the recipe's numbers."""
    shape = {"size": recipe.size, "classes": recipe.classes, "inverted": recipe.inverted, "roughness": recipe.roughness}
    source = digit_scenes(recipe.labelled, "clean", seed=3 * seed, **shape)  # type: ignore[arg-type]
    target = digit_scenes(recipe.unlabelled + recipe.few, "textured", seed=3 * seed + 1, **shape)  # type: ignore[arg-type]
    held = digit_scenes(recipe.validation + recipe.test, "textured", seed=3 * seed + 2, part="test", **shape)  # type: ignore[arg-type]
    few = target.subset(range(recipe.unlabelled, len(target))) if recipe.few else None
    validation, test = held.subset(range(recipe.validation)), held.subset(range(recipe.validation, len(held)))
    return Domains(target.subset(range(recipe.unlabelled)), test, validation, source, few)


@dataclass(frozen=True)
class Pictures:
    """Pictures of the user's own, as they were read.

    Args:
        labelled: pictures with labels, of the source domain where there is another one.
        pool: pictures without, or of which a few are to be drawn as labelled.
        drawn: whether these few are to be drawn.
        validation: a validation part of its own, or `None`.
        test: a test part of its own, or `None`.
    """

    labelled: Arrays | None
    pool: Arrays
    drawn: bool
    validation: Arrays | None
    test: Arrays | None

    @classmethod
    def read(cls, recipe: FSTRecipe) -> Pictures:
        """Read the recipe's `data` and `target`.

        Raises:
            DataError: if they cannot be read, have no labels of pixels, or do not fit each other.
            OptionError: if there is neither a target nor a number of labelled pictures.
        """
        own, own_unlabelled, own_validation, own_test = _parts(recipe.data, labels=True, skip_bad=recipe.skip_bad)
        if recipe.target:
            target, rest, validation, test = _parts(recipe.target, labels=False, skip_bad=recipe.skip_bad)
            pool = target if rest is None else rest
            _check_alike(recipe, own, pool)
            return cls(own, pool, False, validation, test)
        if own_unlabelled is not None:
            return cls(own, own_unlabelled, False, own_validation, own_test)
        if not 0 < recipe.few < len(own):
            raise OptionError(
                f"All {len(own)} pictures of '{recipe.data}' are labelled. Name the domain to adapt to (--target cityscapes:DIR), list the "
                f"labelled ones ('{recipe.data}?labelled=FILE.txt'), or draw some with --few (1 to {len(own) - 1}, now {recipe.few})."
            )
        return cls(None, own, True, own_validation, own_test)

    def cut(self, recipe: FSTRecipe, seed: int) -> Domains:
        """Return the pictures of a seed: the few that are drawn, and the parts that have to be cut from the unlabelled ones.

        Raises:
            OptionError: if there are too few pictures for the parts, or none with labels for the test.
        """
        missing = {"validation": recipe.validation if self.validation is None else 0, "test": recipe.test if self.test is None else 0}
        if "label" not in self.pool.columns:
            if self.test is None:
                raise OptionError(f"'{self.pool.name}' has neither a test part nor labels to cut one with: give another target.")
            missing["validation"] = 0
        sizes = {name: size for name, size in {**missing, "few": recipe.few if self.drawn else 0}.items() if size}
        left = len(self.pool) - sum(sizes.values())
        if left < 1:
            raise OptionError(f"'{self.pool.name}' has {len(self.pool)} pictures, too few to set {sizes} aside. Lower these.")
        parts = data.split(self.pool, {**sizes, "unlabelled": left}, seed, stratify=False) if sizes else {"unlabelled": self.pool}
        test = self.test or parts["test"]
        validation = self.validation or parts.get("validation")
        few = parts["few"] if self.drawn else None if recipe.target else self.labelled
        return Domains(parts["unlabelled"], test, validation, self.labelled if recipe.target else None, few)


def _parts(spec: str, *, labels: bool, skip_bad: bool) -> tuple[Arrays, Arrays | None, Arrays | None, Arrays | None]:
    """Return training pictures, unlabelled ones where they are listed, and validation and test parts where there are."""
    parsed = parse(spec)
    if parsed.kind in PIXELS:
        found = pixel_set(parsed, labels=labels, skip_bad=skip_bad)
        return found.train, found.unlabelled, None, found.test
    ready = data.load(spec, skip_bad=skip_bad)
    if not ready.train.pixelwise:
        raise DataError(f"'{spec}' has no labels of pixels [N, H, W]. For classes of whole images use: tutelage semi --method fst.")
    return ready.train, None, ready.validation, ready.test


def _check_alike(recipe: FSTRecipe, source: Arrays, target: Arrays) -> None:
    if source.classes != target.classes:
        cure = " Add ?classes=16 to Cityscapes for the classes of SYNTHIA." if 16 in (source.num_classes, target.num_classes) else ""
        raise DataError(
            f"'{recipe.data}' has {source.num_classes} classes, '{recipe.target}' {target.num_classes}: expected the same.{cure}"
        )
    if source.shape[0] != target.shape[0] or (not recipe.crop and source.shape != target.shape):
        raise DataError(
            f"Pictures of '{recipe.data}' have the shape {source.shape}, those of '{recipe.target}' {target.shape}: expected the same. "
            "Give both the same ?size, or cut both with --crop."
        )


class Seen(Supervised):
    """Learning from labels alone, of pictures that are moved together with the labels of their pixels.

    Args:
        student: network that returns logits `[N, C, H, W]`.
        joint: the joint view.
    """

    def __init__(self, student: nn.Module, joint: JointView) -> None:
        super().__init__(student)
        self.joint = joint

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the mean cross-entropy as `ce`."""
        images, label = self.joint(batch["input"], batch["label"], self.generator)
        return super().losses({**batch, "input": images, "label": label})


def network(recipe: FSTRecipe, like: Arrays, seed: int) -> nn.Module:
    """Build the network of all arms: the recipe's U-Net, or the user's own.

    Raises:
        ShapeError: if the user's does not answer with logits of every pixel.
    """
    torch.manual_seed(seed)
    if not recipe.network:
        return UNet(like.num_classes, in_channels=like.shape[0], widths=recipe.widths, standardise=True)
    height, width = (recipe.crop, recipe.crop) if recipe.crop else like.shape[1:]
    made = models.build(recipe.network, num_classes=like.num_classes, input_shape=(like.shape[0], height, width), role="student")
    training = made.training
    with torch.no_grad():
        answer = made.eval()(torch.zeros(1, like.shape[0], height, width))
    made.train(training)
    if not isinstance(answer, Tensor) or answer.shape != (1, like.num_classes, height, width):
        got = list(answer.shape) if isinstance(answer, Tensor) else f"a {type(answer).__name__}"
        raise ShapeError(
            f"'{recipe.network}' answers one picture of {height}x{width} pixels with {got}: expected logits "
            f"{[1, like.num_classes, height, width]}, enlarged to the picture's size."
        )
    return made
