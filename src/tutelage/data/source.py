"""What a loader hands over: labelled parts as the source has them, before checks and missing splits."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from tutelage.data import checks
from tutelage.data.arrays import Arrays, DataSet
from tutelage.data.bags import Bags
from tutelage.data.splitting import split
from tutelage.errors import OptionError


@dataclass(frozen=True)
class Source:
    """A source that has been read.

    Args:
        name: name of the data set.
        parts: `"train"` and, where the source has them, `"validation"` and `"test"`.
        skipped: names of bad samples already left out.
        standardise: number of leading input columns to bring to mean 0 and standard deviation 1; of bags all features.
        describe: names a row of a part in the source's own words.
    """

    name: str
    parts: dict[str, Arrays]
    skipped: list[str] = field(default_factory=list)
    standardise: int = 0
    describe: Callable[[str, int], str] = lambda part, row: f"row {row} of {part}"


def finish(source: Source, *, validation: int | float, test: int | float, seed: int, skip_bad: bool) -> DataSet:
    """Check a source, cut the parts it lacks from its training part, and standardise tables.

    Args:
        source: what a loader read.
        validation: number or fraction of samples for a missing validation part.
        test: number or fraction of samples for a missing test part. Fractions are of the samples that are cut.
        seed: seed of the cut, at least 0.
        skip_bad: leave bad samples out instead of raising.

    Returns:
        The data set.
    """
    parts: dict[str, Arrays] = {}
    skipped = list(source.skipped)
    for part, arrays in source.parts.items():
        parts[part], left_out = checks.clean(arrays, skip_bad=skip_bad, describe=functools.partial(source.describe, part))
        skipped += left_out
    checks.classes(parts["train"])
    missing = {name: size for name, size in (("test", test), ("validation", validation)) if name not in parts}
    if missing:
        parts |= _cut(parts["train"], missing, seed)
        checks.classes(parts["train"])
    if source.standardise:
        parts = _standardised(parts, source.standardise)
    return DataSet(source.name, parts["train"], parts["validation"], parts["test"], tuple(skipped))


def _cut(arrays: Arrays, sizes: dict[str, int | float], seed: int) -> dict[str, Arrays]:
    total = len(arrays)
    counts = {name: max(1, round(size * total)) if isinstance(size, float) and 0 < size < 1 else size for name, size in sizes.items()}
    for name, count in counts.items():
        if not isinstance(count, int) or count < 1:
            raise OptionError(f"The {name} part is to have {sizes[name]} samples: expected a fraction in (0, 1) or a number of at least 1.")
    train = total - sum(int(c) for c in counts.values())
    if train < 1 and arrays.pixelwise:
        raise OptionError(f"'{arrays.name}' has {total} pictures; after {counts} there are none left to train on. Lower them.")
    if train < arrays.num_classes and not arrays.pixelwise:
        raise OptionError(
            f"'{arrays.name}' has {total} samples; after {counts} there are {max(train, 0)} left to train on: "
            f"expected at least one for each of the {arrays.num_classes} classes. Lower them or add samples."
        )
    return split(arrays, {"train": train, **counts}, seed, stratify=not arrays.pixelwise)


def _standardised(parts: dict[str, Arrays], columns: int) -> dict[str, Arrays]:
    """Shift and scale the first columns by the mean and standard deviation of the training part; constant columns become 0."""
    inputs = parts["train"].column("input")
    if isinstance(inputs, Bags):
        moments = inputs.moments()
        return {name: arrays.replace(input=arrays.column("input").standardised(*moments)) for name, arrays in parts.items()}
    values = inputs[:, :columns].double()
    mean, std = values.mean(0), values.std(0, correction=0)
    std = torch.where(std > 1e-12 * mean.abs().clamp(min=1e-300), std, torch.ones_like(std))
    result = {}
    for name, arrays in parts.items():
        table = arrays.column("input").clone()
        table[:, :columns] = ((table[:, :columns].double() - mean) / std).float()
        result[name] = arrays.replace(input=table)
    return result
