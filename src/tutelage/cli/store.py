"""`tutelage store verify|info|merge`: look after what is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tutelage.cli.words import parse
from tutelage.errors import OptionError, StoreError, nearest


def in_bytes(count: float) -> str:
    """Write a number of bytes."""
    if count < 1000:
        return f"{count:.0f} bytes"
    for power, unit in enumerate(("kB", "MB"), start=1):
        if count < 1000 ** (power + 1):
            return f"{count / 1000**power:.3g} {unit}"
    return f"{count / 1e9:.3g} GB"


@dataclass(frozen=True)
class VerifyArguments:
    """Read a store through: every shard against its checksum."""

    store: Annotated[Path, tyro.conf.Positional]
    """Folder of the store."""


@dataclass(frozen=True)
class InfoArguments:
    """Show what a store holds and how much of it is there."""

    store: Annotated[Path, tyro.conf.Positional]
    """Folder of the store."""
    json: bool = False
    """Print JSON."""


@dataclass(frozen=True)
class MergeArguments:
    """Put stores together that hold different shards of one whole."""

    stores: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Their folders."""
    out: Path
    """Folder of the new store."""


def store_(words: Sequence[str]) -> int:
    """Run `tutelage store verify|info|merge`."""
    actions = {"verify": _verify, "info": _info, "merge": _merge}
    if not words or words[0] in ("-h", "--help"):
        print(
            "usage: tutelage store verify STORE\n       tutelage store info STORE [--json]\n"
            "       tutelage store merge STORE STORE ... --out STORE"
        )
        return 0 if words else 2
    if words[0] not in actions:
        raise OptionError(f"'tutelage store' cannot '{words[0]}'.{nearest(words[0], actions)}")
    return actions[words[0]](words[1:])


def _verify(words: Sequence[str]) -> int:
    path = parse("tutelage store verify", VerifyArguments, words).store

    from tutelage import store

    problems = store.verify(path)
    if problems:
        raise StoreError(f"{path} is not whole; {len(problems)} problem(s):\n" + "\n".join(f"  {line}" for line in problems))
    print(f"{path} is whole: every shard is there and is what was written.")
    return 0


def _info(words: Sequence[str]) -> int:
    arguments = parse("tutelage store info", InfoArguments, words)

    import json

    from tutelage import store

    facts = store.info(arguments.store)
    if arguments.json:
        print(json.dumps(facts, indent=1, ensure_ascii=False))
        return 0
    views = f"{facts['views']} of '{facts['view']}', seed {facts['view_seed']}" if facts["views"] else "none: plain inputs"
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in (
        (
            "keeps",
            f"{facts['keep']} ({facts['dtype']}"
            + (f", temperature {facts['temperature']:g})" if facts["keep"].startswith("top-k") else ")"),
        ),
        ("teacher", f"{facts['teacher']['spec']} ({facts['teacher']['fingerprint'][:12]})"),
        ("data", " ".join([facts["data"]["spec"], *(f"--{k} {v}" for k, v in facts["data"]["load"].items())])),
        ("classes", f"{len(facts['classes'])}: {', '.join(facts['classes'][:8])}{', ...' if len(facts['classes']) > 8 else ''}"),
        ("views", views),
        *((part, f"{f['rows']:,} rows" + _left(facts["missing"][part])) for part, f in facts["parts"].items()),
        ("size", f"{in_bytes(facts['bytes'])} in {facts['whole']} of {facts['shards']} shards"),
    ):
        table.add_row(f"[bold]{name}[/]", escape(value))
    Console().print(table)
    return 0


def _left(rows: int) -> str:
    return f", {rows:,} answers are missing" if rows else ""


def _merge(words: Sequence[str]) -> int:
    arguments = parse("tutelage store merge", MergeArguments, words)

    from tutelage import store

    store.merge(arguments.stores, arguments.out)
    facts = store.info(arguments.out)
    left = sum(facts["missing"].values())
    print(f"{arguments.out}: {facts['rows']:,} rows, {in_bytes(facts['bytes'])}{_left(left)}")
    return 0
