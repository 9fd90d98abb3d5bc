"""Loaders of multi-label images: a table of paths and label ids beside a label tree, and the image-level labels of Open Images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from tutelage.data import pictures
from tutelage.data.arrays import Arrays
from tutelage.data.label_tree import LabelTree, Verticals, read_rows
from tutelage.errors import DataError, nearest, optional


@dataclass(frozen=True)
class LabelledImages:
    """Multi-label images with what is known about their labels.

    Args:
        arrays: columns `input` uint8 `[N, C, H, W]`, `target` bool `[N, L]` closed under ancestors, `vertical` bool `[N, M]` (the verticals
            of an image's labels) and `path`.
        tree: the label tree.
        verticals: vertical of each label.
        skipped_names: images left out because they could not be read, with the reason.
    """

    arrays: Arrays
    tree: LabelTree
    verticals: Verticals
    skipped_names: tuple[str, ...] = ()


def label_table(
    table: str | Path,
    tree: str | Path,
    verticals: str | Path | None = None,
    *,
    root: str | Path | None = None,
    size: tuple[int, int] = (64, 64),
    grey: bool = False,
    separator: str = ";",
    skip_bad: bool = False,
) -> LabelledImages:
    """Read a table of images with several labels each.

    Args:
        table: CSV file with the columns `image_path` and `labels`, the latter a list of label ids. Ancestors need not be listed.
        tree: CSV file with the columns `child` and `parent`.
        verticals: CSV file with the columns `label` and `vertical`; a label without a line takes its parent's. `None` makes each root
            of the tree a vertical.
        root: folder that the paths are relative to; the table's own folder when `None`.
        size: (height, width) in pixels that images are scaled to.
        grey: one channel instead of three.
        separator: text between label ids.
        skip_bad: leave out images that are missing or damaged, instead of raising.

    Returns:
        The images in the order of the table.

    Raises:
        DataError: if a file is missing or malformed, a label is not in the tree, or an image cannot be read.
    """
    labels = LabelTree.from_csv(tree)
    images: dict[str, list[str]] = {}
    for path, ids in read_rows(table, ("image_path", "labels")):
        named = [label.strip() for label in ids.split(separator) if label.strip()]
        for label in named:
            if label not in labels.position:
                raise DataError(f"'{table}' gives {path} the label '{label}', which '{tree}' has not.{nearest(label, labels.labels)}")
        images.setdefault(path, []).extend(named)
    folder = Path(table).parent if root is None else Path(root)
    of_label = Verticals.by_root(labels) if verticals is None else Verticals.from_csv(labels, verticals)
    files = {folder / path: ids for path, ids in images.items()}
    return _read(files, labels, of_label, name=str(table), size=size, grey=grey, skip_bad=skip_bad)


def open_images(
    annotations: str | Path,
    images: str | Path,
    hierarchy: str | Path,
    *,
    descriptions: str | Path | None = None,
    min_confidence: float = 0.5,
    size: tuple[int, int] = (64, 64),
    skip_bad: bool = False,
) -> LabelledImages:
    """Read Open Images with its image-level labels.

    Args:
        annotations: CSV file with the columns `ImageID`, `LabelName` and `Confidence` (1 for a label that a person confirmed, 0 for one
            that a person rejected, in between for a machine's).
        images: folder of `ImageID.jpg` files. Annotated images that are not there, and images without a label, are left out, so that a
            part of the set can be read.
        hierarchy: the JSON file of the label hierarchy; the children of its top node are the verticals. Labels outside it are left out.
        descriptions: headerless CSV file of `LabelName,display name`, which then names the classes; ids name them when `None`.
        min_confidence: confidence from which a label counts.
        size: (height, width) in pixels that images are scaled to.
        skip_bad: leave out damaged images, instead of raising.

    Returns:
        The images in the order of the annotations.

    Raises:
        DataError: if a file is missing or malformed, or no annotated image is there.
    """
    tree = LabelTree.from_open_images(hierarchy)
    found: dict[Path, list[str]] = {}
    for image, label, confidence in read_rows(annotations, ("ImageID", "LabelName", "Confidence")):
        try:
            believed = float(confidence) >= min_confidence
        except ValueError as error:
            raise DataError(f"'{annotations}' gives {image} the confidence '{confidence}'; expected a number from 0 to 1.") from error
        if believed and label in tree.position:
            found.setdefault(Path(images) / f"{image}.jpg", []).append(label)
    present = {path: labels for path, labels in found.items() if path.is_file()}
    read = _read(present, tree, Verticals.by_root(tree), name=str(annotations), size=size, grey=False, skip_bad=skip_bad)
    if descriptions is None:
        return read
    names = _descriptions(Path(descriptions))
    arrays = Arrays(read.arrays.columns, tuple(names.get(label, label) for label in tree.labels), read.arrays.name)
    return LabelledImages(arrays, tree, read.verticals, read.skipped_names)


def _descriptions(path: Path) -> dict[str, str]:
    if not path.is_file():
        raise DataError(f"There is no file '{path}'; expected lines of label id, comma, display name.")
    pairs = (line.partition(",") for line in path.read_text(encoding="utf-8").splitlines())
    return {label.strip(): name.strip().strip('"') for label, _, name in pairs}


def _read(
    files: Mapping[Path, Iterable[str]],
    tree: LabelTree,
    verticals: Verticals,
    *,
    name: str,
    size: tuple[int, int],
    grey: bool,
    skip_bad: bool,
) -> LabelledImages:
    pil = optional("PIL.Image", "vision")
    pixels, positions, paths, skipped = [], [], [], []
    for path, labels in files.items():
        try:
            with pil.open(path) as image:
                pixels.append(pictures.to_array(image, grey=grey, size=size))
        except (OSError, SyntaxError, ValueError) as error:
            if not skip_bad:
                raise DataError(
                    f"'{path}' of '{name}' is missing or not a readable image ({error}). Leave it out with skip_bad=True."
                ) from error
            skipped.append(f"{path}: {error}")
            continue
        positions.append([tree.position[label] for label in labels])
        paths.append(str(path))
    if not pixels:
        raise DataError(f"'{name}' has no image that can be read; {len(skipped)} could not.")
    targets = torch.zeros(len(pixels), len(tree.labels), dtype=torch.bool)
    for row, on in enumerate(positions):
        targets[row, on] = True
    targets = tree.close(targets)
    columns = {"input": np.stack(pixels), "target": targets, "vertical": verticals.of_images(targets), "path": paths}
    return LabelledImages(Arrays(columns, tree.labels, name), tree, verticals, tuple(skipped))
