"""`tutelage run METHOD`: a published method against its baselines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, make_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console

from tutelage.catalog import find as find_entry
from tutelage.catalog import slugs
from tutelage.cli.words import parse, shorten
from tutelage.errors import OptionError
from tutelage.recipes import find


@dataclass(frozen=True)
class RunArguments:
    """Where, how long and with which seeds."""

    quick: bool = False
    """The short form: under a minute, for a first look."""
    seed: int | None = None
    """One seed."""
    seeds: int | None = None
    """This many seeds, from 0; the method's own number by default."""
    out: Path | None = None
    """Run directory; runs/METHOD by default, numbered when taken."""
    resume: bool = False
    """Go on with the run in the directory."""
    teacher_engine: Literal["eager", "auto", "folded", "compile", "onnxruntime"] = "eager"
    """How frozen teachers are run; auto times the engines and takes the fastest that agrees."""


def default_directory(name: str, resume: bool) -> Path:
    """Return `runs/NAME`, or where that is taken the next free `runs/NAME-2`, ...; with `resume` the newest that exists."""
    candidates = [Path("runs") / name] + [Path("runs") / f"{name}-{n}" for n in range(2, 10_000)]
    taken = [path for path in candidates if path.exists()]
    if resume:
        if not taken:
            raise OptionError(f"There is nothing to resume: runs/{name} does not exist. Give the run with --out, or leave --resume out.")
        return taken[-1]
    return next(path for path in candidates if path not in taken)


def run_(words: Sequence[str]) -> int:
    """Run `tutelage run METHOD`."""
    if not words or words[0].startswith("-"):
        print("usage: tutelage run METHOD [--quick] [--seed S | --seeds N] [--out DIR] [--resume] [--option value ...]\n\nmethods:")
        print("\n".join(f"  {name}" for name in slugs()) + "\n\n'tutelage run METHOD --help' shows the options of one.")
        return 0 if words else 2
    slug, rest = words[0], list(words[1:])
    entry = find_entry(slug)
    recipe_class = find.module(slug).RECIPE
    recipe = recipe_class().quick() if "--quick" in rest else recipe_class()
    arguments = RunArguments()
    both: Any = make_dataclass(
        "Arguments",
        [
            ("run", Annotated[RunArguments, tyro.conf.arg(name="")], field(default=arguments)),
            ("recipe", Annotated[recipe_class, tyro.conf.arg(name="")], field(default=recipe)),
        ],
        frozen=True,
    )
    filled = parse(f"tutelage run {slug}", both, shorten(rest, (arguments, recipe)), description=entry.summary)
    return execute(slug, filled.recipe, filled.run)


def execute(slug: str, recipe: Any, arguments: RunArguments) -> int:
    """Run a recipe, print its tables, save its report."""
    if arguments.seed is not None and arguments.seeds is not None:
        raise OptionError("Give --seed S for one seed or --seeds N for several, not both.")
    if arguments.seeds is not None and arguments.seeds < 1:
        raise OptionError(f"--seeds is {arguments.seeds}: expected at least 1.")
    seeds: tuple[int, ...] = recipe.default_seeds[:1] if arguments.quick else recipe.default_seeds
    if arguments.seed is not None:
        seeds = (arguments.seed,)
    elif arguments.seeds is not None:
        seeds = tuple(range(arguments.seeds))
    directory = arguments.out or default_directory(slug + ("-quick" if arguments.quick else ""), arguments.resume)

    from tutelage.train.run import Run

    config = {"method": slug, "recipe": asdict(recipe), "seeds": seeds, "quick": arguments.quick}
    engine = arguments.teacher_engine
    if engine != "eager":
        config["teacher_engine"] = engine
    resume, quick = arguments.resume, arguments.quick
    run = Run(directory, config=config, seeds=seeds, resume=resume, quick=quick, name=slug, teacher_engine=engine)
    report = recipe.run(run)
    report.wall_seconds = run.seconds
    show_report(report, directory)
    return 0


def show_report(report: Any, directory: Path) -> None:
    """Save a report and print its tables and where its page is."""
    page = report.save(directory)
    console = Console()
    console.print(report.table())
    if report.claims:
        console.print(report.claims_table())
    for note in report.notes:
        console.print(note, style="dim", markup=False, highlight=False)
    console.print(f"\nReport: {page or directory / 'report.json'}", highlight=False)
