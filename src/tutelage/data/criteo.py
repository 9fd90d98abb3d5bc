"""Imbalanced tables: Criteo's click logs, any labelled table, and oversampling of the rare classes in training."""

from __future__ import annotations

import gzip
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from tutelage.data.arrays import Arrays, DataSet
from tutelage.errors import DataError, OptionError

_NUMBERS, _CATEGORIES = 13, 26
_FIELDS = 1 + _NUMBERS + _CATEGORIES
_CHUNK = 100_000


def criteo(
    path: str | Path,
    *,
    rows: int | None = None,
    buckets: int = 1000,
    encode: Literal["index", "one_hot"] = "index",
    validation: float = 0.1,
    test: float = 0.1,
    oversample: float | None = 1.0,
    seed: int = 0,
) -> DataSet:
    """Read Criteo's click logs: tab-separated lines of a label, 13 integers and 26 hashed categories, any but the label empty.

    Integers x become sign(x) log(1 + |x|), 0 where empty. Categories, eight hexadecimal digits each, become a bucket by their hash: 0
    where empty, else 1 to `buckets - 1`. The log is in order of time, so validation and test are its last lines, in this order.

    Args:
        path: the labelled file, `train.txt` of the published archive or a day of the larger log, plain or `.gz`.
        rows: read this many lines at most; `None` for all.
        buckets: number of values of each category.
        encode: `"index"` (default) for 39 columns, the last 26 holding bucket numbers (exact in float32) for a model that embeds
            them; `"one_hot"` for 13 + 26 x buckets columns that a linear model or MLP takes as they are.
        validation: fraction of the lines.
        test: fraction of the lines.
        oversample: rare clicks in the training part are repeated up to this share of the frequent class (see `oversample_minority`);
            `None` leaves the part as it is.
        seed: seed of which of them are repeated.

    Returns:
        float32 tables with the classes "no click" and "click".

    Raises:
        DataError: if the file cannot be read, a line has another number of fields or a field that is no number, or a part of the
            three would lack a line or the training part a class. Line numbers start at 1.
        OptionError: if an option is out of range.
    """
    if not 2 <= buckets <= 2**24 or encode not in ("index", "one_hot"):
        raise OptionError(f"criteo takes 2 to 2^24 buckets and encode 'index' or 'one_hot', got {buckets} and '{encode}'.")
    if not (validation > 0 and test > 0 and validation + test < 1):
        raise OptionError(f"criteo takes fractions above 0 that leave lines to train on, got validation {validation} and test {test}.")
    labels, numbers, categories = _parse(Path(path), rows, buckets)
    inputs = np.concatenate([np.sign(numbers) * np.log1p(np.abs(numbers)), _encoded(categories, buckets, encode)], axis=1, dtype=np.float32)
    everything = Arrays({"input": inputs, "label": labels}, ("no click", "click"), "criteo")
    bounds = [0, round(len(labels) * (1 - validation - test)), round(len(labels) * (1 - test)), len(labels)]
    if len(set(bounds)) < 4 or len(np.unique(labels[: bounds[1]])) < 2:
        raise DataError(f"'{path}' has {len(labels)} lines, too few for a train part with both classes, a validation and a test part.")
    train, held, last = (everything.subset(range(a, b)) for a, b in itertools.pairwise(bounds))
    return DataSet("criteo", train if oversample is None else oversample_minority(train, share=oversample, seed=seed), held, last)


