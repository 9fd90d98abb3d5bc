"""ExCyTIn-Bench: questions about security incidents, and the logs that answer them, in the formats that the benchmark is published in."""

from __future__ import annotations

import csv
import json
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tutelage.errors import DataError
from tutelage.files import replacing

SEPARATOR = "❖"
"""Between the columns of the logs' CSV files; their quote is `"`."""
_NAME = re.compile(r"incident_(\d+)_qa")
_PATHS = ("start_entities", "end_entities", "shortest_alert_path")
_LARGEST = 1 << 30  # characters of one CSV field; Python's default ends at 131072


@dataclass(frozen=True)
class Question:
    """One question with its solution.

    Args:
        incident: number of the incident, from the file's name.
        context: what the investigator knows.
        question: what is asked.
        answer: the right answer.
        solution: steps to it, the last one holding the answer.
        start_alert: node of the alert graph that the context is about.
        end_alert: node that the answer is about.
        start_entities: nodes of the entities in the context.
        end_entities: nodes of the entities asked for.
        path: nodes from the one alert to the other.
    """

    incident: int
    context: str
    question: str
    answer: str
    solution: tuple[str, ...]
    start_alert: int
    end_alert: int
    start_entities: tuple[int, ...] = ()
    end_entities: tuple[int, ...] = ()
    path: tuple[int, ...] = ()

    @property
    def text(self) -> str:
        """Context and question, as an agent is asked."""
        return f"{self.context} {self.question}".strip()

    def exact(self, answer: str) -> float:
        """Return 1 for an answer that is the right one, or holds it, without regard to case and outer blanks; else 0.

        Args:
            answer: what an agent said. A list of more than 15 values, separated by commas or lines, is never right.
        """
        said, right = answer.strip().casefold(), self.answer.strip().casefold()
        return float(right in said and len(re.split(r"[,\n]", said)) <= 15) if right else 0.0


def partial_credit(steps: list[bool], *, decay: float = 0.4) -> float:
    """Return the benchmark's reward for the steps of a solution that an answer got right.

    Args:
        steps: whether each step is right, in order; the last one is the answer.
        decay: what the step before the answer counts, the one before that its square, and so on; 0.4.

    Returns:
        1 if the last step is right, else the sum over the right ones, at most 1.
    """
    if not steps:
        return 0.0
    if steps[-1]:
        return 1.0
    return min(1.0, sum(decay**place for place, right in enumerate(reversed(steps[:-1]), 1) if right))


def questions(path: str | Path) -> list[Question]:
    """Read a question set, `incident_5_qa_incident_o1-ga_c42.json` for instance, or all sets of a folder.

    Args:
        path: a JSON file that holds a list of objects, or a folder of such files.

    Returns:
        The questions in the order of the files' names and of each file.

    Raises:
        DataError: if there is no such file, its name has no incident, or a question lacks something; it names the place.
    """
    path = Path(path).expanduser()
    files = sorted(path.glob("incident_*_qa*.json")) if path.is_dir() else [path]
    if not files:
        raise DataError(f"'{path}' has no question sets: expected files named incident_NUMBER_qa_....json.")
    return [question for file in files for question in _read(file)]


def _read(file: Path) -> Iterator[Question]:
    named = _NAME.search(file.name)
    if not named:
        raise DataError(f"'{file}' does not say its incident: expected a name such as incident_5_qa_incident_o1-ga_c42.json.")
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"'{file}' cannot be read as JSON ({error}).") from error
    if not isinstance(rows, list) or not rows:
        raise DataError(f"'{file}' holds no list of questions.")
    for place, row in enumerate(rows):
        yield _question(row, int(named[1]), f"Question {place} of '{file}'")


