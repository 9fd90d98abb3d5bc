"""Your own images, of which only a few are labelled: a student learns from all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn

from tutelage import data as data_module
from tutelage import evaluate, models, views
from tutelage.data import Arrays, Batches, DataSet
from tutelage.data.partly import PartlyLabelled, few_labels_of, partly_labelled
from tutelage.errors import OptionError
from tutelage.recipes import find, roles, trained
from tutelage.recipes.curves import mean_curves
from tutelage.recipes.recipe import SemiSetting, report_for
from tutelage.report import Report
from tutelage.train.options import TrainOptions
from tutelage.train.run import Run
from tutelage.train.supervised import Supervised

FEW = "few labels only"


def semi(
    student: str | nn.Module,
    data: Any,
    labels: str | Path | int,
    *,
    method: str = "fst",
    options: Any = None,
    train: TrainOptions | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    resume: bool = False,
    view: str | Callable[[Tensor, torch.Generator | None], Tensor] | None = "crop",
    validation: float = 0.2,
    test: float = 0.2,
    skip_bad: bool = False,
    console: Console | None = None,
) -> Report:
    """Learn from few labels and many unlabelled images, beside the same student trained on the few labels alone for as many steps.

    Args:
        student: a specification or a live model, which then holds the trained weights.
        data: a folder of images in any arrangement (with a table of `labels`); or a labelled data set, of which only a few labels are used.
        labels: CSV file with the columns `path` and `label`; or the number of labels of each class that are used of a labelled data set.
        method: name of the method.
        options: an instance of the method's options; its defaults for few labels if `None`.
        train: how to train; defaults if `None`. Epochs are those of the unlabelled images.
        seed: seed of everything.
        out: run directory; `None` keeps everything in memory.
        resume: go on with a run that was left in `out`.
        view: augmentation of what the student sees, a name of `tutelage.views` or a function `(images, generator) -> images`.
        validation: share of the labelled images for validation (of a data set: where it has no such part).
        test: share of the labelled images for the test, likewise.
        skip_bad: leave unreadable samples out and count them.
        console: where progress goes; standard error by default.

    Returns:
        The report; it is in `out` too, with `student.safetensors`.

    Raises:
        TutelageError: for anything that cannot work; the message says what to do.
    """
    door = find.door(method, "semi")
    recipe: Any = find.module(method)
    chosen = options or getattr(recipe, "SEMI", None) or recipe.OPTIONS()
    train = train or TrainOptions(channels_last="auto")
    parts, unlabelled, skipped = _parts(data, labels, validation=validation, test=test, seed=seed, skip_bad=skip_bad)
    augment = views.from_name(view) if isinstance(view, str) else view
    roles.build(student, parts, role="student")
    config = {
        "job": "semi",
        "method": method,
        "options": asdict(chosen),
        "student": str(getattr(student, "name", None) or (student if isinstance(student, str) else type(student).__name__)),
        "labelled": parts.fingerprint(),
        "unlabelled": unlabelled.fingerprint(),
        "train": asdict(train),
        "view": view if isinstance(view, str) else getattr(view, "__name__", None),
        "seed": seed,
    }
    run = Run(Path(out) if out else None, config=config, seeds=(seed,), resume=resume, console=console, name="semi")
    if skipped:
        run.say(f"[yellow]{len(skipped)} bad samples were left out[/] ({', '.join(skipped[:3])})")
    run.say(f"{len(parts.train):,} labelled and {len(unlabelled):,} unlabelled images in {parts.num_classes} classes")
    report = report_for(run, f"{method}: {len(parts.train):,} labels and {len(unlabelled):,} unlabelled images of {parts.name}")
    histories = {}
    for arm in (FEW, method):
        fresh = roles.build(student, parts, role="student", seed=seed)
        if arm == FEW:
            rows = torch.arange(len(unlabelled)) % len(parts.train)
            lesson: Any = Supervised(fresh, view=augment)
            batches = Batches(parts.train.subset(rows), train.batch_size, seed=seed, drop_last=True)
        else:
            lesson, batches = door(SemiSetting(fresh, parts.train, unlabelled, train, seed, run, augment), chosen)
        histories[arm] = [run.train(f"seed-{seed}/{arm.replace(' ', '-')}", lesson, batches, train, roles.validation(parts))]
        found = evaluate.classification(*evaluate.predictions(lesson.predict, parts.test))
        if isinstance(getattr(lesson, "teacher", None), nn.Module):
            answers = evaluate.predictions(lesson.teacher, parts.test)
            found["teacher_accuracy"] = evaluate.classification(*answers)["accuracy"]
        report.add(arm, seed, **found, parameters=models.count_parameters(lesson.student))
    report.curve("Validation accuracy", *mean_curves(histories, "accuracy"), "epoch", "accuracy, percent")
    report.claim(f"{method} beats the same student trained on the few labels alone (points).", method, FEW, "accuracy")
    if isinstance(student, nn.Module):
        student.load_state_dict(lesson.student.state_dict())
    report.wall_seconds = run.seconds
    if run.directory is not None:
        trained.save(run.directory, "student", lesson.student, student, parts)
        report.save(run.directory)
    return report


def _parts(
    data: Any, labels: str | Path | int, *, validation: float, test: float, seed: int, skip_bad: bool
) -> tuple[DataSet, Arrays, tuple[str, ...]]:
    """Return the labelled samples in three parts, and the unlabelled ones."""
    if isinstance(labels, int):
        ready = data_module.load(data, validation=validation, test=test, seed=seed, skip_bad=skip_bad)
        few, _ = data_module.few_labels(ready.train, labels, seed=seed)
        rows = torch.isin(ready.train.index, few.index).nonzero()[:, 0].numpy()
        found: PartlyLabelled = few_labels_of(ready.train, rows)
        return DataSet(ready.name, found.labelled, ready.validation, ready.test), found.unlabelled, ready.skipped_names
    if not isinstance(data, str | Path):
        raise OptionError("A table of labels belongs to a folder of images: give data as the path of the folder.")
    found = partly_labelled(data, labels, skip_bad=skip_bad)
    parts = data_module.load(found.labelled, validation=validation, test=test, seed=seed)
    return parts, found.unlabelled, found.skipped