def _parse(path: Path, rows: int | None, buckets: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return labels int64 [N], integers float64 [N, 13] with 0 for empty, and buckets int64 [N, 26]."""
    blocks = []
    try:
        with gzip.open(path, "rt", encoding="ascii") if path.suffix == ".gz" else path.open(encoding="ascii") as lines:
            numbered = enumerate(itertools.islice(lines, rows), 1)
            while chunk := list(itertools.islice(numbered, _CHUNK)):
                blocks.append(np.array([list(_values(line, number, path, buckets)) for number, line in chunk]))
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"'{path}' cannot be read as click logs ({error}). Expected the archive's text file, plain or gzipped.") from error
    if not blocks:
        raise DataError(f"'{path}' has no lines. Expected a label, 13 integers and 26 categories on each.")
    table = np.concatenate(blocks)
    return table[:, 0].astype(np.int64), table[:, 1 : 1 + _NUMBERS], table[:, 1 + _NUMBERS :].astype(np.int64)


def _values(line: str, number: int, path: Path, buckets: int) -> Iterator[float]:
    fields = line.rstrip("\r\n").split("\t")
    if len(fields) != _FIELDS:
        cure = " That is the unlabelled test file; take the labelled one." if len(fields) == _FIELDS - 1 else ""
        raise DataError(f"Line {number} of '{path}' has {len(fields)} fields; expected {_FIELDS}, separated by tabs.{cure}")
    if fields[0] not in ("0", "1"):
        raise DataError(f"Line {number} of '{path}' has the label '{fields[0]}'; expected 0 or 1.")
    try:
        yield float(fields[0])
        for field in fields[1 : 1 + _NUMBERS]:
            yield float(int(field)) if field else 0.0
        for field in fields[1 + _NUMBERS :]:
            yield float(1 + int(field, 16) % (buckets - 1)) if field else 0.0
    except ValueError as error:
        raise DataError(f"Line {number} of '{path}': {error}; expected 13 integers, then 26 hexadecimal categories.") from error


def _encoded(categories: np.ndarray, buckets: int, encode: str) -> np.ndarray:
    if encode == "index":
        return categories
    hot = np.zeros((len(categories), _CATEGORIES * buckets), np.float32)
    np.put_along_axis(hot, categories + buckets * np.arange(_CATEGORIES), 1, axis=1)
    return hot


def imbalanced_table(spec: str, *, share: float = 1.0, validation: float = 0.1, test: float = 0.2, seed: int = 0) -> DataSet:
    """Load a labelled table, such as logged sensor values with an attack flag, with its rare classes oversampled in training.

    Args:
        spec: a file and its label column, `"log.csv?label=attack"`, or any other specification that `tutelage.data.load` takes.
        share: as for `oversample_minority`.
        validation: fraction or number of rows.
        test: fraction or number of rows.
        seed: seed of the split and of which rows are repeated.

    Returns:
        The data set, whose validation and test parts keep the true frequencies.
    """
    from tutelage.data import load

    data = load(spec, validation=validation, test=test, seed=seed)
    return DataSet(data.name, oversample_minority(data.train, share=share, seed=seed), data.validation, data.test, data.skipped_names)


def oversample_minority(arrays: Arrays, *, share: float = 1.0, seed: int = 0) -> Arrays:
    """Repeat samples of rare classes until each has at least a share of the samples of the most frequent class.

    Every sample of such a class is repeated equally often, up to one: the last repeats are drawn without replacement.

    Args:
        arrays: labelled samples; those of the training part only, or repeats would be counted as results.
        share: wanted count of each class, over that of the most frequent one, in (0, 1]. Default 1.
        seed: seed of which samples get the last repeat, at least 0.

    Returns:
        The samples, then their repeats, each with the `"index"` of its original.

    Raises:
        OptionError: if the share is out of range.
    """
    if not 0 < share <= 1:
        raise OptionError(f"share is {share}; expected a number above 0, up to 1 for equally frequent classes.")
    labels = arrays.labels.cpu().numpy()
    counts = np.bincount(labels)
    wanted = round(share * int(counts.max()))
    generator = np.random.default_rng(np.random.SeedSequence((seed, 0x0E55)))
    chosen = [np.arange(len(labels))]
    for label, count in enumerate(counts):
        if 0 < count < wanted:
            times, rest = divmod(wanted, int(count))
            rows = np.flatnonzero(labels == label)
            chosen += [np.repeat(rows, times - 1), generator.permutation(rows)[:rest]]
    return arrays.subset(np.concatenate(chosen))
