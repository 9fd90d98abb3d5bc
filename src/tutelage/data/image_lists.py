"""Images named by list files, as transfer is measured on them: Places205 and the image classification of PASCAL VOC 2007."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import torch

from tutelage.data.arrays import Arrays
from tutelage.data.decoding import Failures, Picture, decode, labelled
from tutelage.data.source import Source
from tutelage.data.spec import Spec
from tutelage.errors import DataError, OptionError, nearest

IMAGES256 = Path("data/vision/torralba/deeplearning/images256")
"""Where the release of Places205 has its images, of 256x256 pixels."""

VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog", "horse", "motorbike"),
    *("person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
VOC_PARTS = ("train", "val", "trainval", "test")

_LINE = re.compile(r"(?P<path>.+?)(?:\s*,\s*|\s+)(?P<label>\d+)")


def read_list(path: str | Path) -> list[tuple[str, int]]:
    """Read a list of images with one label each.

    Args:
        path: text file of lines `path,label` or `path label`; empty lines are passed over, a leading `/` of a path is dropped.

    Returns:
        Paths and labels in the order of the file.

    Raises:
        DataError: if the file is missing, empty or no text, or a line is of another form.
    """
    path = Path(path)
    rows: list[tuple[str, int]] = []
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                found = _LINE.fullmatch(line.strip())
                if found:
                    rows.append((found["path"].strip().lstrip("/"), int(found["label"])))
                elif line.strip():
                    raise DataError(f"'{path}', line {number}, reads {line.strip()[:80]!r}: expected 'path,label' or 'path label'.")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"The list '{path}' cannot be read ({error}): expected lines 'path,label' or 'path label'.") from error
    if not rows:
        raise DataError(f"The list '{path}' is empty: expected lines 'path,label' or 'path label'.")
    return rows


def image_list(
    path: str | Path,
    root: str | Path,
    *,
    size: int | tuple[int, int],
    classes: Sequence[str] | None = None,
    grey: bool = False,
    skip_bad: bool = False,
) -> Arrays:
    """Read the images that a list names.

    Args:
        path: the list, see `read_list`.
        root: folder that its paths are relative to.
        size: side, or (height, width), that images are scaled to, the middle cut out where proportions differ; in pixels.
        classes: names of the classes; by default each class has the name of the folder that all its images lie in, or else its number.
        grey: one channel instead of three.
        skip_bad: leave out images that are missing or damaged, instead of raising.

    Returns:
        Columns `input` uint8 `[N, C, H, W]`, mapped from the cache where it is large, and `label`, in the order of the list.

    Raises:
        DataError: if the list is malformed, a label has no name, or an image is missing or damaged.
        MissingExtra: if Pillow is not installed.
    """
    rows, failures = read_list(path), Failures(Path(root), skip_bad)
    return _listed(Path(path), rows, Path(root), tuple(classes or class_names(rows)), _frame(size), grey, failures)[0]


def class_names(rows: Sequence[tuple[str, int]]) -> tuple[str, ...]:
    """Name each label after the folder of its images, without a folder of one letter above (`a/abbey/1.jpg` is `abbey`), or by its number.

    Args:
        rows: paths and labels.

    Returns:
        Names of the labels from 0 to the largest; of folders that two labels share, numbers.
    """
    folders: dict[int, set[tuple[str, ...]]] = {}
    for path, label in rows:
        parts = Path(path).parts[:-1]
        folders.setdefault(label, set()).add(parts[1:] if len(parts) > 1 and len(parts[0]) == 1 else parts)
    names = ["/".join(min(folders[n])) if len(folders.get(n, ())) == 1 else "" for n in range(max(folders) + 1)]
    return tuple(name if name and names.count(name) == 1 else str(n) for n, name in enumerate(names))


def places205(spec: Spec, *, skip_bad: bool) -> Source:
    """Read Places205 as it is released: lists of paths and labels beside a tree of images of 256x256 pixels.

    Its validation images, on which papers report since the labels of its test images are not public, are the test part.

    Args:
        spec: `places205:FOLDER`, a folder that holds `train_places205.csv` and `val_places205.csv` (or the folder
            `trainvalsplit_places205` of them) and `data/vision/torralba/deeplearning/images256`; option `size` (default 256).
        skip_bad: leave out images that are missing or damaged, instead of raising.

    Returns:
        The source, with the parts `train` and `test`; classes are named like their folders (`abbey`, `field/wild`).

    Raises:
        DataError: if a list or the images are missing, a list is malformed, or an image cannot be read.
        OptionError: for a wrong option.
    """
    spec.allow("size")
    root, size = spec.path, spec.size() or (256, 256)
    images = root / IMAGES256
    if not images.is_dir():
        raise DataError(f"There is no folder '{images}': expected the images of Places205 (imagesPlaces205_resize) unpacked in '{root}'.")
    lists = {}
    for part, name in (("train", "train_places205.csv"), ("test", "val_places205.csv")):
        places = (root / name, root / "trainvalsplit_places205" / name)
        lists[part] = next((place for place in places if place.is_file()), places[0])
    rows = {part: read_list(path) for part, path in lists.items()}
    classes, failures = class_names(rows["train"]), Failures(images, skip_bad)
    read = {part: _listed(path, rows[part], images, classes, size, False, failures) for part, path in lists.items()}
    parts = {part: arrays for part, (arrays, _) in read.items()}
    return Source("places205", parts, failures.names, describe=lambda part, row: f"'{read[part][1][row]}'")


def voc2007(
    root: str | Path, part: str = "trainval", *, size: int | tuple[int, int] = 224, grey: bool = False, skip_bad: bool = False
) -> Arrays:
    """Read the image classification task of PASCAL VOC 2007: twenty classes, several of which an image may show.

    Args:
        root: the folder `VOC2007` with `ImageSets/Main/CLASS_PART.txt` and `JPEGImages`, or `VOCdevkit`, or the folder that holds it.
        part: `train`, `val`, `trainval` (5,011 images) or `test` (4,952).
        size: side, or (height, width), that images are scaled to, the middle cut out where proportions differ; in pixels.
        grey: one channel instead of three.
        skip_bad: leave out images that are missing or damaged, instead of raising.

    Returns:
        Columns `input` uint8 `[N, C, H, W]`, mapped from the cache where it is large; `target` bool `[N, 20]`, what an image shows;
        `counted` bool `[N, 20]`, false where a class is shown by difficult objects alone (label 0 in the files), which are neither right
        nor wrong; and `id`, the images' names.

    Raises:
        DataError: if a file is missing or malformed, lists disagree, or an image is missing or damaged.
        OptionError: for an unknown part.
        MissingExtra: if Pillow is not installed.
    """
    if part not in VOC_PARTS:
        raise OptionError(f"VOC 2007 has no part '{part}'.{nearest(part, VOC_PARTS)}")
    top = Path(root)
    found = next((f for f in (top, top / "VOC2007", top / "VOCdevkit" / "VOC2007") if (f / "ImageSets" / "Main").is_dir()), None)
    if found is None:
        raise DataError(f"'{top}' has no folder 'ImageSets/Main': expected VOCdevkit/VOC2007 as it is unpacked.")
    marks = {name: _marks(found / "ImageSets" / "Main" / f"{name}_{part}.txt") for name in VOC_CLASSES}
    names = list(marks[VOC_CLASSES[0]])
    for name, marked in marks.items():
        if list(marked) != names:
            raise DataError(f"'{name}_{part}.txt' and '{VOC_CLASSES[0]}_{part}.txt' of '{found}' list different images. Unpack it again.")
    table = torch.tensor([[marks[c][name] for c in VOC_CLASSES] for name in names], dtype=torch.int8)
    failures = Failures(found / "JPEGImages", skip_bad)
    pictures, rows = _present([Picture(found / "JPEGImages" / f"{name}.jpg", 0) for name in names], failures)
    arrays, kept = decode(pictures, (1 if grey else 3, *_frame(size)), _frame(size), f"VOC 2007 {part}", failures)
    rows = [rows[row] for row in kept]
    columns = {**arrays.columns, "target": table[rows] > 0, "counted": table[rows] != 0, "id": [names[row] for row in rows]}
    return Arrays(columns, VOC_CLASSES, arrays.name)


def _marks(path: Path) -> dict[str, int]:
    """Read lines of an image's name and 1, 0 (difficult objects alone) or -1."""
    try:
        lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"'{path}' cannot be read ({error}): expected a line 'IMAGE 1', 'IMAGE 0' or 'IMAGE -1' for each image.") from error
    wrong = next((line for line in lines if len(line) != 2 or line[1] not in {"1", "+1", "0", "-1"}), None)
    if wrong is not None or not lines:
        got = "nothing" if wrong is None else f"the line '{' '.join(wrong)}'"
        raise DataError(f"'{path}' holds {got}: expected a line 'IMAGE 1', 'IMAGE 0' or 'IMAGE -1' for each image.")
    return {name: int(mark) for name, mark in lines}


def _listed(
    path: Path,
    rows: Sequence[tuple[str, int]],
    root: Path,
    classes: tuple[str, ...],
    size: tuple[int, int],
    grey: bool,
    failures: Failures,
) -> tuple[Arrays, list[Path]]:
    worst = max(rows, key=lambda row: row[1])
    if worst[1] >= len(classes):
        raise DataError(f"'{path}' gives '{worst[0]}' the label {worst[1]}: expected 0 to {len(classes) - 1}, as there are classes.")
    pictures, _ = _present([Picture(root / name, label) for name, label in rows], failures)
    return labelled(pictures, (1 if grey else 3, *size), size, classes, path.stem, failures)


def _present(files: Sequence[Picture], failures: Failures) -> tuple[list[Picture], list[int]]:
    """Return the files that are there, and their positions; the others go to the failures."""
    kept = [row for row, picture in enumerate(files) if picture.path.is_file()]
    there = set(kept)
    failures.add({p.path: "does not exist" for row, p in enumerate(files) if row not in there}, len(files))
    if not kept:
        raise DataError(f"None of the {len(files)} images that are listed is in '{failures.root}'. Give the folder they were unpacked to.")
    return [files[row] for row in kept], kept


def _frame(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size
