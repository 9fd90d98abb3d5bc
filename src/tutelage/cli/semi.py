"""`tutelage semi`: the user's own images, of which only a few are labelled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tutelage.cli.run import default_directory, show_report
from tutelage.cli.words import fill, value_of
from tutelage.errors import OptionError
from tutelage.recipes import find
from tutelage.train.options import TrainOptions


@dataclass(frozen=True)
class SemiArguments:
    """Which student learns from which images, and which of them have labels."""

    data: str = "digits"
    """A folder of images in any arrangement, with --labels; or a labelled data set, with --per-class."""
    labels: Path | None = None
    """CSV file with the columns path (relative to the folder) and label, for a few of the images."""
    per_class: int | None = None
    """Use this many labels of each class of a labelled data set, as if there were no others."""
    student: str = "tutelage:small-cnn"
    """tutelage:NAME, timm:NAME, hf:NAME, python:module:factory or run:DIR."""
    method: str = "fst"
    """Name of the method."""
    seed: int = 0
    """Seed of everything."""
    out: Path | None = None
    """Run directory; runs/semi by default, numbered when taken."""
    resume: bool = False
    """Go on with the run in the directory."""
    view: str = "crop"
    """Augmentation of what the student sees: none, crop, flip, crop-flip, ..."""
    validation: float = 0.2
    """Share of the labelled images for validation."""
    test: float = 0.2
    """Share of the labelled images for the test."""
    skip_bad: bool = False
    """Leave out images that cannot be read, and count them."""


def semi_(words: Sequence[str]) -> int:
    """Run `tutelage semi`."""
    arguments = SemiArguments()
    slug = value_of(words, "method", arguments.method)
    find.door(slug, "semi")
    recipe: Any = find.module(slug)
    options, train = getattr(recipe, "SEMI", None) or recipe.OPTIONS(), TrainOptions(channels_last="auto")
    text = f"Learn from few labels and many unlabelled images. The options are those of '{slug}'."
    filled = fill("tutelage semi", words, arguments, description=text, options=options, train=train)
    own = filled.own
    if (own.labels is None) == (own.per_class is None):
        raise OptionError("Say which labels there are: --labels FILE.csv for a folder of images, or --per-class N of a labelled data set.")

    from tutelage.recipes.semi import semi

    directory = own.out or default_directory("semi", own.resume)
    report = semi(
        own.student,
        own.data,
        own.per_class if own.labels is None else own.labels,
        method=slug,
        options=filled.options,
        train=filled.train,
        seed=own.seed,
        out=directory,
        resume=own.resume,
        view=None if own.view == "none" else own.view,
        validation=own.validation,
        test=own.test,
        skip_bad=own.skip_bad,
    )
    show_report(report, Path(directory))
    return 0
