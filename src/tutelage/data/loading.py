"""`load`: any data specification to a checked data set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tutelage.data import (
    bag_folder,
    bag_sets,
    checks,
    embedded,
    factory,
    fashion,
    folder,
    hub,
    image_lists,
    numpy_file,
    orange_texts,
    segmentation_sets,
    table,
    text_sets,
)
from tutelage.data.arrays import Arrays, DataSet
from tutelage.data.source import Source, finish
from tutelage.data.spec import PIXELS, TEXTS, Spec, parse
from tutelage.errors import SpecError


def load(
    spec: str | DataSet | Arrays | tuple[Any, Any] | Callable[[], Any],
    *,
    validation: int | float = 0.1,
    test: int | float = 0.2,
    seed: int = 0,
    skip_bad: bool = False,
) -> DataSet:
    """Load a data set and check that it can be learned from.

    Parts that the source has are taken as they are. Missing ones are cut from its training part, stratified by class (unless every
    pixel has its own).

    Args:
        spec: `digits`, `mnist-5k`, `mnist-10k`, `fashion-mnist[:FOLDER]`, `musk1`, `musk2`, `ucsb`; the texts `20newsgroups`,
            `reuters-r8`, `reuters-r52`; a folder of images or `folder:PATH`; `places205:FOLDER`; a folder of bags,
            `PATH?labels=FILE.csv` or `bags:PATH?labels=FILE.csv`; a file `.npz`, `.csv`, `.jsonl` or `.parquet`; `gta5:FOLDER`,
            `synthia:FOLDER`, `cityscapes:FOLDER` or `voc:FOLDER` with a class for every pixel (see
            `tutelage.data.segmentation_sets.pixel_set`); the texts `pubmed-rct:FOLDER`, `yahoo-answers:FOLDER`, `emotions:FOLDER`,
            `arxiv10:FILE` and `bias-in-bios:FOLDER`; `hf:NAME`; `python:package.module:factory`; each with
            `?option=value&...` of its loader. Or a `DataSet`, `Arrays`, a tuple of inputs and labels, or a function that
            returns one of them.
        validation: number (int) or fraction (float) of samples for a missing validation part.
        test: number or fraction of samples for a missing test part.
        seed: seed of the cut, at least 0.
        skip_bad: leave out bad samples, counted in `DataSet.skipped`, instead of raising.

    Returns:
        The data set.

    Raises:
        SpecError: if the specification names nothing that can be loaded.
        OptionError: for an unknown option (the nearest is offered) or a wrong value.
        DataError: for missing or damaged files, labels out of range, inputs that are not finite, an empty set or
            class, or a single class: it says how many and which is first.
        MissingExtra: if the loader needs a library that is not installed.
    """
    made: Source | Arrays | DataSet
    if isinstance(spec, str):
        parsed = parse(spec)
        made = factory.factory(parsed) if parsed.kind == "python" else _read(parsed, skip_bad=skip_bad)
    elif isinstance(spec, DataSet | Arrays | tuple):
        made = factory.wrap(spec, "data")
    elif callable(spec):
        made = factory.call(spec, getattr(spec, "__qualname__", repr(spec)))
    else:
        raise SpecError(f"Data cannot be loaded from a {type(spec).__name__}: expected a specification, a DataSet, Arrays or a function.")
    if isinstance(made, DataSet):
        if not skip_bad:
            checks.data_set(made)
            return made
        made = Source(made.name, dict(made.parts), list(made.skipped_names))
    elif isinstance(made, Arrays):
        made = Source(made.name, {"train": made})
    return finish(made, validation=validation, test=test, seed=seed, skip_bad=skip_bad)


def _read(spec: Spec, *, skip_bad: bool) -> Source:
    match spec.kind:
        case "folder":
            return folder.image_folder(spec, skip_bad=skip_bad)
        case "places205":
            return image_lists.places205(spec, skip_bad=skip_bad)
        case "bags":
            return bag_folder.bag_folder(spec, skip_bad=skip_bad)
        case "musk1" | "musk2" | "ucsb":
            return bag_sets.bag_set(spec)
        case "npz":
            return numpy_file.npz(spec)
        case "table":
            return table.table(spec)
        case "hf":
            return hub.hugging_face(spec, skip_bad=skip_bad)
    if spec.kind in PIXELS:
        return segmentation_sets.source(spec, skip_bad=skip_bad)
    spec.allow()
    if spec.kind in text_sets.LOADERS:
        return text_sets.LOADERS[spec.kind](spec.path)
    if spec.kind in TEXTS:
        return orange_texts.texts(spec.kind)
    if spec.kind == "fashion-mnist":
        return fashion.fashion_mnist(spec.path if spec.target else None)
    return {"digits": embedded.digits, "mnist-5k": embedded.mnist_5k, "mnist-10k": embedded.mnist_10k}[spec.kind]()
