"""Splits: stratified parts of a data set, and few-label subsets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from tutelage.data.arrays import Arrays
from tutelage.data.bags import Bags
from tutelage.data.bags import join as join_bags
from tutelage.errors import DataError, OptionError


def split(arrays: Arrays, sizes: Mapping[str, int | float], seed: int = 0, stratify: bool = True) -> dict[str, Arrays]:
    """Cut arrays into parts that share no sample.

    Every part, and every beginning of a part, holds the classes in the proportions of the whole, as nearly as whole
    samples allow. The first part gets the first sample of every class.

    Args:
        arrays: the samples.
        sizes: part name to number of samples (int) or to fraction of all samples (float in (0, 1]). What they leave
            over is in no part.
        seed: seed of the choice, at least 0.
        stratify: whether parts keep the proportions of classes; needs labels.

    Returns:
        The parts by name, of exactly the sizes asked for (fractions rounded to the nearest number).

    Raises:
        OptionError: if a size is not positive or all of them need more samples than there are.
    """
    counts = {name: round(size * len(arrays)) if isinstance(size, float) else size for name, size in sizes.items()}
    if any(isinstance(size, float) and not 0 < size <= 1 for size in sizes.values()) or any(count < 1 for count in counts.values()):
        raise OptionError(f"The parts {dict(sizes)} of {len(arrays)} samples: expected numbers of at least 1 or fractions in (0, 1].")
    excess = sum(counts.values()) - len(arrays)
    if 0 < excess < len(counts) and all(isinstance(size, float) for size in sizes.values()) and sum(sizes.values()) <= 1 + 1e-9:
        counts[max(counts, key=counts.__getitem__)] -= excess  # rounding gave one sample twice
        excess = 0
    if excess > 0:
        raise OptionError(f"The parts {counts} need {excess} more samples than the {len(arrays)} of '{arrays.name}'.")
    generator = np.random.default_rng(np.random.SeedSequence((seed, 0x5917)))
    order = generator.permutation(len(arrays))
    if stratify:
        order = _interleaved(arrays.labels.cpu().numpy(), order)
    bounds = np.cumsum([0, *counts.values()])
    return {name: arrays.subset(order[a:b]) for name, a, b in zip(counts, bounds[:-1], bounds[1:], strict=True)}


def _interleaved(labels: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Reorder shuffled rows so that every beginning holds the classes in proportion, after one sample of each."""
    by_class = order[np.argsort(labels[order], kind="stable")]
    _, starts, counts = np.unique(labels[by_class], return_index=True, return_counts=True)
    place = np.arange(len(order)) - np.repeat(starts, counts)
    share = np.where(place == 0, 0, (place + 0.5) / np.repeat(counts, counts))
    shuffled = np.empty(len(order), np.int64)
    shuffled[order] = np.arange(len(order))
    return by_class[np.lexsort((shuffled[by_class], share))]


def few_labels(arrays: Arrays, per_class: int, *, seed: int = 0) -> tuple[Arrays, Arrays]:
    """Draw the same number of samples of every class.

    Args:
        arrays: labelled samples.
        per_class: number of samples of each class.
        seed: seed of the choice, at least 0.

    Returns:
        The drawn samples (`per_class` times the number of classes) and all others.

    Raises:
        OptionError: if `per_class` is not positive, or a class has fewer samples.
    """
    labels = arrays.labels.cpu().numpy()
    counts = np.bincount(labels, minlength=arrays.num_classes)
    if not 1 <= per_class <= counts.min():
        rarest = int(counts.argmin())
        raise OptionError(
            f"{per_class} samples per class were asked of '{arrays.name}': expected 1 to {counts.min()}, all that class {rarest} has."
        )
    order = np.random.default_rng(np.random.SeedSequence((seed, 0xFE3))).permutation(len(labels))
    by_class = order[np.argsort(labels[order], kind="stable")]
    place = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    chosen = np.zeros(len(labels), bool)
    chosen[by_class[place < per_class]] = True
    drawn = order[chosen[order]]
    return arrays.subset(drawn), arrays.subset(~chosen)


def folds(arrays: Arrays, count: int, *, seed: int = 0, group: str | None = None) -> list[np.ndarray]:
    """Cut rows into parts of nearly equal size and proportions of classes, for cross-validation.

    Args:
        arrays: labelled samples.
        count: number of parts, at least 2.
        seed: seed of the cut, at least 0.
        group: column of names; rows of one name (slides of one patient, say) come into one part, whose size and proportions then
            are as near as groups allow. A group counts for the class that most of its rows have.

    Returns:
        For each part its rows, int64 and increasing; together all rows, each once.

    Raises:
        OptionError: if there are fewer samples (or groups) than parts.
    """
    labels = arrays.labels.cpu().numpy()
    names = np.arange(len(arrays)) if group is None else np.unique([str(v) for v in arrays.column(group)], return_inverse=True)[1]
    members = [np.flatnonzero(names == name) for name in range(int(names.max()) + 1)] if len(names) else []
    if not 2 <= count <= len(members):
        what = "samples" if group is None else f"groups by '{group}'"
        raise OptionError(
            f"'{arrays.name}' has {len(members)} {what}, which cannot be cut into {count} folds: expected 2 to {len(members)}."
        )
    classes = np.array([np.bincount(labels[rows]).argmax() for rows in members])
    order = np.random.default_rng(np.random.SeedSequence((seed, 0xF01D))).permutation(len(members))
    # Dealt out class by class, so that every part gets its share of each to within one.
    order = order[np.argsort(classes[order], kind="stable")]
    return [np.sort(np.concatenate([members[i] for i in order[part::count]])) for part in range(count)]


def join(parts: Sequence[Arrays]) -> Arrays:
    """Put the samples of several arrays together, in the order of their original rows where they were cut from one.

    Args:
        parts: at least one, with the same columns and classes.

    Returns:
        The samples, which keep their `"index"`.

    Raises:
        DataError: if columns or classes differ, or a column is mapped from disk.
    """
    first = parts[0]
    columns: dict[str, object] = {}
    for name in first.columns:
        values = [part.column(name) for part in parts]
        if all(isinstance(v, Tensor) for v in values):
            columns[name] = torch.cat(values)
        elif all(isinstance(v, Bags) for v in values):
            columns[name] = join_bags(values)
        elif all(isinstance(v, list) for v in values):
            columns[name] = [entry for value in values for entry in value]
        else:
            raise DataError(f"The column '{name}' of '{first.name}' lies on disk or differs in kind: such parts cannot be joined.")
    if any(part.classes != first.classes or set(part.columns) != set(first.columns) for part in parts):
        raise DataError(f"The parts of '{first.name}' differ in classes or columns: they cannot be joined.")
    whole = Arrays(columns, first.classes, first.name, first.device)
    index = whole.index.numpy()
    return whole.subset(np.argsort(index, kind="stable")) if len(np.unique(index)) == len(index) else whole
