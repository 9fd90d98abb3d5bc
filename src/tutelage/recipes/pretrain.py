"""Your own images, without labels: learn features of them, and leave a backbone that timm or plain PyTorch loads."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn

from tutelage import data as data_module
from tutelage import evaluate, models, views
from tutelage.data import Arrays, DataSet, Images
from tutelage.errors import OptionError
from tutelage.recipes import find
from tutelage.recipes.curves import mean_curves
from tutelage.recipes.recipe import PretrainSetting, report_for
from tutelage.report import Report
from tutelage.train.log import History
from tutelage.train.optim import optimizer_factory, scheduler_factory
from tutelage.train.options import TrainOptions
from tutelage.train.run import Run

UNTRAINED = "untrained"
LIMIT = 10_000
"""Samples of each part at most on which the last probes are fitted and judged."""

_COLLAPSE = {
    "feature_std": ("Standard deviation of the features", "mean over dimensions"),
    "effective_rank": ("Effective rank of the features", "dimensions"),
    "rank_me": ("RankMe of the features", "dimensions"),
    "embedding_std": ("Standard deviation of the embeddings", "mean over dimensions"),
}
_PROBES = {"knn": "Validation accuracy of nearest neighbours", "probe": "Validation accuracy of a linear probe"}


def pretrain(
    backbone: str | nn.Module,
    data: str | DataSet | Arrays | Tensor | Callable[[], Any],
    *,
    method: str = "lejepa",
    options: Any = None,
    train: TrainOptions | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    resume: bool = False,
    view: str | Callable[[Tensor, torch.Generator | None], Tensor] | None = None,
    probe: bool = False,
    validation: float = 0.1,
    test: float = 0.2,
    skip_bad: bool = False,
    console: Console | None = None,
) -> Report:
    """Learn features of images without labels; where there are labels, probes watch.

    `out` gets `backbone.safetensors` (the network's own state dictionary, without a head), `backbone.json` (what it is and how to load it)
    and the report, with the curves of losses, of collapse and of probes.

    Args:
        backbone: a specification (`tutelage:resnet`, `timm:NAME`, `python:module:factory`, see `tutelage.models.backbone`), or a live
            module that answers features, which then holds the trained weights.
        data: a specification of images, with or without labels (see `tutelage.data.images`), images as a tensor, `Arrays`, a `DataSet`,
            or a function that returns one.
        method: name of the method.
        options: an instance of the method's options; its defaults if `None`.
        train: how to train; the method's own defaults if `None`.
        seed: seed of everything.
        out: run directory; `None` keeps everything in memory.
        resume: go on with a run that was left in `out`.
        view: augmentation that replaces the method's own, a name of `tutelage.views` or a function `(images, generator) -> images`.
        probe: fit a linear probe after each epoch too, beside nearest neighbours.
        validation: share of labelled data for validation, where it has none.
        test: share of labelled data for the test, where it has none.
        skip_bad: leave unreadable samples out and count them.
        console: where progress goes; standard error by default.

    Returns:
        The report; it is in `out` too.

    Raises:
        TutelageError: for anything that cannot work; the message says what to do.
    """
    open_door = find.door(method, "pretrain")
    recipe: Any = find.module(method)
    chosen = options or recipe.OPTIONS()
    training = train if train is not None else getattr(recipe, "PRETRAIN", TrainOptions())
    assert isinstance(training, TrainOptions)
    ready = data_module.images(data, validation=validation, test=test, seed=seed, skip_bad=skip_bad)
    augment = views.from_name(view) if isinstance(view, str) else view
    # Everything that can be wrong with the backbone and the training is found out before the first step and the first file.
    optimizer_factory(training), scheduler_factory(training, 1, 1)
    torch.manual_seed(seed)
    network, width = models.backbone(copy.deepcopy(backbone), ready.train.shape)
    classes = 0 if ready.labelled is None else ready.labelled.num_classes
    trial = PretrainSetting(copy.deepcopy(network), width, ready.train, training, seed, Run(console=console), classes, augment)
    open_door(trial, chosen)
    config = {
        "job": "pretrain",
        "method": method,
        "options": asdict(chosen),
        "backbone": _name(backbone),
        "data": _name(data),
        "data_fingerprint": ready.train.fingerprint(),
        "train": asdict(training),
        "view": _name(view),
        "probe": probe,
        "seed": seed,
    }
    run = Run(Path(out) if out else None, config=config, seeds=(seed,), resume=resume, console=console, name="pretrain")
    if ready.skipped_names:
        first = ", ".join(ready.skipped_names[:3]) + (", ..." if len(ready.skipped_names) > 3 else "")
        run.say(f"[yellow]{len(ready.skipped_names)} bad samples were left out[/] ({first})")
    torch.manual_seed(seed)
    lesson, batches = open_door(PretrainSetting(network, width, ready.train, training, seed, run, classes, augment), chosen)
    report = report_for(run, f"{method}: {_name(backbone)} learns features of {ready.name}")
    judge = _judge(ready)
    report.add(UNTRAINED, seed, **judge(lesson.student))
    seen = f"{len(ready.train):,} images" + ("" if ready.labelled is None else ", whose labels only watch")
    run.say(f"Training '{method}' ({models.count_parameters(network):,} parameters, {width} features, {training.epochs} epochs, {seen})")
    held = None if ready.labelled is None else ready.labelled.validation
    watch = evaluate.Watch(ready.train, held, probe=probe, embedding=getattr(type(lesson), "embedding", None))
    history = run.train("training", lesson, batches, training, watch, seed=seed)
    report.add(method, seed, **judge(lesson.student), parameters=models.count_parameters(lesson.student), features=width)
    _draw(report, method, history)
    _conclude(report, method, labelled=ready.labelled is not None)
    if isinstance(backbone, nn.Module):
        models.bare(backbone).load_state_dict(models.bare(lesson.student).state_dict())
    report.wall_seconds = run.seconds
    if run.directory is not None and run.fabric(training).is_global_zero:
        models.save_backbone(run.directory, lesson.student, backbone, input_shape=ready.train.shape, width=width)
        report.save(run.directory)
    return report


def _judge(ready: Images) -> Callable[[nn.Module], dict[str, float]]:
    """Return what measures a backbone at the end: on held-out test data where there are labels, else on the images themselves."""
    seen = _sample(ready.train)
    other = None if ready.labelled is None else _sample(ready.labelled.test)

    def judge(network: nn.Module) -> dict[str, float]:
        found = evaluate.features(network, seen["input"])
        values = {"rank_me": evaluate.rank_me(found), **evaluate.collapse(found)}
        if other is not None:
            parts = (found, seen["label"].to(found.device), evaluate.features(network, other["input"]), other["label"].to(found.device))
            values["accuracy"] = evaluate.linear_probe(*parts)
            values["knn"] = evaluate.nearest_neighbours(*parts)
        return values

    return judge


def _sample(arrays: Arrays) -> dict[str, Any]:
    number = min(LIMIT, len(arrays))
    return arrays.gather(torch.arange(number) * len(arrays) // number)


def _draw(report: Report, method: str, history: History) -> None:
    watched = {*_COLLAPSE, *_PROBES, "embedding_rank", "epoch", "step"}
    losses = [name for name in history.epochs[0] if name not in watched] if history.epochs else []
    rows = range(1, len(history.epochs) + 1)
    report.curve("Losses", rows, {name: history.series(name) for name in losses if len(history.series(name)) == len(rows)}, "epoch", "loss")
    for name, (title, unit) in _COLLAPSE.items():
        if history.series(name):
            report.curve(title, *mean_curves({method: [history]}, name), "epoch", unit)
    for name, title in _PROBES.items():
        if history.series(name):
            report.curve(title, *mean_curves({method: [history]}, name), "epoch", "accuracy, percent")


def _conclude(report: Report, method: str, *, labelled: bool) -> None:
    if labelled:
        report.claim("A linear probe of the features beats one of the untrained backbone (points).", method, UNTRAINED, "accuracy")
        report.note(
            "Accuracies are those of a linear probe and of 20 nearest neighbours on the test part; no label took part in the training."
        )
    rank, spread = report.mean(method, "effective_rank"), report.mean(method, "feature_std")
    if rank < 3 or spread < 1e-3:
        report.note(
            f"The features have collapsed: their effective rank is {rank:.1f} and their standard deviation {spread:.2g}. "
            "Raise what keeps them apart (for lejepa its weight), lower the learning rate, or take larger batches."
        )


def _name(thing: Any) -> str | None:
    if thing is None or isinstance(thing, str):
        return thing
    return str(getattr(thing, "name", None) or getattr(thing, "__name__", None) or type(thing).__name__)


def check_views(network: nn.Module, groups: list[Tensor], cure: str) -> None:
    """Refuse views that a backbone does not take.

    Args:
        network: the backbone; it is left as it was.
        groups: views of a few images, one tensor `[N, C, H, W]` of each size.
        cure: what to do, for the message.

    Raises:
        OptionError: for the first size that it cannot run on.
    """
    for images in groups:
        try:
            evaluate.features(network, images)
        except Exception as error:
            first = (str(error).strip().splitlines() or ["no message"])[0]
            size = "x".join(map(str, images.shape[-2:]))
            raise OptionError(f"The backbone cannot run on views of {size} pixels ({type(error).__name__}: {first}) {cure}") from error
