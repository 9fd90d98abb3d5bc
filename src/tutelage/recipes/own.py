"""Your own teacher, student and data: distil one into the other, compare methods, ship the student."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from rich.console import Console
from torch import Tensor, nn

from tutelage import data as data_module
from tutelage import models, views
from tutelage.data import Batches, DataSet
from tutelage.data.verifiable import MARKER, Reward
from tutelage.errors import OptionError
from tutelage.recipes import find, roles, trained
from tutelage.recipes.bench import Bench, keep, ship_student
from tutelage.recipes.recipe import Setting, report_for
from tutelage.report import Report
from tutelage.teachers import Frozen, Stored
from tutelage.train.method import Method
from tutelage.train.optim import optimizer_factory, scheduler_factory
from tutelage.train.options import TrainOptions
from tutelage.train.run import Run
from tutelage.train.supervised import Supervised

if TYPE_CHECKING:
    from tutelage.store import Store

ALONE = "student alone"


def distill(
    teacher: str | nn.Module | Any,
    student: str | nn.Module,
    data: str | DataSet | Callable[[], Any],
    *,
    method: str = "hinton",
    options: Any = None,
    train: TrainOptions | None = None,
    seeds: Sequence[int] = (0,),
    out: str | Path | None = None,
    resume: bool = False,
    view: str | Callable[[Tensor, torch.Generator | None], Tensor] | None = None,
    train_teacher: bool = False,
    teacher_epochs: int | None = None,
    teacher_classes: str | None = None,
    teacher_engine: str = "eager",
    validation: float = 0.1,
    test: float = 0.2,
    skip_bad: bool = False,
    ship: bool = True,
    reward: str | Reward | None = None,
    marker: str = MARKER,
    lora: int = 0,
    samples: int = 1,
    console: Console | None = None,
) -> Report:
    """Teach a student with a teacher on your data, beside the same student trained alone on the same budget.

    Args:
        teacher: a specification (`timm:resnet50?pretrained=true`, `onnx:FILE`, `run:DIR`, ...), `store:DIR` for the answers of a
            teacher that `tutelage label` kept, a live model, or a fitted scikit-learn classifier. A `tutelage:` network
            without weights is trained on the labels first.
        student: a specification or a live model, which then holds the trained weights of the first seed.
        data: a specification (`digits`, a folder, a table, ...), a `DataSet`, or a function that returns one.
        method: name of the method.
        options: an instance of the method's options (`tutelage.recipes...OPTIONS`); its defaults if `None`.
        train: how to train; defaults if `None`.
        seeds: one student per seed.
        out: run directory; `None` keeps everything in memory and ships nothing.
        resume: go on with a run that was left in `out`.
        view: augmentation of images, a name of `tutelage.views` or a function `(images, generator) -> images`.
        train_teacher: train the teacher on the labels first, whatever its specification; a live one in place.
        teacher_epochs: epochs of the teacher's training; those of the student if `None`.
        teacher_classes: the teacher's classes in the order of its outputs, where that is not the data's order.
        teacher_engine: how a frozen teacher is run: `eager`, `folded`, `compile`, `onnxruntime`, or `auto` for the fastest that agrees.
        validation: share of the data for validation, where it has none.
        test: share of the data for the test, where it has none.
        skip_bad: leave unreadable samples out and count them.
        ship: export the student as ONNX and int8 into `out`.
        reward: of methods that teach language models on prompts, as are the next three: a function `(response, row) -> number`, or
            `python:package.module:function`; by default 1 for the row's `answer`. For these methods, teacher, student and data are what
            `tutelage.recipes.language.own.distill` says.
        marker: what stands before the final answer in a response.
        lora: rank of low-rank adapters that learn in place of all weights; 0 for all weights.
        samples: answers to each test prompt.
        console: where progress goes; standard error by default.

    Returns:
        The report; it is in `out` too.

    Raises:
        TutelageError: for anything that cannot work; the message says what to do.
    """
    prompted: dict[str, Any] = {"reward": reward, "marker": marker, "lora": lora, "samples": samples}
    if hasattr(find.module(method), "prompts"):
        from tutelage.recipes.language import own as language

        if view is not None or train_teacher or teacher_epochs or teacher_classes or teacher_engine != "eager":
            raise OptionError(f"'{method}' learns from prompts: it has no view, and no training, classes or engine of its teacher.")
        shared: dict[str, Any] = {"out": out, "resume": resume, "validation": validation, "test": test, "skip_bad": skip_bad}
        return language.distill(
            cast(Any, teacher),
            cast(Any, student),
            cast(Any, data),
            method=method,
            options=options,
            train=train,
            seeds=seeds,
            console=console,
            **shared,
            **prompted,
        )
    if prompted != {"reward": None, "marker": MARKER, "lora": 0, "samples": 1}:
        raise OptionError(f"'{method}' does not learn from prompts, so it has no {', '.join(prompted)}.")
    given = {k: v for k, v in locals().items() if k not in ("method", "options", "prompted", *prompted)}
    return _teach([method], {method: options}, **given)


def compare(
    methods: Sequence[str],
    teacher: str | nn.Module | Any,
    student: str | nn.Module,
    data: str | DataSet | Callable[[], Any],
    *,
    options: dict[str, Any] | None = None,
    train: TrainOptions | None = None,
    seeds: Sequence[int] = (0,),
    out: str | Path | None = None,
    resume: bool = False,
    view: str | Callable[[Tensor, torch.Generator | None], Tensor] | None = None,
    train_teacher: bool = False,
    teacher_epochs: int | None = None,
    teacher_classes: str | None = None,
    teacher_engine: str = "eager",
    validation: float = 0.1,
    test: float = 0.2,
    skip_bad: bool = False,
    console: Console | None = None,
) -> Report:
    """Train one student per method and seed on the same data and budget, and put all into one table.

    Args:
        methods: names of methods.
        teacher: as for `distill`; every method gets a copy of its own.
        student: as for `distill`; every arm of a seed starts from the same weights.
        data: as for `distill`.
        options: instances of the methods' options by name, where they are not the defaults.
        train: how to train every arm.
        seeds: one student per method and seed.
        out: run directory.
        resume: go on with a run that was left in `out`.
        view: augmentation of images.
        train_teacher: train the teacher on the labels first.
        teacher_epochs: epochs of the teacher's training.
        teacher_classes: the teacher's classes in the order of its outputs.
        teacher_engine: as for `distill`.
        validation: share of the data for validation.
        test: share of the data for the test.
        skip_bad: leave unreadable samples out and count them.
        console: where progress goes.

    Returns:
        The report.

    Raises:
        TutelageError: for anything that cannot work.
    """
    return _teach(list(methods), options or {}, ship=False, **{k: v for k, v in locals().items() if k not in ("methods", "options")})


def _teach(
    methods: list[str],
    options: dict[str, Any],
    *,
    teacher: Any,
    student: Any,
    data: Any,
    train: TrainOptions | None,
    seeds: Sequence[int],
    out: str | Path | None,
    resume: bool,
    view: Any,
    train_teacher: bool,
    teacher_epochs: int | None,
    teacher_classes: str | None,
    teacher_engine: str,
    validation: float,
    test: float,
    skip_bad: bool,
    ship: bool,
    console: Console | None,
) -> Report:
    doors = {name: find.door(name) for name in methods}
    chosen = {name: options.get(name) or find.module(name).OPTIONS() for name in methods}
    train = train or TrainOptions(channels_last="auto")
    ready = data_module.load(data, validation=validation, test=test, seed=min(seeds), skip_bad=skip_bad)
    _ = ready.train.labels  # refuses those of pixels
    if roles.is_stored(teacher):
        view = roles.view_of_store(teacher, view)
    augment = views.from_name(view) if isinstance(view, str) else view
    # Everything that can be wrong with the models and the training is found out before the first step and the first file.
    taught: nn.Module
    if roles.is_stored(teacher):
        if train_teacher or teacher_classes or teacher_engine != "eager":
            raise OptionError(
                f"{teacher} holds answers, not a network: --train-teacher, --teacher-classes and --teacher-engine are for labelling."
            )
        taught = roles.stored(teacher, ready, augment)
        for name in methods:
            roles.check_stored(name, find.module(name), chosen[name], cast("Store", taught.store))
    else:
        taught = roles.build(teacher, ready, role="teacher", seed=min(seeds), class_names=teacher_classes)
    for name in methods if isinstance(taught, Stored) or teacher_engine != "eager" else ():
        roles.check_still(name, find.module(name), chosen[name])
    roles.build(student, ready, role="student")
    optimizer_factory(train), scheduler_factory(train, 1, 1)
    config = {
        "job": "distill" if ship else "compare",
        "methods": {name: asdict(o) for name, o in chosen.items()},
        "teacher": _name(teacher),
        "student": _name(student),
        "data": _name(data),
        "data_fingerprint": ready.fingerprint(),
        "train": asdict(train),
        "teacher_epochs": teacher_epochs,
        "teacher_classes": teacher_classes,
        "teacher_engine": teacher_engine,
        "view": _name(view),
        "seeds": list(seeds),
    }
    run = Run(Path(out) if out else None, config=config, seeds=seeds, resume=resume, console=console, name="distill" if ship else "compare")
    if ready.skipped:
        first = ", ".join(ready.skipped_names[:3]) + (", ..." if ready.skipped > 3 else "")
        run.say(f"[yellow]{ready.skipped} bad samples were left out[/] ({first})")
    if train_teacher or roles.untrained(teacher, ready, teacher_classes):
        roles.train_teacher(run, taught, ready, replace(train, epochs=teacher_epochs or train.epochs), seed=min(seeds), view=augment)
        if run.directory is not None:
            trained.save(run.directory, "teacher", taught, teacher, ready, class_order=teacher_classes is not None)
    report = report_for(run, f"{', '.join(methods)}: {_name(teacher)} teaches {_name(student)} on {ready.name}")
    bench = Bench(ready, report, taught)
    for seed in run.seeds:
        bench.measure("teacher", seed, taught)
        for arm in [ALONE, *methods]:
            fresh = roles.build(student, ready, role="student", seed=seed)
            run.say(f"Training '{arm}', seed {seed} ({models.count_parameters(fresh):,} parameters, {train.epochs} epochs)")
            own = copy.deepcopy(taught)
            if teacher_engine != "eager" and not isinstance(own, Stored):
                own = Frozen(own, engine=teacher_engine)
            setting = Setting(own, fresh, ready, train, seed, run, own.view if isinstance(own, Stored) else augment)
            if arm == ALONE:
                lesson: tuple[Method, Batches] = Supervised(fresh, view=augment), Batches(ready.train, train.batch_size, seed=seed)
            else:
                lesson = doors[arm](setting, chosen[arm])
            history = run.train(f"seed-{seed}/{arm.replace(' ', '-')}", *lesson, train, roles.validation(ready))
            bench.measure(arm, seed, lesson[0].student, history)
            if arm == methods[-1] and seed == run.seeds[0]:
                keep(run, lesson[0].student, student, ready)
                if ship and run.directory is not None:
                    ship_student(run, lesson[0].student, ready, report, arm)
    for arm in methods:
        report.claim(f"{arm} beats the same student trained alone (test accuracy, points)", arm, ALONE, "accuracy")
    bench.draw()
    report.wall_seconds = run.seconds
    if run.directory is not None:
        report.save(run.directory)
    return report


def _name(thing: Any) -> str | None:
    if thing is None or isinstance(thing, str):
        return thing
    return str(getattr(thing, "name", None) or getattr(thing, "__name__", None) or type(thing).__name__)


def options_from(method: str, **values: Any) -> Any:
    """Return a method's options with some of them changed.

    Args:
        method: name of the method.
        **values: options by name.

    Raises:
        OptionError: for an option that the method does not have.
    """
    from dataclasses import fields

    from tutelage.errors import nearest

    kind = find.module(method).OPTIONS
    known = [field.name for field in fields(kind)]
    for name in values:
        if name not in known:
            raise OptionError(f"'{method}' has no option '{name}'.{nearest(name, known)}")
    return kind(**values)
