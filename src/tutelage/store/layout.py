"""Where the pieces of a store lie: parts, views, shards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tutelage import files

MANIFEST = "store.json"


@dataclass(frozen=True)
class Shard:
    """Some rows of a part as one view of them was answered.

    Args:
        part: the part of the data set.
        view: number of the view.
        number: number of the shard, from 0.
        first: position in the part of its first row.
        rows: how many rows.
        suffix: `.safetensors`, or `.jsonl` for texts.
    """

    part: str
    view: int
    number: int
    first: int
    rows: int
    suffix: str

    @property
    def name(self) -> str:
        """Its file inside the store."""
        return f"{self.part}/view-{self.view}/{self.number:05d}{self.suffix}"

    def file(self, root: Path) -> Path:
        """Where its data lie."""
        return root / self.name

    def seal(self, root: Path) -> Path:
        """Where its number of rows, size and checksum lie; without this file the shard does not exist."""
        return self.file(root).with_suffix(".json")

    def journal(self, root: Path) -> Path:
        """Where texts are written as they arrive, until the shard is whole."""
        return self.file(root).with_suffix(".journal")


def views_of(about: dict[str, Any], part: str) -> int:
    """How many views a part has: the training part those that were asked for, at least the plain one; others one."""
    return max(int(about["views"]), 1) if part == "train" else 1


def shards(about: dict[str, Any]) -> Iterator[Shard]:
    """Yield every shard that a complete store has, in the order of labelling.

    Args:
        about: the manifest.
    """
    suffix, size = ".jsonl" if about["keep"] == "text" else ".safetensors", int(about["shard_rows"])
    for part, facts in about["parts"].items():
        for view in range(views_of(about, part)):
            for number, first in enumerate(range(0, facts["rows"], size)):
                yield Shard(part, view, number, first, min(size, facts["rows"] - first), suffix)


def index_file(root: Path, part: str) -> Path:
    """Where the original rows of a part lie."""
    return root / part / "index.safetensors"


def seal(root: Path, shard: Shard) -> None:
    """Declare a shard that was written whole.

    Args:
        root: the store.
        shard: which.
    """
    file = shard.file(root)
    files.write_json(shard.seal(root), {"rows": shard.rows, "bytes": file.stat().st_size, "sha256": files.sha256(file)})


def sweep(folder: Path, stem: str = "") -> None:
    """Remove what a killed writer left of a file: temporary files of that stem, or all of the folder."""
    for leftover in folder.glob(f".{stem}.*.tmp*" if stem else ".*.tmp*"):
        leftover.unlink(missing_ok=True)
