"""Which clips there are and what they show: list files, and the annotations of FineGym, FineDiving, UCF101 and HMDB51."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from tutelage.data.arrays import Arrays
from tutelage.data.checks import listing
from tutelage.data.video import FrameFolder, Video, clip
from tutelage.errors import DataError, OptionError

_ENDINGS = (".mp4", ".avi", ".mkv", ".webm", ".mov")


@dataclass(frozen=True)
class VideoParts:
    """Semi-supervised clips on disk, all with the columns `input` (a list of clips) and `label`.

    Args:
        labelled: clips to learn from with their labels.
        unlabelled: clips to learn from without; their labels are for diagnosis only.
        validation: clips to tune and stop on.
        test: clips for reported numbers.
    """

    labelled: Arrays
    unlabelled: Arrays
    validation: Arrays
    test: Arrays


def video_list(
    path: str | Path,
    root: str | Path | None = None,
    *,
    classes: Sequence[str] | None = None,
    short: int | None = None,
    skip_bad: bool = False,
) -> Arrays:
    """Read a list of clips: on each line a path, white space, and the number of its class.

    Args:
        path: the list; paths in it may hold spaces, empty lines are passed over.
        root: folder that the paths are relative to; that of the list when `None`.
        classes: names of the classes; the numbers up to the largest label when `None`.
        short: length in pixels that frames' shorter sides are scaled to on reading; `None` for their own size.
        skip_bad: leave clips out that do not exist, instead of raising.

    Returns:
        Columns `input`, a list of `Video` and `FrameFolder` (nothing is decoded), and `label`, int64.

    Raises:
        DataError: if the list is missing or malformed, a label is out of range, or a clip does not exist.
    """
    file = Path(path)
    rows = []
    for number, line in _lines(file):
        where, _, label = line.rpartition(" ") if " " in line else line.rpartition("\t")
        if not where.strip() or not re.fullmatch(r"\d+", label):
            raise DataError(f"Line {number} of '{file}' is '{line}': expected a path, a space and a class number from 0.")
        rows.append((where.strip(), int(label)))
    count = 1 + max(label for _, label in rows)
    names = tuple(map(str, range(count))) if classes is None else tuple(classes)
    return _arrays(rows, Path(root) if root is not None else file.parent, names, file.name, short, skip_bad)


def video_lists(
    folder: str | Path,
    root: str | Path | None = None,
    *,
    classes: Sequence[str] | None = None,
    short: int | None = None,
    skip_bad: bool = False,
) -> VideoParts:
    """Read the four lists of a semi-supervised split: `train.csv`, `unlabel.csv`, `val.csv` and `test.csv`.

    Where one of the last two is missing, the other serves for both; that is noted in the parts' names.

    Args:
        folder: where the lists are.
        root: folder that the paths are relative to; that of the lists when `None`.
        classes: names of the classes; the numbers up to the largest label of all lists when `None`.
        short: as for `video_list`.
        skip_bad: as for `video_list`.

    Returns:
        The parts, with the same classes.

    Raises:
        DataError: as `video_list`, or if the labelled and unlabelled lists share a clip with `val.csv` or `test.csv`.
    """
    where = Path(folder)
    held = [name for name in ("val.csv", "test.csv") if (where / name).is_file()]
    if not held:
        raise DataError(f"'{where}' has neither val.csv nor test.csv: expected train.csv, unlabel.csv and at least one of them.")
    names = {"labelled": "train.csv", "unlabelled": "unlabel.csv", "validation": held[0], "test": held[-1]}
    parts = {part: video_list(where / name, root, classes=classes, short=short, skip_bad=skip_bad) for part, name in names.items()}
    shared = max((arrays.classes for arrays in parts.values()), key=lambda names: len(names))
    learned = {str(c.path) for part in ("labelled", "unlabelled") for c in parts[part].column("input")}
    for part in ("validation", "test"):
        both = sorted(learned & {str(c.path) for c in parts[part].column("input")})
        if both:
            raise DataError(
                f"{len(both)} clips of '{where / names[part]}' are also learned from: {listing(both)}. Take them out of one list."
            )
    return VideoParts(**{part: Arrays(a.columns, shared, f"{where.name}/{names[part]}") for part, a in parts.items()})


def ucf101(
    lists: str | Path, videos: str | Path, *, split: int = 1, short: int | None = None, skip_bad: bool = False
) -> tuple[Arrays, Arrays]:
    """Read UCF101: `classInd.txt`, `trainlist0S.txt` and `testlist0S.txt` beside folders of videos by class.

    Args:
        lists: folder of the lists.
        videos: folder with one folder per class.
        split: 1, 2 or 3.
        short: as for `video_list`.
        skip_bad: as for `video_list`.

    Returns:
        Training and test clips.

    Raises:
        DataError: if a list is missing or malformed, or a clip does not exist.
    """
    folder = Path(lists)
    names: dict[str, int] = {}
    for number, line in _lines(folder / "classInd.txt"):
        position, _, name = line.partition(" ")
        if position != str(len(names) + 1) or not name:
            raise DataError(f"Line {number} of '{folder / 'classInd.txt'}' is '{line}': expected '{len(names) + 1} ClassName'.")
        names[name] = len(names)
    parts = []
    for part in ("train", "test"):
        file = folder / f"{part}list{split:02d}.txt"
        rows = []
        for number, line in _lines(file):
            where = line.split(" ")[0]
            if Path(where).parent.name not in names:
                raise DataError(f"Line {number} of '{file}' names '{where}', whose folder is no class of classInd.txt.")
            rows.append((where, names[Path(where).parent.name]))
        parts.append(_arrays(rows, Path(videos), tuple(names), f"UCF101 {part} {split}", short, skip_bad))
    return parts[0], parts[1]


def hmdb51(
    lists: str | Path, videos: str | Path, *, split: int = 1, short: int | None = None, skip_bad: bool = False
) -> tuple[Arrays, Arrays]:
    """Read HMDB51: `CLASS_test_splitS.txt` per class, whose lines say whether a clip is for training (1), test (2) or neither (0).

    Args:
        lists: folder of the lists.
        videos: folder with one folder per class.
        split: 1, 2 or 3.
        short: as for `video_list`.
        skip_bad: as for `video_list`.

    Returns:
        Training and test clips; classes are in the order of their names.

    Raises:
        DataError: if lists are missing or malformed, or a clip does not exist.
    """
    ending = f"_test_split{split}.txt"
    files = sorted(Path(lists).glob(f"*{ending}"))
    if not files:
        raise DataError(f"'{lists}' holds no list that ends in '{ending}': expected one per class.")
    names = tuple(file.name.removesuffix(ending) for file in files)
    rows: dict[str, list[tuple[str, int]]] = {"1": [], "2": [], "0": []}
    for label, (file, name) in enumerate(zip(files, names, strict=True)):
        for number, line in _lines(file):
            where, _, part = line.rpartition(" ")
            if part not in rows or not where:
                raise DataError(f"Line {number} of '{file}' is '{line}': expected a file name and 0, 1 or 2.")
            rows[part].append((f"{name}/{where}", label))
    train, test = (
        _arrays(rows[p], Path(videos), names, f"HMDB51 {n} {split}", short, skip_bad) for p, n in (("1", "train"), ("2", "test"))
    )
    return train, test


def finegym(
    elements: str | Path,
    videos: str | Path,
    categories: str | Path | None = None,
    *,
    event: str | None = None,
    sets: Sequence[int] | None = None,
    short: int | None = None,
    skip_bad: bool = False,
) -> Arrays:
    """Read a part of Gym99 or Gym288: lines of an element's name and its class, beside one trimmed clip `NAME.mp4` per element.

    Args:
        elements: such as `gym99_train_element_v1.1.txt`: `VIDEO_E_START_END_A_START_END CLASS` on each line.
        videos: folder of the clips; a clip may also be a folder of frames of that name.
        categories: such as `gym99_categories.txt`: `Clabel: 0; set: 1; Glabel: 1; (VT) round-off, ...`; it names the classes.
        event: only elements of one event: `"VT"`, `"FX"`, `"BB"` or `"UB"`; needs categories. The labels then count the classes left.
        sets: only elements of these sets, by their numbers in the categories; likewise.
        short: as for `video_list`.
        skip_bad: as for `video_list`.

    Returns:
        The clips with their labels.

    Raises:
        DataError: if a file is missing or malformed, nothing is left, or a clip does not exist.
        OptionError: if a choice is made without categories.
    """
    file = Path(elements)
    rows = []
    for number, line in _lines(file):
        found = re.fullmatch(r"(\S+_E_\d+_\d+_A_\d+_\d+)\s+(\d+)", line)
        if not found:
            raise DataError(f"Line {number} of '{file}' is '{line}': expected 'VIDEO_E_START_END_A_START_END CLASS'.")
        rows.append((found[1], int(found[2])))
    if categories is None:
        if event is not None or sets is not None:
            raise OptionError("finegym was asked for an event or sets, which only the file of categories tells: give categories.")
        names = tuple(map(str, range(1 + max(label for _, label in rows))))
    else:
        told = list(_categories(Path(categories)))
        chosen = [i for i, (s, e, _) in enumerate(told) if event in (None, e) and (sets is None or s in sets)]
        place = {old: new for new, old in enumerate(chosen)}
        if any(label >= len(told) for _, label in rows):
            raise DataError(f"'{file}' has a label beyond the {len(told)} classes of '{categories}': expected files of one version.")
        rows = [(name, place[label]) for name, label in rows if label in place]
        names = tuple(told[i][2] for i in chosen)
        if not rows:
            raise DataError(f"'{file}' has no element of event {event} and sets {sets}.")
    return _arrays(rows, Path(videos), names, file.stem, short, skip_bad)


def _categories(file: Path) -> Iterator[tuple[int, str, str]]:
    """Yield set, event and name of each class."""
    for place, (number, line) in enumerate(_lines(file)):
        found = re.fullmatch(r"Clabel:\s*(\d+);\s*set:\s*(\d+);\s*Glabel:\s*\d+;\s*(\((\w+)\).*)", line)
        if not found or int(found[1]) != place:
            raise DataError(f"Line {number} of '{file}' is '{line}': expected 'Clabel: {place}; set: S; Glabel: G; (EVENT) name'.")
        yield int(found[2]), found[4], found[3]


def finediving(
    annotations: str | Path,
    split: str | Path,
    videos: str | Path,
    *,
    contains: str = "",
    classes: Sequence[str] | None = None,
    short: int | None = None,
    skip_bad: bool = False,
) -> Arrays:
    """Read a part of FineDiving, whose published pickles were turned into JSON: pickles are never read here.

    Args:
        annotations: JSON list of `[competition, number, action]`, the action's code such as `"107B"`.
        split: JSON list of `[competition, number]`: the dives of this part.
        videos: folder of the dives, each `COMPETITION/NUMBER`, a folder of frames or a video.
        contains: only competitions whose name holds this, such as `"10m"`.
        classes: codes in the order of their labels; all codes of the annotations, sorted, when `None`.
        short: as for `video_list`.
        skip_bad: as for `video_list`.

    Returns:
        The dives with their labels.

    Raises:
        DataError: if a file is missing, malformed or a pickle, a dive is not annotated, or a clip does not exist.
    """
    codes = {(str(video), str(dive)): str(action) for video, dive, action in _json_rows(Path(annotations), 3)}
    names = tuple(sorted(set(codes.values()))) if classes is None else tuple(classes)
    place = {name: i for i, name in enumerate(names)}
    rows = []
    for video, dive in ((str(v), str(d)) for v, d in _json_rows(Path(split), 2)):
        if contains not in video:
            continue
        if (video, dive) not in codes:
            raise DataError(f"'{split}' names the dive {video}/{dive}, which '{annotations}' does not describe.")
        if codes[video, dive] in place:
            rows.append((f"{video}/{dive}", place[codes[video, dive]]))
    if not rows:
        raise DataError(f"'{split}' has no dive of these classes in a competition with '{contains}' in its name.")
    return _arrays(rows, Path(videos), names, Path(split).stem, short, skip_bad)


def _json_rows(path: Path, length: int) -> list[list[object]]:
    """Read a JSON list of rows of one length."""
    convert = (
        "python -c \"import json, pickle, sys; d = pickle.load(open(sys.argv[1], 'rb')); "
        "rows = [[*k, v[0]] for k, v in d.items()] if isinstance(d, dict) else [list(k) for k in d]; "
        "json.dump(rows, open(sys.argv[2], 'w'))\" IN.pkl OUT.json"
    )
    if path.suffix.lower() in {".pkl", ".pickle"}:
        raise DataError(f"'{path}' is a pickle, which runs whatever code it holds, so it is refused. Where you trust it: {convert}")
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"'{path}' cannot be read as JSON ({error}). The published pickles are turned into it by: {convert}") from error
    if not isinstance(rows, list) or not rows or any(not isinstance(row, list) or len(row) != length for row in rows):
        raise DataError(f"'{path}' should be a JSON list of lists of {length} entries each.")
    return rows


def _lines(file: Path) -> list[tuple[int, str]]:
    """Return the lines that are not empty, with their numbers from 1."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"'{file}' cannot be read ({error}).") from error
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        raise DataError(f"'{file}' has no lines.")
    return lines


def _arrays(rows: Iterable[tuple[str, int]], root: Path, classes: tuple[str, ...], name: str, short: int | None, skip_bad: bool) -> Arrays:
    clips: list[Video | FrameFolder] = []
    labels, absent = [], []
    for where, label in rows:
        if label >= len(classes):
            raise DataError(f"'{name}' gives {where} the label {label}: expected 0 to {len(classes) - 1}.")
        path = _existing(root / where)
        if path is None:
            absent.append(where)
            continue
        clips.append(clip(path, short=short))
        labels.append(label)
    if absent and not skip_bad:
        raise DataError(
            f"{len(absent)} of the clips of '{name}' are not in '{root}': {listing(absent)}. "
            "Check the folder, or leave them out with skip_bad=True."
        )
    if not clips:
        raise DataError(f"None of the clips of '{name}' is in '{root}'.")
    return Arrays({"input": clips, "label": torch.tensor(labels)}, classes, name)


def _existing(path: Path) -> Path | None:
    """Return the clip of that name: as it is, or with the ending of a video."""
    if path.exists():
        return path
    return next((p for e in _ENDINGS if (p := path.with_name(path.name + e)).is_file()), None)
