"""Published sets of labelled texts, in the formats of their files: PubMed RCT, Yahoo! Answers, Emotions, arXiv-10, Bias in Bios."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tutelage.data.arrays import Arrays
from tutelage.data.source import Source
from tutelage.errors import DataError, optional

Rows = Iterator[tuple[str, str | int]]
"""Text and class, by name or by number from 0."""

ROLES = ("BACKGROUND", "OBJECTIVE", "METHODS", "RESULTS", "CONCLUSIONS")
TOPICS = (
    "Society & Culture",
    "Science & Mathematics",
    "Health",
    "Education & Reference",
    "Computers & Internet",
    "Sports",
    "Business & Finance",
    "Entertainment & Music",
    "Family & Relationships",
    "Politics & Government",
)
EMOTIONS = ("sadness", "joy", "love", "anger", "fear", "surprise")
SUBJECTS = ("astro-ph", "cond-mat", "cs", "eess", "hep-ph", "hep-th", "math", "physics", "quant-ph", "stat")
PROFESSIONS = (
    "accountant",
    "architect",
    "attorney",
    "chiropractor",
    "comedian",
    "composer",
    "dentist",
    "dietitian",
    "dj",
    "filmmaker",
    "interior_designer",
    "journalist",
    "model",
    "nurse",
    "painter",
    "paralegal",
    "pastor",
    "personal_trainer",
    "photographer",
    "physician",
    "poet",
    "professor",
    "psychologist",
    "rapper",
    "software_engineer",
    "surgeon",
    "teacher",
    "yoga_teacher",
)


def pubmed_rct(folder: Path) -> Source:
    """Read PubMed-RCT: sentences of abstracts by their role, from `train.txt`, `dev.txt` and `test.txt`.

    A block begins with `###` and the abstract's number, then has a line `ROLE<TAB>sentence` each, and ends with a blank line.

    Args:
        folder: where the files lie.

    Returns:
        The source, with its own validation and test parts.

    Raises:
        DataError: if a file is missing or malformed.

    Source: Dernoncourt and Lee, PubMed 200k RCT, IJCNLP 2017.
    """

    def sentences(path: Path) -> Rows:
        for number, line in enumerate(_lines(path), 1):
            if not line.strip() or line.startswith("###"):
                continue
            role, tab, sentence = line.partition("\t")
            if not tab:
                raise DataError(f"Line {number} of '{path}' is {line[:60]!r}; expected a role, a tab and a sentence.")
            yield sentence, role

    files = {"train": "train.txt", "validation": "dev.txt", "test": "test.txt"}
    return _source("pubmed-rct", ROLES, {part: sentences(folder / file) for part, file in files.items()}, folder)


def yahoo_answers(folder: Path) -> Source:
    """Read Yahoo! Answers by topic, from `train.csv` and `test.csv` without a header: class from 1 to 10, title, question, best answer.

    The text is all three; `classes.txt` names the topics where it is there.

    Args:
        folder: where the files lie.

    Returns:
        The source, with its own test part.

    Raises:
        DataError: if a file is missing or malformed.

    Source: Zhang, Zhao and LeCun, Character-level Convolutional Networks for Text Classification, NIPS 2015.
    """
    named = folder / "classes.txt"
    topics = tuple(line.strip() for line in _lines(named) if line.strip()) if named.is_file() else TOPICS

    def questions(path: Path) -> Rows:
        for number, row in enumerate(_csv(path), 1):
            if len(row) != 4 or not row[0].strip().isdecimal():
                raise DataError(f"Row {number} of '{path}' has {len(row)} columns; expected a class number, title, question and answer.")
            # In the files a line break inside a text is a backslash and an n.
            yield " ".join(column.replace("\\n", " ").strip() for column in row[1:] if column.strip()), int(row[0]) - 1

    return _source("yahoo-answers", topics, {part: questions(folder / f"{part}.csv") for part in ("train", "test")}, folder)


def emotions(folder: Path) -> Source:
    """Read Emotions: short messages by feeling, from `train.txt`, `val.txt` and `test.txt`, or from Parquet files.

    A line of the text files is `text;feeling`. The Parquet files, `train-*.parquet` and so on, have the columns `text` and `label`.

    Args:
        folder: where the files lie (or, of Parquet files, its `split` or `data` folder).

    Returns:
        The source, with its own validation and test parts.

    Raises:
        DataError: if a file is missing or malformed.

    Source: Saravia et al., CARER: Contextualized Affect Representations for Emotion Recognition, EMNLP 2018.
    """

    def messages(path: Path) -> Rows:
        for number, line in enumerate(_lines(path), 1):
            text, mark, feeling = line.rpartition(";")
            if line.strip() and not mark:
                raise DataError(f"Line {number} of '{path}' is {line[:60]!r}; expected a text, a semicolon and a feeling.")
            if mark:
                yield text, feeling.strip()

    if (folder / "train.txt").is_file():
        files = {"train": "train.txt", "validation": "val.txt", "test": "test.txt"}
        return _source("emotions", EMOTIONS, {part: messages(folder / file) for part, file in files.items()}, folder)
    splits = {"train": "train", "validation": "validation", "test": "test"}
    return _source("emotions", EMOTIONS, {p: _parquet(folder, s, "text", "label") for p, s in splits.items()}, folder)


def arxiv10(path: Path) -> Source:
    """Read arXiv-10: papers by subject, from a CSV file with the columns `title`, `abstract` and `label`.

    The text is title and abstract. The file is not cut into parts; its published numbers are of a random cut 80:10:10.

    Args:
        path: the file (`arxiv100.csv`), or its folder.

    Returns:
        The source.

    Raises:
        DataError: if the file is missing or malformed.

    Source: Farhangi et al., Protoformer: Embedding Prototypes for Transformers, PAKDD 2022.
    """
    file = path / "arxiv100.csv" if path.is_dir() else path

    def papers() -> Rows:
        rows = _csv(file)
        header = next(rows, [])
        missing = [name for name in ("title", "abstract", "label") if name not in header]
        if missing:
            raise DataError(f"'{file}' has the columns {header}; expected title, abstract and label.")
        title, abstract, label = (header.index(name) for name in ("title", "abstract", "label"))
        for number, row in enumerate(rows, 2):
            if len(row) != len(header):
                raise DataError(f"Row {number} of '{file}' has {len(row)} columns; expected {len(header)}.")
            yield f"{row[title].strip()} {row[abstract].strip()}", row[label].strip()

    return _source("arxiv10", SUBJECTS, {"train": papers()}, path)


def bias_in_bios(folder: Path) -> Source:
    """Read Bias in Bios: biographies by occupation, from Parquet files `train-*`, `dev-*` and `test-*`.

    Their columns are `hard_text` (without the first sentence, which names the occupation), `profession` and `gender`, by number. The
    authors' own pickle is not read: a pickle can run code.

    Args:
        folder: where the files lie, or its `data` folder.

    Returns:
        The source, with its own validation and test parts.

    Raises:
        DataError: if a file is missing or malformed.
        MissingExtra: if pyarrow is not installed.

    Source: De-Arteaga et al., Bias in Bios, FAT* 2019, in the version of Ravfogel et al., ACL 2020.
    """
    splits = {"train": "train", "validation": "dev", "test": "test"}
    return _source("bias-in-bios", PROFESSIONS, {p: _parquet(folder, s, "hard_text", "profession") for p, s in splits.items()}, folder)


LOADERS: dict[str, Callable[[Path], Source]] = {
    "pubmed-rct": pubmed_rct,
    "yahoo-answers": yahoo_answers,
    "emotions": emotions,
    "arxiv10": arxiv10,
    "bias-in-bios": bias_in_bios,
}
"""Loaders by the name of their data."""


def _source(name: str, classes: Sequence[str], parts: dict[str, Rows], place: Path) -> Source:
    number = {each: i for i, each in enumerate(classes)}
    arrays = {}
    for part, rows in parts.items():
        texts: list[str] = []
        labels: list[int] = []
        for text, label in rows:
            found = number.get(label, -1) if isinstance(label, str) else label
            if not 0 <= found < len(classes):
                raise DataError(
                    f"Row {len(texts) + 1} of the {part} part of '{place}' has the class {label!r}; expected {', '.join(classes)}."
                )
            texts.append(text.strip())
            labels.append(found)
        arrays[part] = Arrays({"input": texts, "label": np.array(labels, np.int64)}, tuple(classes), f"{name} {part}")
    return Source(name, arrays)


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8") as file:
            for line in file:
                yield line.rstrip("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"'{path}' is missing or no UTF-8 text ({error}).") from error


def _csv(path: Path) -> Iterator[list[str]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            yield from csv.reader(file, strict=True)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"'{path}' is missing, truncated or no CSV file ({error}).") from error


def _parquet(folder: Path, split: str, text: str, label: str) -> Rows:
    files = sorted(f for place in (folder, folder / "data", folder / "split") for f in place.glob(f"{split}-*.parquet"))
    if not files:
        raise DataError(f"'{folder}' has no file '{split}-*.parquet'.")
    reader = optional("pyarrow.parquet", "table")
    for file in files:
        try:
            table: Any = reader.read_table(file, columns=[text, label])
        except (OSError, ValueError, KeyError) as error:
            raise DataError(f"'{file}' is truncated, or lacks the columns '{text}' and '{label}' ({error}).") from error
        if {text, label} - set(table.column_names):
            raise DataError(f"'{file}' has the columns {table.column_names}; expected '{text}' and '{label}'.")
        yield from zip(map(str, table.column(text).to_pylist()), map(int, table.column(label).to_pylist()), strict=True)
