"""Folders of images, one sub-folder per class."""

from __future__ import annotations

from pathlib import Path

from tutelage.data.arrays import Arrays
from tutelage.data.checks import listing
from tutelage.data.decoding import ENDINGS, Failures, Picture, decode, labelled, one_size, survey
from tutelage.data.source import Source
from tutelage.data.spec import Spec
from tutelage.errors import DataError

_PARTS = {"train": ("train", "training"), "validation": ("validation", "valid", "val"), "test": ("test", "testing")}
_IGNORED = {"thumbs.db", "desktop.ini"}


def image_folder(spec: Spec, *, skip_bad: bool) -> Source:
    """Read a folder of images.

    The folder holds one sub-folder per class, or `train` and optionally `val` and `test` folders of such. All visible
    files below a class folder are taken for images. They are decoded once into uint8 arrays; large sets (256 MiB of
    pixels) go into the cache and are memory-mapped.

    Args:
        spec: options `size` (pixels, `32` or `HEIGHTxWIDTH`: images are scaled and their middle cut out) and `color`
            (`auto`: grey when all images are; `grey`; `rgb`).
        skip_bad: leave out files that are not images or are damaged, instead of raising.

    Returns:
        The source.

    Raises:
        DataError: if there are no classes or images, a file is no image, or sizes differ and no `size` is given.
        OptionError: for a wrong option.
    """
    spec.allow("size", "color")
    root, size, color = spec.path, spec.size(), spec.choice("color", ("auto", "grey", "rgb"))
    if not root.is_dir():
        raise DataError(f"'{root}' is not a folder: expected one with a sub-folder of images per class.")
    folders = {part: next((root / n for n in names if (root / n).is_dir()), None) for part, names in _PARTS.items()}
    roots = {part: folder for part, folder in folders.items() if folder} if folders["train"] else {"train": root}
    classes = _classes(roots["train"])
    failures = Failures(root, skip_bad)
    found = {part: _survey(folder, classes, failures) for part, folder in roots.items()}
    everything = [picture for part in found.values() for picture in part]
    if not found["train"]:
        raise DataError(f"'{roots['train']}' has no image in its {len(classes)} class folders: expected at least one in each.")
    grey = color == "grey" or (color == "auto" and all(p.grey for p in everything))
    shape = (1 if grey else 3, *(size or one_size(spec, everything)))
    parts, files = {}, {}
    for part, chosen in found.items():
        parts[part], files[part] = labelled(chosen, shape, size, classes, str(roots[part]), failures)
    return Source(root.resolve().name, parts, failures.names, describe=lambda part, row: f"'{files[part][row]}'")


def has_classes(root: Path) -> bool:
    """Whether a folder is one of class folders: at least two sub-folders and no image beside them, or a `train` folder like that."""
    train = next((root / n for n in _PARTS["train"] if (root / n).is_dir()), root)
    beside = [f for f in train.iterdir() if not f.name.startswith(".")]
    return sum(f.is_dir() for f in beside) >= 2 and not any(f.is_file() and f.suffix.lower() in ENDINGS for f in beside)


def unlabelled_folder(spec: Spec, *, skip_bad: bool) -> tuple[Arrays, list[str]]:
    """Read all images below a folder, however they are arranged; what is not named like an image is passed over.

    Args:
        spec: options `size` and `color` as for `image_folder`.
        skip_bad: leave out files that are damaged, instead of raising.

    Returns:
        Arrays with the column `input` alone, and the files left out.

    Raises:
        DataError: if there is no image, a file is damaged, or sizes differ and no `size` is given.
        OptionError: for a wrong option.
    """
    spec.allow("size", "color")
    root, size, color = spec.path, spec.size(), spec.choice("color", ("auto", "grey", "rgb"))
    files = [f for f in sorted(root.rglob("*")) if f.is_file() and f.suffix.lower() in ENDINGS and not f.name.startswith(".")]
    failures = Failures(root, skip_bad)
    found = survey([Picture(f, 0) for f in files], failures)
    if not found:
        raise DataError(f"There is no image below '{root}': expected files ending in {', '.join(sorted(ENDINGS))}.")
    grey = color == "grey" or (color == "auto" and all(p.grey for p in found))
    shape = (1 if grey else 3, *(size or one_size(spec, found)))
    arrays, _ = decode(found, shape, size, root.resolve().name, failures)
    return arrays, failures.names


def _classes(root: Path) -> tuple[str, ...]:
    names = sorted(f.name for f in root.iterdir() if f.is_dir() and not f.name.startswith("."))
    if not names:
        raise DataError(f"'{root}' has no sub-folders: expected one folder of images per class.")
    return tuple(names)


def _survey(root: Path, classes: tuple[str, ...], failures: Failures) -> list[Picture]:
    """List the files of a part and read their headers."""
    unknown = sorted(set(_classes(root)) - set(classes))
    if unknown:
        raise DataError(f"'{root}' has {len(unknown)} class folder(s) that the training part lacks: {listing(unknown)}.")
    files: list[Picture] = []
    for label, name in enumerate(classes):
        below = (f for f in sorted((root / name).rglob("*")) if f.is_file())
        files += [Picture(f, label) for f in below if not f.name.startswith(".") and f.name.lower() not in _IGNORED]
    return survey(files, failures)
