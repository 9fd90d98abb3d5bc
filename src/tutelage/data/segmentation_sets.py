"""GTA5, SYNTHIA, Cityscapes and PASCAL VOC 2012 with SBD: pictures of which every pixel has a class, in their own folders."""

from __future__ import annotations

from dataclasses import dataclass

from tutelage.data.arrays import Arrays
from tutelage.data.checks import listing
from tutelage.data.decoding import Failures
from tutelage.data.pixel_pairs import Frame, Pair, arrays, one_size, survey
from tutelage.data.segmentation_layouts import LAYOUTS, Layout, listed
from tutelage.data.source import Source
from tutelage.data.spec import Spec, parse
from tutelage.errors import DataError, SpecError


@dataclass(frozen=True, eq=False)
class PixelSet:
    """What is published as one data set with labels of pixels.

    Args:
        name: name of the set.
        train: pictures to learn from, with their labels unless these are not there.
        test: pictures for reported numbers (the published validation part), or `None` where there is no such part.
        unlabelled: pictures to learn from without labels, or `None` where all have them. Labels that exist all the same are for diagnosis.
        skipped_names: files that were left out, with the reason.
    """

    name: str
    train: Arrays
    test: Arrays | None = None
    unlabelled: Arrays | None = None
    skipped_names: tuple[str, ...] = ()


def pixel_set(spec: str | Spec, *, labels: bool = True, skip_bad: bool = False) -> PixelSet:
    """Read GTA5, SYNTHIA, Cityscapes or VOC 2012 (with SBD) from the folder that it is published as.

    - `gta5:DIR`: `images/*.png`, `labels/*.png` with Cityscapes' ids; 19 classes.
    - `synthia:DIR` (RAND-CITYSCAPES): `RGB/*.png`, `GT/LABELS/*.png` of 16 bits with the class in the first channel; 16 classes.
    - `cityscapes:DIR`: `leftImg8bit/SPLIT/CITY/*_leftImg8bit.png`, `gtFine/SPLIT/CITY/*_gtFine_labelTrainIds.png`, or `*_labelIds.png`
      where these were not made; the test part is `val`, for the labels of `test` are kept back.
    - `voc:DIR`: `JPEGImages/*.jpg`, `SegmentationClassAug/*.png` (VOC and SBD) or `SegmentationClass/*.png` (VOC),
      `ImageSets/Segmentation/*.txt`; the test part is `val`.

    Pixels of other classes have the label 255. Where pictures are many they stay in their files and are decoded, on threads, each time
    that a batch is gathered; damage to a file then shows when it is first decoded, except with `skip_bad`.

    Args:
        spec: one of the above, with the options
            `size` (pixels, `512` or `HEIGHTxWIDTH`; without it all pictures must have one size) and `fit`: `cut` (scaled to cover the size,
            the middle cut out) or `pad` (scaled down where larger, filled with no class); pictures are scaled bilinearly, labels to
            the nearest pixel;
            `labelled` and `unlabelled`: text files with an id, or a path that ends in one, on each line, of pictures to learn from with
            and without labels; all with, and those that `labelled` leaves over without, by default;
            for Cityscapes `classes` (19 or 16, those of SYNTHIA); for VOC `train`, the list of training pictures (`trainaug` where there
            are labels of SBD, and all of these where there is no such list; else `train`).
        labels: whether training pictures need labels. Otherwise they are read only if all have them.
        skip_bad: leave out pictures without labels, labels without pictures, and files that are damaged, instead of raising. Every
            file is then decoded once to find them.

    Returns:
        The set: `input` uint8 `[N, 3, H, W]`, `label` int64 `[N, H, W]`.

    Raises:
        SpecError: if it names none of these sets.
        DataError: if the folder is not of that form, a part or list is empty, a listed picture does not exist or is listed
            twice, a picture and its labels lack each other or differ in size, a number in the labels is out of range, a file is
            damaged, or training and test pictures overlap.
        OptionError: for a wrong option.
        MissingExtra: if Pillow is not installed.

    Source: Richter et al., Playing for Data, ECCV 2016; Ros et al., The SYNTHIA Dataset, CVPR 2016; Cordts et al., The Cityscapes
    Dataset, CVPR 2016; Everingham et al., The PASCAL VOC Challenge, IJCV 2010; Hariharan et al., Semantic Contours, ICCV 2011.
    """
    return _read(parse(spec) if isinstance(spec, str) else spec, labels=labels, skip_bad=skip_bad, unlabelled=True)


def source(spec: Spec, *, skip_bad: bool) -> Source:
    """Read a set for `load`: labelled pictures alone, the published validation part as the test part; see `pixel_set`."""
    found = _read(spec, labels=True, skip_bad=skip_bad, unlabelled=False)
    parts = {"train": found.train} | ({} if found.test is None else {"test": found.test})
    return Source(found.name, parts, list(found.skipped_names))


def _read(spec: Spec, *, labels: bool, skip_bad: bool, unlabelled: bool) -> PixelSet:
    if spec.kind not in LAYOUTS:
        raise SpecError(f"'{spec.text}' is no set with labels of pixels: expected one of {', '.join(f'{kind}:DIR' for kind in LAYOUTS)}.")
    if not spec.path.is_dir():
        raise DataError(f"'{spec.path}' is not a folder: expected {spec.kind} as it is published.")
    layout = LAYOUTS[spec.kind](spec)
    size, padded = spec.size(), spec.choice("fit", ("cut", "pad")) == "pad"
    failures = Failures(spec.path, skip_bad)
    chosen = _chosen(spec, layout, failures)
    if not unlabelled:
        chosen.pop("unlabelled", None)
    surveyed = {part: survey(pairs, failures, needed=part == "test" or (labels and part == "train")) for part, pairs in chosen.items()}
    for part, pairs in surveyed.items():
        if not pairs:
            first = f"; the first: {failures.names[0]}" if failures.names else ""
            raise DataError(f"The {part} part of '{spec.text}' has no picture{first}. Expected {layout.expected}.")
    everything = [pair for part in surveyed.values() for pair in part]
    frame = Frame(size or one_size(everything), "pad" if padded else "cut")
    parts = {part: arrays(pairs, frame, layout.classes, f"{spec.kind} {part}", failures) for part, pairs in surveyed.items()}
    return PixelSet(spec.kind, parts["train"], parts.get("test"), parts.get("unlabelled"), tuple(failures.names))


def _chosen(spec: Spec, layout: Layout, failures: Failures) -> dict[str, list[Pair]]:
    """Return the pairs of each part; listed ids that do not exist go to the failures."""
    lists = {part: listed(spec, part) for part in ("labelled", "unlabelled") if part in spec.options}
    parts = {"train": lists.get("labelled", layout.train)}
    if lists:
        inside = set(parts["train"])
        rest = lists.get("unlabelled", tuple(name for name in layout.train if name not in inside))
        parts |= {"unlabelled": rest} if rest else {}
    if layout.test:
        parts["test"] = layout.test
    both = sorted((set(parts["train"]) | set(parts.get("unlabelled", ()))) & set(layout.test))
    if both:
        raise DataError(f"{len(both)} test pictures of '{spec.text}' are also learned from: {listing(both)}. Correct the lists.")
    for names in parts.values():
        gone = {spec.path / name: "is listed, but there is no picture of that name" for name in names if name not in layout.pairs}
        failures.add(gone, len(names))
    return {part: [layout.pairs[name] for name in names if name in layout.pairs] for part, names in parts.items()}
