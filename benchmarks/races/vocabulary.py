"""Divergences over large vocabularies: the loss alone, as `benchmarks.vocabulary` measures it, and whole training steps."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from rich.console import Console

from benchmarks import vocabulary
from benchmarks.races import language
from benchmarks.races.harness import Race, Section, from_row, measured


@dataclass(frozen=True)
class Options:
    """Sizes of the race."""

    vocabularies: str = "32768,131072,262144"
    """Vocabularies of the loss alone, with commas between them; 2,048 tokens of 512 numbers."""
    vocabulary: int = 32_000
    """Vocabulary of the whole step."""
    length: int = 256
    """Tokens of a text of the whole step."""
    batch: int = 4
    """Texts of a batch."""
    steps: int = 8
    """Steps of a turn."""

    def tiny(self) -> Options:
        """Return sizes that only show that it runs."""
        return dataclasses.replace(self, vocabularies="4096", vocabulary=2000, length=32, batch=2, steps=2)


def losses_alone(kind: str, size: int, rounds: int, smaller: dict[str, float]) -> Section | None:
    """Measure the loss alone at one vocabulary.

    Args:
        kind: divergence.
        size: vocabulary.
        rounds: timed turns.
        smaller: MiB that each contestant took per class at a smaller vocabulary; changed to those at this one.

    Returns:
        The section, without contestants that the memory does not hold; None if the dense loss, which all are compared with, is among them.
    """
    import psutil

    room = 0.9 * psutil.virtual_memory().available / vocabulary.MIB
    large = {name: each * size for name, each in smaller.items() if each * size > room}
    if "dense" in large:
        return None
    results = vocabulary.race(kind, size, rounds, [name for name in vocabulary.CONTESTANTS if name not in large])
    smaller |= {name: its["extra_mib"] / size for name, its in results.items()}
    section = Section(
        f"{vocabulary.KINDS[kind]}, vocabulary of {size:,}",
        f"Forward and backward of the loss of {vocabulary.TOKENS:,} tokens from hidden states of {vocabulary.HIDDEN} numbers. Memory is "
        "what a fresh process needs beyond hidden states and heads.",
    )
    for name, its in results.items():
        section.measured += [measured(f"{name}: time", [its["seconds"]], "s"), measured(f"{name}: memory", [its["extra_mib"]], "MiB")]
    for row in vocabulary.compared(kind, size, results):
        found = from_row(row)[1]
        # The benchmark's own goals are those against the dense loss; against peers it only asks who is better.
        against_dense = "dense" in row.name and size == 131_072
        section.ratios.append(found if against_dense else dataclasses.replace(found, goal="", held=None, ours_wins=row.ratio <= 1))
    section.notes = [f"{name} was left out: it would need {mib / 1024:.0f} GiB, as it grows." for name, mib in large.items()]
    return section


def run(options: Options, *, rounds: int, console: Console) -> Race:
    found = Race("vocabulary", "Large vocabularies")
    smaller: dict[str, dict[str, float]] = {kind: {} for kind in vocabulary.KINDS}
    for size in sorted(int(word) for word in options.vocabularies.split(",") if word):
        for kind, name in vocabulary.KINDS.items():
            section = losses_alone(kind, size, rounds, smaller[kind])
            if section is None:
                found.left_out.append(f"{name} at a vocabulary of {size:,}: the dense loss does not fit into this machine's memory.")
                continue
            found.sections.append(section)
            console.print(f"  {section.name}: done", style="dim", highlight=False)
    if options.steps:
        setting = language.Setting(options.vocabulary, options.length, options.batch, options.steps, torch.get_num_threads())
        found.sections.append(language.section(setting, rounds=rounds, console=console))
    found.left_out += [
        "The texts that trl's trainers let the student write as they train: they get ready ones, for that has nothing to do with the loss.",
    ]
    return found
