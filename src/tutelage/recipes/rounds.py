"""Active learning on your own pool: train, ask an oracle about a few samples, train again; every round is a training of its own."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn

from tutelage import evaluate
from tutelage.data import Arrays, few_labels
from tutelage.errors import OptionError
from tutelage.evaluate import learning_curves
from tutelage.methods.instances.pcoreset import PCoreSet
from tutelage.models import backbone, build
from tutelage.models.dual_head import DualHead
from tutelage.recipes.asking import Asked, Oracle
from tutelage.recipes.instances.pcoreset import ROUND, PCoreSetOptions
from tutelage.recipes.lessons import Learner, guide
from tutelage.recipes.recipe import report_for
from tutelage.report import Report
from tutelage.selection.queries import Rule
from tutelage.selection.queries import rule as named_rule
from tutelage.train.options import TrainOptions
from tutelage.train.run import Run
from tutelage.train.seeds import derive
from tutelage.views import View


@dataclass(frozen=True)
class Round:
    """What one round came to.

    Args:
        number: from 1.
        labels: labelled samples that it learned from.
        queried: original rows that were asked about at its end; empty after the last round.
        classes: how many different classes the answers were of.
        metrics: what was measured of its student.
    """

    number: int
    labels: int
    queried: tuple[int, ...]
    classes: int
    metrics: dict[str, float]


Fit = Callable[[Arrays, Arrays, int], PCoreSet]
"""Trains one round: labelled samples, unlabelled samples and number of the round to the trained method."""


def labelling_rounds(
    fit: Fit,
    pool: Arrays,
    asked: Asked,
    *,
    start: Tensor,
    count: int,
    rounds: int,
    seed: int = 0,
    rule: str | Rule | None = None,
    measure: Callable[[PCoreSet], dict[str, float]] | None = None,
) -> tuple[list[Round], Arrays, PCoreSet]:
    """Train, query, label, and again; the last round only trains.

    Args:
        fit: trains one round.
        pool: all samples; what labels they may have are not looked at.
        asked: answers questions and remembers the answers.
        start: int64 positions that are labelled first.
        count: queries per round.
        rounds: number of trainings, at least 1.
        seed: seed of the rules that use chance.
        rule: which samples to ask about; the method's own if `None`.
        measure: measures the student of every round.

    Returns:
        The rounds, the labelled samples of the last one with their labels, and its method.

    Raises:
        OptionError: if the pool is too small for so many queries.
    """
    check_sizes(len(pool), len(start), count, rounds)
    bare = without_labels(pool)
    mask = torch.zeros(len(pool), dtype=torch.bool)
    mask[start] = True
    history: list[Round] = []
    for number in range(1, rounds + 1):
        labelled = asked.about(bare.subset(mask))
        rest = bare.subset(~mask)
        method = fit(labelled, rest, number)
        metrics = measure(method) if measure else {}
        queried, classes = torch.empty(0, dtype=torch.int64), 0
        if number < rounds:
            if rule is not None:
                method.rule = named_rule(rule)
            chosen = method.query(rest, labelled, count, torch.Generator().manual_seed(derive(seed, number)))
            position = (~mask).nonzero().flatten()[chosen]
            queried = bare.index[position]
            classes = len(set(asked.about(bare.subset(position)).labels.tolist()))
            mask[position] = True
        history.append(Round(number, len(labelled), tuple(queried.tolist()), classes, metrics))
    return history, labelled, method


def check_sizes(pool: int, start: int, count: int, rounds: int) -> None:
    """Refuse rounds that a pool has too few samples for.

    Raises:
        OptionError: unless at least one sample is labelled at first and one stays unlabelled at last.
    """
    if min(start, count, rounds) < 1 or start + count * (rounds - 1) >= pool:
        raise OptionError(
            f"{rounds} rounds with {count} queries each after {start} labels need {start + count * max(rounds - 1, 0) + 1} samples or "
            f"more, all numbers being at least 1; the pool has {pool}. Ask for fewer, or give a larger pool."
        )


def without_labels(pool: Arrays) -> Arrays:
    """Return samples without their labels, so that nothing can look at them; they keep their original rows."""
    columns = {name: column for name, column in pool.columns.items() if name != "label"}
    return Arrays({**columns, "index": pool.index}, pool.classes, pool.name, pool.device)


@dataclass(frozen=True)
class Learned:
    """What active learning came to.

    Args:
        student: the last round's student, which answers logits.
        rounds: what each round came to.
        labelled: the samples that were labelled, with their labels.
        report: the curve over rounds; in `out` too.
    """

    student: DualHead
    rounds: list[Round]
    labelled: Arrays
    report: Report


def active_learning(
    student: str | nn.Module,
    teacher: str | nn.Module | None,
    pool: Arrays,
    test: Arrays | None = None,
    *,
    oracle: Oracle | None = None,
    rounds: int = 15,
    count: int | None = None,
    start: Sequence[int] | None = None,
    options: PCoreSetOptions | None = None,
    refit: dict[str, Any] | None = None,
    train: TrainOptions | None = None,
    passes: int = 200,
    steps: int | None = None,
    view: View | None = None,
    cached_views: int = 0,
    seed: int = 0,
    out: str | Path | None = None,
    resume: bool = False,
    console: Console | None = None,
) -> Learned:
    """Learn with few labels: in each round a student is trained from labels and a teacher, and the labels that it needs most are asked for.

    Args:
        student: backbone by specification, or a module that answers features; every round starts from its weights.
        teacher: zero-shot classifier of the pool's classes: a `models.ZeroShot`, any network or specification that answers logits;
            `None` to learn from labels alone.
        pool: the samples, column `input`, and the names of the classes in `classes`. Labels it has are shown only when they are asked for.
        test: labelled samples on which every round's student is measured.
        oracle: takes samples and returns their labels, int64 `[N]`; the pool's own column `label` if `None`. Its answers are written into
            `out` at once, so that it is not asked again after an interruption.
        rounds: number of trainings.
        count: queries between two trainings; the number of classes if `None`.
        start: positions in the pool to ask about first; if `None`, one at random of every class where the pool has labels, else as many at
            random as there are classes.
        options: options of the method, among them the query rule.
        refit: arguments of `models.few_shot`, to fit the teacher's prototypes to the labels in every round; `{}` for its defaults.
        train: how to train; by default as published (AdamW at 0.001, linear warm-up and decay, batches of 64).
        passes: labelled samples are drawn with replacement, so many times their number in a round.
        steps: optimizer steps of a round, in place of `passes`.
        view: augmentation that teacher and student both see.
        cached_views: with a view, keep the teacher's answers to so many views of each sample; 0 asks it at every step.
        seed: seed of everything.
        out: run directory.
        resume: go on with a run that was left in `out`.
        console: where progress goes.

    Returns:
        The last student, what happened in each round, the labelled samples and the report.

    Raises:
        TutelageError: for anything that cannot work.
    """
    classes = pool.num_classes
    if classes < 2:
        raise OptionError(f"'{pool.name}' names {classes} classes. Give their names: Arrays(columns, classes=(...)).")
    chosen = options or PCoreSetOptions()
    count = classes if count is None else count
    first = torch.as_tensor(list(start)) if start is not None else _first(pool, seed)
    check_sizes(len(pool), len(first), count, rounds)
    torch.manual_seed(seed)
    network, width = backbone(copy.deepcopy(student) if isinstance(student, nn.Module) else student, pool.shape)
    model = DualHead(network, width, classes)
    speaker = None if teacher is None else build(teacher, num_classes=classes, input_shape=pool.shape, role="teacher", classes=pool.classes)
    if speaker is None:
        chosen = replace(chosen, distil="none")
    guided = (
        None
        if chosen.distil == "none" or speaker is None
        else guide(speaker, pool, view=view, cached_views=cached_views, refit=refit, seed=seed)
    )
    config = {
        "options": chosen,
        "rounds": rounds,
        "count": count,
        "start": first.tolist(),
        "passes": passes,
        "steps": steps,
        "refit": refit,
    }
    run = Run(None if out is None else Path(out), config=config, seeds=(seed,), resume=resume, console=console, name="pcoreset")
    learner = Learner(model, guided, chosen, train or ROUND, passes, steps, seed=seed)

    def fit(labelled: Arrays, unlabelled: Arrays, number: int) -> PCoreSet:
        return learner(run, f"round-{number}", labelled, unlabelled)

    def measure(method: PCoreSet) -> dict[str, float]:
        return {} if test is None else evaluate.classification(*evaluate.predictions(method.predict, test))

    asked = Asked(oracle, pool, None if run.directory is None else run.directory / "labels.json")
    history, labelled, method = labelling_rounds(fit, pool, asked, start=first, count=count, rounds=rounds, seed=seed, measure=measure)
    report = _report(run, history, seed)
    if run.directory is not None:
        report.save(run.directory)
    return Learned(method.student, history, labelled, report)


def _first(pool: Arrays, seed: int) -> Tensor:
    if "label" in pool.columns:
        drawn, _ = few_labels(pool.replace(index=torch.arange(len(pool))), 1, seed=seed)
        return drawn.index
    order = torch.randperm(len(pool), generator=torch.Generator().manual_seed(seed))
    return order[: pool.num_classes]


def _report(run: Run, history: list[Round], seed: int) -> Report:
    report = report_for(run, "Active learning with a teacher")
    arm, labels = "student", [entry.labels for entry in history]
    report.add(arm, seed, labels=labels[-1], **history[-1].metrics)
    if "accuracy" in history[-1].metrics:
        curve = [entry.metrics["accuracy"] for entry in history]
        report.add(arm, seed, area=learning_curves.area(curve, labels))
        report.curve("Test accuracy", labels, {arm: curve}, "labels", "accuracy, percent")
    if len(history) > 1:
        coverage = [entry.classes for entry in history[:-1]]
        report.curve("Classes among the queries", labels[:-1], {arm: coverage}, "labels", "classes")
    report.wall_seconds = run.seconds
    return report
