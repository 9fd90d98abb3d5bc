"""`tutelage label`: run a teacher once, and keep what it says."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from tutelage.cli.store import in_bytes
from tutelage.cli.words import parse
from tutelage.errors import OptionError, SpecError

CUT = ("validation", "test", "seed")
"""Options that decide how data are cut."""


@dataclass(frozen=True)
class LabelArguments:
    """Run a teacher once over a data set and keep what it says; then learn from it with --teacher store:FOLDER."""

    teacher: str
    """timm:NAME, hf:NAME, onnx:FILE, sklearn:FILE, python:module:factory, run:DIR, teacher-of:DIR, chat:MODEL (see the docs)."""
    data: str
    """As for 'tutelage distill'."""
    out: Path
    """Folder of the store."""
    keep: str = "logits"
    """logits, top-k:K, features:LAYER, boxes or text."""
    dtype: Literal["fp16", "bf16", "fp32"] = "fp16"
    """Numbers that are kept."""
    temperature: float = 1.0
    """Temperature of top-k; logits serve every temperature."""
    view: str = "none"
    """Augmentation of training images under which the student will learn: none, crop, flip, crop-flip, ..."""
    views: int = 0
    """Number of augmented views of each training image to answer; 0 for the plain images."""
    view_seed: int = 0
    """Seed of the views."""
    resume: bool = False
    """Go on with the store in the folder."""
    validation: float = 0.1
    """Share of the data for validation, where it has none."""
    test: float = 0.2
    """Share of the data for the test, where it has none."""
    seed: int = 0
    """Seed of the cut of the data: the first seed of the later distillation."""
    skip_bad: bool = False
    """Leave out samples that cannot be read, and count them."""
    teacher_classes: str | None = None
    """The teacher's classes in the order of its outputs, by commas or as a file, where that is not the data's order."""
    teacher_engine: Literal["auto", "eager", "folded", "compile", "onnxruntime"] = "auto"
    """How the teacher is run: eager, folded, compile, onnxruntime, or auto for the fastest that agrees."""
    batch_size: int = 256
    """Rows asked about at once."""
    shard_rows: int = 16384
    """Rows of a file; what a kill can cost."""
    device: str = "auto"
    """cpu, cuda, cuda:1, ...; auto for a GPU where there is one."""
    system: str | None = None
    """System prompt of a chat teacher."""
    template: str | None = None
    """What a chat teacher is asked, with {input} and the names of other columns; the input itself by default."""
    choices: str | None = None
    """Names of classes, by commas, to which a chat teacher's replies are matched."""
    ray: int = 0
    """Label with this many workers on a Ray cluster; 0 labels here (with torchrun: in each of its processes)."""


def label_(words: Sequence[str]) -> int:
    """Run `tutelage label`."""
    arguments = parse("tutelage label", LabelArguments, words)

    from tutelage.models.chat import is_chat

    rank, world = _ranks()
    started = time.perf_counter()
    (_label_texts if is_chat(arguments.teacher) else _label)(arguments, rank, world)
    if rank == 0:
        _finish(arguments, time.perf_counter() - started)
    return 0


def _data(arguments: LabelArguments) -> Any:
    from tutelage import data

    return data.load(arguments.data, validation=arguments.validation, test=arguments.test, seed=arguments.seed, skip_bad=arguments.skip_bad)


def _shared(arguments: LabelArguments, data: Any, rank: int) -> dict[str, Any]:
    """Say what is done, and return the options of every kind of labelling."""
    console = Console(stderr=True)
    if rank == 0:
        rows = sum(len(part) for part in data.parts.values()) if hasattr(data, "parts") else len(data)
        views = f", {arguments.views} views '{arguments.view}' of each training image" if arguments.views else ""
        text = f"{arguments.teacher} labels {data.name}: {rows:,} rows{views}, keeping {arguments.keep}"
        console.print(text, highlight=False, markup=False, soft_wrap=True)
    return {
        "batch_size": arguments.batch_size,
        "shard_rows": arguments.shard_rows,
        "resume": arguments.resume,
        "teacher_name": arguments.teacher,
        "data_name": arguments.data,
        "load": {name: getattr(arguments, name) for name in CUT} if hasattr(data, "parts") else {},
        "console": console,
    }


