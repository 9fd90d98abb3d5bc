"""The races' command line: `python -m benchmarks.races NAME [--rounds N] [--threads N] [--tiny] [--write] [sizes]`."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import os
import subprocess
import sys

NAMES = ("distillation", "vocabulary", "on_policy", "training", "self_supervised", "store")
# Set before torch is imported, so that every library of every process has as many.
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")


def parser(name: str | None) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m benchmarks.races", description="Runs races and writes results/benchmarks/races/NAME.json."
    )
    made.add_argument("name", nargs="?", choices=(*NAMES, "all"), help="which race; none only writes the page, with --write")
    made.add_argument("--rounds", type=int, default=5, help="timed turns of every lane (default 5)")
    made.add_argument("--threads", type=int, default=1, help="threads of every library (default 1)")
    made.add_argument("--tiny", action="store_true", help="sizes that only show that it runs; keeps no results")
    made.add_argument("--write", action="store_true", help="write docs/races.md from the results afterwards")
    if name in NAMES:
        sizes = made.add_argument_group(f"sizes of {name}")
        for field in dataclasses.fields(importlib.import_module(f"benchmarks.races.{name}").Options):
            sizes.add_argument(f"--{field.name.replace('_', '-')}", type=type(field.default), help=f"default {field.default}")
    return made


def one(name: str, chosen: argparse.Namespace) -> None:
    import torch
    from rich.console import Console

    from benchmarks.races import harness

    torch.set_num_threads(chosen.threads)
    module, console = importlib.import_module(f"benchmarks.races.{name}"), Console(width=150)
    options = module.Options()
    options = options.tiny() if chosen.tiny else options
    given = {field.name: getattr(chosen, field.name) for field in dataclasses.fields(options)}
    options = dataclasses.replace(options, **{key: value for key, value in given.items() if value is not None})
    race = module.run(options, rounds=chosen.rounds, console=console)
    harness.show(race, console)
    if not chosen.tiny:
        path = harness.save(race, dataclasses.asdict(options) | {"rounds": chosen.rounds, "threads": chosen.threads})
        console.print(f"Written to {path.relative_to(harness.ROOT)}")


def main() -> None:
    first = next((word for word in sys.argv[1:] if word in NAMES), None)
    early = argparse.ArgumentParser(add_help=False)
    early.add_argument("--threads", type=int, default=1)
    threads = early.parse_known_args()[0].threads
    os.environ |= {name: str(threads) for name in THREADS}
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRL_EXPERIMENTAL_SILENCE": "1", "TOKENIZERS_PARALLELISM": "false", "WANDB_MODE": "disabled"}
    chosen = parser(first).parse_args()
    if chosen.name is None and not chosen.write:
        sys.exit(f"Name a race: {', '.join(NAMES)}, or all. --write alone writes the page from the results that are there.")
    if chosen.name == "all":
        words = [word for word in sys.argv[1:] if word not in ("all", "--write")]
        for name in NAMES:
            subprocess.run([sys.executable, "-m", "benchmarks.races", name, *words], check=True)
    elif chosen.name is not None:
        one(chosen.name, chosen)
    if chosen.write:
        from benchmarks.races import page

        print(page.write())


if __name__ == "__main__":
    main()
