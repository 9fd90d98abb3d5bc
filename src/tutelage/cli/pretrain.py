"""`tutelage pretrain`: features of the user's own images, without labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tutelage.cli.run import default_directory, show_report
from tutelage.cli.words import fill, value_of
from tutelage.recipes import find
from tutelage.train.options import TrainOptions


@dataclass(frozen=True)
class PretrainArguments:
    """Which network learns features of which images, and how."""

    method: str = "lejepa"
    """Name of the method; 'tutelage list' shows all, those of the family self_supervised can."""
    data: str = "digits"
    """A folder of images in any arrangement, FILE.npz of images, digits, mnist-5k, fashion-mnist, hf:NAME, python:module:factory, ..."""
    backbone: str = "tutelage:resnet"
    """tutelage:NAME, timm:NAME, or python:module:factory; its head is left out."""
    seed: int = 0
    """Seed of everything."""
    out: Path | None = None
    """Run directory; runs/pretrain by default, numbered when taken."""
    resume: bool = False
    """Go on with the run in the directory."""
    view: str = "none"
    """Augmentation in place of the method's own: crop-flip, affine, ...; none keeps the method's own."""
    watch_probe: bool = False
    """Fit a linear probe after each epoch too, beside nearest neighbours, where there are labels."""
    validation: float = 0.1
    """Share of labelled data for validation, where it has none."""
    test: float = 0.2
    """Share of labelled data for the test, where it has none."""
    skip_bad: bool = False
    """Leave out samples that cannot be read, and count them."""


def pretrain_(words: Sequence[str]) -> int:
    """Run `tutelage pretrain`."""
    arguments = PretrainArguments()
    slug = value_of(words, "method", arguments.method)
    find.door(slug, "pretrain")
    recipe = find.module(slug)
    options, train = recipe.OPTIONS(), getattr(recipe, "PRETRAIN", TrainOptions())
    text = f"Learn features of your images without labels. The options are those of '{slug}'."
    filled = fill("tutelage pretrain", words, arguments, description=text, options=options, train=train)

    from tutelage.recipes.pretrain import pretrain

    own = filled.own
    directory = own.out or default_directory("pretrain", own.resume)
    report = pretrain(
        own.backbone,
        own.data,
        method=slug,
        options=filled.options,
        train=filled.train,
        seed=own.seed,
        out=directory,
        resume=own.resume,
        view=None if own.view == "none" else own.view,
        probe=own.watch_probe,
        validation=own.validation,
        test=own.test,
        skip_bad=own.skip_bad,
    )
    show_report(report, Path(directory))
    print(f"Backbone: {Path(directory) / 'backbone.safetensors'} (how to load it: backbone.json)")
    return 0