def _label(arguments: LabelArguments, rank: int, world: int) -> None:
    """Label with a network."""
    if arguments.system or arguments.template or arguments.choices:
        raise OptionError("--system, --template and --choices are for chat teachers (chat:MODEL, hf-chat:MODEL).")

    from tutelage import store

    ready, device = _data(arguments), _device(arguments.device)
    teacher = _teacher(arguments, ready)
    options = _shared(arguments, ready, rank) | {
        "keep": arguments.keep,
        "dtype": arguments.dtype,
        "temperature": arguments.temperature,
        "view": None if arguments.view == "none" else arguments.view,
        "views": arguments.views,
        "view_seed": arguments.view_seed,
    }
    if arguments.ray:
        from tutelage.store import ray

        ray.label(teacher, ready, arguments.out, workers=arguments.ray, gpus=1.0 if device.startswith("cuda") else 0.0, **options)
        return
    store.label(teacher, ready, arguments.out, rank=rank, world=world, device=device, **options)
    if rank == 0 and teacher.choice is not None:
        options["console"].print(teacher.reason, highlight=False, markup=False, style="dim", soft_wrap=True)


def _label_texts(arguments: LabelArguments, rank: int, world: int) -> None:
    """Label with a chat model."""
    if arguments.keep != "text":
        raise OptionError(f"{arguments.teacher} answers texts, but --keep is {arguments.keep}: add --keep text.")
    if arguments.views or arguments.ray:
        raise OptionError(
            "Chat teachers take neither --views nor --ray: one process asks many at once (concurrency= in the specification)."
        )

    from tutelage.models.chat import OpenAIChat, from_spec
    from tutelage.store import chat as texts

    bare = arguments.data.endswith((".jsonl", ".csv"))  # without ?label=COLUMN: prompts alone
    data = texts.prompts(arguments.data) if bare else _data(arguments)
    teacher = from_spec(arguments.teacher)
    options = _shared(arguments, data, rank)
    choices = arguments.choices.split(",") if arguments.choices else None
    texts.label_texts(
        teacher,
        data,
        arguments.out,
        system=arguments.system,
        template=arguments.template,
        choices=choices,
        rank=rank,
        world=world,
        **options,
    )
    if isinstance(teacher, OpenAIChat) and rank == 0:
        cost = f"{teacher.tally.answered:,} replies were paid for, {teacher.tally.cached:,} were known; cost {teacher.account.spent:.4g}"
        options["console"].print(cost, highlight=False, style="dim")


def _ranks() -> tuple[int, int]:
    """This process's number and how many there are, as torchrun says."""
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        return 0, 1
    return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])


def _device(name: str) -> str:
    """The device that is asked for; each process of torchrun on one machine takes its own GPU."""
    import torch

    if name == "auto":
        name = f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise OptionError(
            f"--device is '{name}', which cannot be used ({str(error).partition(chr(10))[0]}). Give cpu, cuda or auto."
        ) from error
    return name


def _teacher(arguments: LabelArguments, ready: Any) -> Any:
    """Build the teacher as an inference engine."""
    from tutelage.recipes import roles
    from tutelage.teachers import Frozen

    classifies = arguments.keep == "logits" or arguments.keep.startswith("top-k")
    answers: Literal["logits", "anything"] = "logits" if classifies else "anything"
    if roles.untrained(arguments.teacher, ready, arguments.teacher_classes, answers=answers):
        raise SpecError(
            f"'{arguments.teacher}' has learned nothing yet, so it has nothing to say. Train it first: 'tutelage distill --teacher "
            f"{arguments.teacher} --data {arguments.data} --out runs/distill', then label with --teacher teacher-of:runs/distill."
        )
    if roles.is_stored(arguments.teacher):
        raise SpecError(f"'{arguments.teacher}' is a store already. Give the teacher itself.")
    model = roles.build(
        arguments.teacher,
        ready,
        role="teacher",
        seed=arguments.seed,
        class_names=arguments.teacher_classes,
        answers=answers,
    )
    rows = len(ready.train) * max(arguments.views, 1) + len(ready.validation) + len(ready.test)
    return Frozen(model, engine=arguments.teacher_engine, batch=arguments.batch_size, calls=-(-rows // arguments.batch_size))


def _finish(arguments: LabelArguments, seconds: float) -> None:
    """Say what there is now, and what to type next."""
    from tutelage import store

    facts = store.info(arguments.out)
    left = sum(facts["missing"].values())
    print(f"{arguments.out}: {facts['rows']:,} rows, {in_bytes(facts['bytes'])}, {seconds:.1f} s")
    if left:
        print(f"{left:,} rows are still to be labelled by the other processes: tutelage store info {arguments.out}")
        return
    if arguments.keep == "text" and not arguments.choices:
        print(f"Look at it: tutelage store info {arguments.out}")
        return
    default = LabelArguments("", "", Path())
    cut = [f"--{name} {getattr(arguments, name)}" for name in CUT if getattr(arguments, name) != getattr(default, name)]
    bad = ["--skip-bad"] if arguments.skip_bad else []
    method = ["--method llkd"] if arguments.keep == "text" else []
    print(
        " ".join(["Learn from it: tutelage distill", *method, f"--teacher store:{arguments.out}", f"--data {arguments.data}", *cut, *bad])
    )