def _question(row: Any, incident: int, where: str) -> Question:
    if not isinstance(row, dict):
        raise DataError(f"{where} is a {type(row).__name__}: expected an object.")
    for key in ("question", "answer"):
        if not isinstance(row.get(key), str) or not row[key].strip():
            raise DataError(f"{where} has no text '{key}'.")
    solution = row.get("solution", [])
    solution = [solution] if isinstance(solution, str) else solution
    if not isinstance(solution, list) or not all(isinstance(step, str) for step in solution):
        raise DataError(f"{where} has a 'solution' that is no list of texts.")
    try:
        nodes = {key: tuple(int(node) for node in row.get(key, ())) for key in _PATHS}
        start, end = int(row.get("start_alert", -1)), int(row.get("end_alert", -1))
    except (TypeError, ValueError) as error:
        raise DataError(f"{where} has nodes of the alert graph that are no numbers ({error}).") from error
    context = row.get("context", "")
    return Question(incident, str(context or ""), row["question"], row["answer"], tuple(solution), start, end, *nodes.values())


def logs(folder: str | Path, out: str | Path, *, skip: tuple[str, ...] = ("AzureDiagnostics", "LAQueryLogs")) -> list[str]:
    """Load the logs of an incident into an SQLite database, for `tutelage.environments.GuardedSql`.

    The benchmark's folder holds for each table `NAME.csv` with `NAME.meta` (JSON: column to type), or a folder `NAME` of `NAME_0.csv`,
    `NAME_1.csv`, ... with `NAME_0.meta`; columns are separated by `❖`. All columns are text, as in the benchmark's own database.

    Args:
        folder: the incident's folder.
        out: the database to write, whole or not at all.
        skip: tables that are left out; the benchmark's choice.

    Returns:
        Names of the tables.

    Raises:
        DataError: if there is no table, or a file is damaged; it names the line.
    """
    folder = Path(folder).expanduser()
    parts = {file.stem: [file] for file in folder.glob("[!.]*.csv")}
    parts |= {place.name: sorted(place.glob("[!.]*.csv")) for place in folder.glob("[!.]*") if place.is_dir()}
    tables = {name: files for name, files in sorted(parts.items()) if files and name not in skip}
    if not tables:
        raise DataError(f"'{folder}' has no logs: expected files such as SigninLogs.csv, or folders of them.")
    with replacing(out) as temporary:
        connection = sqlite3.connect(temporary)
        try:
            for name, files in tables.items():
                _load(connection, name, files)
            connection.commit()
        except sqlite3.Error as error:
            raise DataError(f"The logs of '{folder}' cannot be loaded ({error}).") from error
        finally:
            connection.close()
    return list(tables)


def _load(connection: sqlite3.Connection, table: str, files: list[Path]) -> None:
    """Make a table and fill it; names are quoted, values bound."""
    meta = files[0].with_suffix(".meta")
    columns: list[str] = []
    try:
        if meta.is_file():
            columns = [str(column) for column in json.loads(meta.read_text(encoding="utf-8"))]
    except (OSError, ValueError) as error:
        raise DataError(f"'{meta}' cannot be read as JSON ({error}).") from error
    csv.field_size_limit(_LARGEST)
    for number, file in enumerate(files):
        try:
            with file.open(encoding="utf-8-sig", newline="") as opened:
                rows = csv.reader(opened, delimiter=SEPARATOR, quotechar='"')
                header = next(rows, [])
                columns = columns or header
                if not columns:
                    raise DataError(f"'{file}' is empty: expected a line of column names.")
                if not number:
                    connection.execute(f"CREATE TABLE {_quoted(table)} ({', '.join(_quoted(column) for column in columns)})")
                marks = ", ".join("?" * len(columns))
                connection.executemany(f"INSERT INTO {_quoted(table)} VALUES ({marks})", _rows(file, rows, len(columns)))
        except (csv.Error, UnicodeDecodeError, OSError) as error:
            raise DataError(f"'{file}' is damaged ({error}).") from error


def _rows(file: Path, rows: Iterator[list[str]], width: int) -> Iterator[list[str]]:
    for place, row in enumerate(rows, 2):
        if row and len(row) != width:
            raise DataError(f"Row {place} of '{file}' has {len(row)} columns, {width} belong there.")
        if row:
            yield row


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
