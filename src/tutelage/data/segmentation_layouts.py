"""How GTA5, SYNTHIA, Cityscapes and PASCAL VOC 2012 lie in their folders, and what the numbers in their labels mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tutelage.data.checks import NO_CLASS
from tutelage.data.pixel_pairs import Coding, Pair
from tutelage.data.spec import Spec
from tutelage.errors import DataError

STREETS = (
    *("road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain"),
    *("sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"),
)
"""The 19 classes of Cityscapes, in the order of their train ids."""

SIXTEEN = tuple(name for name in STREETS if name not in ("terrain", "truck", "train"))
"""Those that SYNTHIA has."""

OBJECTS = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog"),
    *("horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
"""The 21 classes of VOC."""

_CITYSCAPES = dict(zip((7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33), STREETS, strict=True))
_SYNTHIA = dict(zip((3, 4, 2, 21, 5, 7, 15, 9, 6, 1, 10, 17, 8, 19, 12, 11), SIXTEEN, strict=True))


def _coding(classes: tuple[str, ...], named: dict[int, str], count: int, *, channels: bool = False) -> Coding:
    """Return the coding of numbers 0 to `count` - 1, of which some have names; of these, those among `classes` are classes."""
    places = {name: place for place, name in enumerate(classes)}
    return Coding(classes, {number: places.get(named.get(number, ""), NO_CLASS) for number in range(count)}, channels)


@dataclass(frozen=True)
class Layout:
    """A folder that has been looked through.

    Args:
        expected: what a folder of this kind holds, for errors.
        classes: names of the classes.
        pairs: all pictures and labels by their ids; a pair may lack one of them.
        train: ids of the training part.
        test: ids of the test part, none where there is no such part.
    """

    expected: str
    classes: tuple[str, ...]
    pairs: dict[str, Pair]
    train: tuple[str, ...]
    test: tuple[str, ...] = ()


def listed(spec: Spec, option: str) -> tuple[str, ...]:
    """Return the ids in the list that an option names, a file beside the user or below the folder."""
    path = Path(spec.options[option]).expanduser()
    return ids(path if path.is_file() else spec.path / path)


def ids(path: Path) -> tuple[str, ...]:
    """Read ids from a list: the first word of each line, without its folder, the ending of a picture and `_leftImg8bit`."""
    try:
        lines = [line.split() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"The list '{path}' cannot be read ({error}): expected text with one id of a picture on each line.") from error
    names: dict[str, int] = {}
    for number, (word, *_) in enumerate(lines, 1):
        name = Path(word).name
        name = Path(name).stem if Path(name).suffix.lower() in (".png", ".jpg", ".jpeg") else name
        name = name.removesuffix("_leftImg8bit")
        if name in names:
            raise DataError(f"'{path}' names '{name}' twice, as its pictures {names[name]} and {number}. Leave one of them.")
        names[name] = number
    if not names:
        raise DataError(f"The list '{path}' is empty: expected one id of a picture on each line.")
    return tuple(names)


def _files(spec: Spec, folder: str, pattern: str, expected: str) -> list[Path]:
    if not (spec.path / folder).is_dir():
        raise DataError(f"'{spec.path}' has no folder '{folder}': expected {expected}.")
    return [file for file in sorted((spec.path / folder).glob(pattern)) if not file.name.startswith(".")]


def _side_by_side(spec: Spec, folders: tuple[str, str], coding: Coding) -> Layout:
    """Look through two folders of files with the same names."""
    spec.allow("size", "fit", "labelled", "unlabelled")
    image, label = folders
    expected = f"{image}/NAME.png and {label}/NAME.png"
    names = {file.stem for file in _files(spec, image, "*.png", expected)}
    # Other programs leave translated labels beside the originals.
    names |= {file.stem for file in _files(spec, label, "*.png", expected) if not file.stem.endswith("_labelTrainIds")}
    pairs = {name: Pair(spec.path / image / f"{name}.png", spec.path / label / f"{name}.png", coding) for name in sorted(names)}
    return Layout(expected, coding.classes, pairs, tuple(pairs))


def _gta5(spec: Spec) -> Layout:
    return _side_by_side(spec, ("images", "labels"), _coding(STREETS, _CITYSCAPES, 35))  # 34: licence plates


def _synthia(spec: Spec) -> Layout:
    return _side_by_side(spec, ("RGB", "GT/LABELS"), _coding(SIXTEEN, _SYNTHIA, 23, channels=True))


def _cityscapes(spec: Spec) -> Layout:
    spec.allow("size", "fit", "labelled", "unlabelled", "classes")
    classes = SIXTEEN if spec.choice("classes", ("19", "16")) == "16" else STREETS
    codings = {"labelTrainIds": _coding(classes, dict(enumerate(STREETS)), 19), "labelIds": _coding(classes, _CITYSCAPES, 34)}
    expected = "leftImg8bit/train/CITY/*_leftImg8bit.png and gtFine/train/CITY/*_gtFine_labelTrainIds.png or *_gtFine_labelIds.png"
    found: dict[str, dict[str, Pair]] = {}
    for split in ("train", "val") if (spec.path / "leftImg8bit" / "val").is_dir() else ("train",):
        images = _files(spec, f"leftImg8bit/{split}", "*/*_leftImg8bit.png", expected)
        pairs = {file.name.removesuffix("_leftImg8bit.png"): file for file in images}
        kinds = {
            file.name.removesuffix(f"_gtFine_{kind}.png"): (file, coding)
            for kind, coding in reversed(codings.items())
            for file in sorted((spec.path / "gtFine" / split).glob(f"*/*_gtFine_{kind}.png"))
        }
        found[split] = {name: _of_city(spec.path, split, name, pairs, kinds, codings["labelIds"]) for name in sorted({*pairs, *kinds})}
    both = {name: pair for pairs in found.values() for name, pair in pairs.items()}
    return Layout(expected, classes, both, tuple(found["train"]), tuple(found.get("val", ())))


def _of_city(root: Path, split: str, name: str, images: dict[str, Path], labels: dict[str, tuple[Path, Coding]], coding: Coding) -> Pair:
    city = (images[name] if name in images else labels[name][0]).parent.name
    image = images.get(name, root / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png")
    label, own = labels.get(name, (root / "gtFine" / split / city / f"{name}_gtFine_labelIds.png", coding))
    return Pair(image, label, own)


def _voc(spec: Spec) -> Layout:
    spec.allow("size", "fit", "labelled", "unlabelled", "train")
    expected = "JPEGImages/*.jpg, SegmentationClass/*.png (or SegmentationClassAug) and ImageSets/Segmentation/{train,val}.txt"
    coding = _coding(OBJECTS, dict(enumerate(OBJECTS)), len(OBJECTS))
    images = {file.stem: file for file in _files(spec, "JPEGImages", "*.jpg", expected)}
    larger = (spec.path / "SegmentationClassAug").is_dir()
    labels = {file.stem: file for file in (spec.path / "SegmentationClass").glob("*.png")}
    folder = "SegmentationClassAug" if larger else "SegmentationClass"
    labels |= {file.stem: file for file in _files(spec, folder, "*.png", expected)}
    pairs = {
        name: Pair(images.get(name, spec.path / "JPEGImages" / f"{name}.jpg"), labels.get(name, spec.path / folder / f"{name}.png"), coding)
        for name in sorted({*images, *labels})
    }
    lists = spec.path / "ImageSets" / "Segmentation"
    test = ids(lists / "val.txt")
    if "train" in spec.options:
        named = lists / f"{spec.options['train']}.txt"
        return Layout(expected, OBJECTS, pairs, ids(named) if named.is_file() else listed(spec, "train"), test)
    names = ("trainaug", "train_aug") if larger else ("train",)
    there = next((lists / f"{name}.txt" for name in names if (lists / f"{name}.txt").is_file()), None)
    if there is None and larger:
        held = set(test)
        return Layout(expected, OBJECTS, pairs, tuple(name for name in sorted(labels) if name not in held), test)
    return Layout(expected, OBJECTS, pairs, ids(there or lists / "train.txt"), test)


LAYOUTS: dict[str, Callable[[Spec], Layout]] = {"gta5": _gta5, "synthia": _synthia, "cityscapes": _cityscapes, "voc": _voc}
"""The sets, by the kind of their specification."""
