"""`tutelage distill` and `tutelage compare`: the user's own teacher, student and data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from tutelage.cli.run import default_directory, show_report
from tutelage.cli.words import fill, value_of
from tutelage.recipes import find
from tutelage.recipes.recipe import PROMPT_TRAIN
from tutelage.train.options import TrainOptions


@dataclass(frozen=True)
class ModelArguments:
    """Who teaches whom on what."""

    teacher: str = "tutelage:cnn"
    """tutelage:NAME, timm:NAME, hf:NAME, onnx:FILE, sklearn:FILE, python:module:factory, run:DIR or store:DIR."""
    student: str = "tutelage:small-cnn"
    """The same forms, but store:DIR."""
    data: str = "digits"
    """digits, mnist-5k, mnist-10k, fashion-mnist, a folder of images, FILE.npz, FILE.csv?label=COLUMN, hf:NAME, python:module:factory."""
    seed: int = 0
    """First seed."""
    seeds: int = 1
    """How many seeds, from the first."""
    out: Path | None = None
    """Run directory; runs/distill by default, numbered when taken."""
    resume: bool = False
    """Go on with the run in the directory."""
    view: str = "none"
    """Augmentation of training images: none, crop, flip, crop-flip, ..."""
    train_teacher: bool = False
    """Train the teacher on the labels first (a tutelage: network without weights always is)."""
    teacher_epochs: int | None = None
    """Epochs of the teacher's training; those of the student by default."""
    teacher_classes: str | None = None
    """The teacher's classes in the order of its outputs, by commas or as a file, where that is not the data's order."""
    teacher_engine: str = "eager"
    """How a frozen teacher is run: eager, folded, compile, onnxruntime, or auto for the fastest that agrees."""
    validation: float = 0.1
    """Share of the data for validation, where it has none."""
    test: float = 0.2
    """Share of the data for the test, where it has none."""
    skip_bad: bool = False
    """Leave out samples that cannot be read, and count them."""


@dataclass(frozen=True)
class DistillArguments(ModelArguments):
    """Who teaches whom on what, how, and whether to ship."""

    method: str = "hinton"
    """Name of the method; 'tutelage list' shows all."""
    ship: bool = True
    """Export the student as ONNX and int8."""


@dataclass(frozen=True)
class PromptArguments:
    """Which language models, prompts and reward."""

    teacher: str = "none"
    """hf:DIR-OR-NAME or tutelage:smollm2, with the student's tokens; none where the options need no teacher."""
    student: str = "tutelage:smollm2"
    """The same forms."""
    data: str = "prompts.jsonl"
    """FILE.jsonl or FILE.csv with prompt (or question, problem, messages) and answer."""
    reward: str = "answer"
    """answer: 1 where the final answer is the row's; or python:package.module:function, python:FILE.py:function."""
    marker: str = "####"
    """What stands before the final answer in a response; \\boxed for the LaTeX form; empty for the whole response."""
    lora: int = 0
    """Rank of low-rank adapters that learn in place of all weights; 0 for all weights."""
    samples: int = 1
    """Answers to each test prompt."""
    method: str = "kdrl"
    """Name of the method."""
    seed: int = 0
    """First seed."""
    seeds: int = 1
    """How many seeds, from the first."""
    out: Path | None = None
    """Run directory; runs/distill by default, numbered when taken."""
    resume: bool = False
    """Go on with the run in the directory."""
    validation: float = 0.1
    """Share of the prompts for validation."""
    test: float = 0.2
    """Share of the prompts for the test."""
    skip_bad: bool = False
    """Leave out rows that cannot be used and prompts that are too long, and count them."""


def _shared(models: ModelArguments, train: TrainOptions, name: str) -> dict[str, Any]:
    return {
        "teacher": models.teacher,
        "student": models.student,
        "data": models.data,
        "train": train,
        "seeds": range(models.seed, models.seed + models.seeds),
        "out": models.out or default_directory(name, models.resume),
        "resume": models.resume,
        "view": None if models.view == "none" else models.view,
        "train_teacher": models.train_teacher,
        "teacher_epochs": models.teacher_epochs,
        "teacher_classes": models.teacher_classes,
        "teacher_engine": models.teacher_engine,
        "validation": models.validation,
        "test": models.test,
        "skip_bad": models.skip_bad,
    }


def distill_(words: Sequence[str]) -> int:
    """Run `tutelage distill`."""
    method = value_of(words, "method", DistillArguments().method)
    if hasattr(find.module(method), "prompts"):
        return _distill_prompts(method, words)
    options = find.module(method).OPTIONS()
    own, train = DistillArguments(), TrainOptions(channels_last="auto")
    text = f"Teach your student with your teacher on your data. The options are those of '{method}'."
    filled = fill("tutelage distill", words, own, description=text, options=options, train=train)

    from tutelage.recipes.own import distill

    shared = _shared(filled.own, filled.train, "distill")
    report = distill(method=method, options=filled.options, ship=filled.own.ship, **shared)
    show_report(report, Path(shared["out"]))
    return 0


def _distill_prompts(method: str, words: Sequence[str]) -> int:
    """Run `tutelage distill` for a method that teaches a language model on prompts."""
    own, options, train = PromptArguments(), find.module(method).OPTIONS(), PROMPT_TRAIN
    text = f"Teach your language model with your teacher on your prompts. The options are those of '{method}'."
    filled = fill("tutelage distill", words, own, description=text, options=options, train=train)

    from tutelage.recipes.language.own import distill

    given = filled.own
    out = given.out or default_directory("distill", given.resume)
    report = distill(
        None if given.teacher == "none" else given.teacher,
        given.student,
        given.data,
        method=method,
        options=filled.options,
        train=filled.train,
        seeds=range(given.seed, given.seed + given.seeds),
        out=out,
        resume=given.resume,
        reward=None if given.reward == "answer" else given.reward,
        marker=given.marker,
        lora=given.lora,
        samples=given.samples,
        validation=given.validation,
        test=given.test,
        skip_bad=given.skip_bad,
    )
    show_report(report, out)
    return 0


@dataclass(frozen=True)
class CompareArguments(ModelArguments):
    """Which methods, and on whose models and data."""

    methods: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Names of methods."""


def compare_(words: Sequence[str]) -> int:
    """Run `tutelage compare METHOD METHOD ...`."""
    names = []
    for word in words:
        if word.startswith("-"):
            break
        names.append(word)
    for name in names:
        find.door(name)
    own, train = CompareArguments(), TrainOptions(channels_last="auto")
    text = "Train every method on the same data and budget, and put all into one table."
    filled = fill("tutelage compare", words, own, description=text, train=train)
    if not filled.own.methods:
        from tutelage.errors import OptionError

        raise OptionError("Name the methods to compare: tutelage compare hinton bd-kd --data digits")

    from tutelage.recipes.own import compare

    shared = _shared(filled.own, filled.train, "compare")
    report = compare(filled.own.methods, **shared)
    show_report(report, Path(shared["out"]))
    return 0
