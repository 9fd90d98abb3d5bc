"""Random batches from a label store of a million rows, as `benchmarks.store` measures them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from rich.console import Console

from benchmarks import store
from benchmarks.races.harness import Race, Section, from_row


@dataclass(frozen=True)
class Options:
    """Sizes of the race."""

    rows: int = 1_000_000
    """Samples in the store."""

    def tiny(self) -> Options:
        """Return sizes that only show that it runs."""
        return dataclasses.replace(self, rows=20_000)


def run(options: Options, *, rounds: int, console: Console) -> Race:
    store.ROWS = options.rows
    section = Section(
        f"{options.rows:,} samples",
        f"Batches of {store.BATCH} random samples are read beside the training step of `tutelage:small-cnn` on as many images of 28x28.",
    )
    for row in store.rows():
        console.print(f"  {row.name}: {row.ratio:.3f}", style="dim", highlight=False)
        both, found = from_row(row)
        what, _, pair = row.name.partition(": ")
        first, _, second = pair.partition(" against ")
        section.measured += [dataclasses.replace(m, name=f"{what}: {side}") for m, side in zip(both, (first, second), strict=True)]
        section.ratios.append(found)
    return Race(
        "store",
        "Reading a label store",
        [section],
        ["No peer stores a teacher's outputs by sample; its file formats are raced on another page."],
    )
