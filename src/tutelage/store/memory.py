"""Memory of teaching agents: one SQLite file of records, events and counters that outlives every process that writes it."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tutelage.errors import StoreError
from tutelage.sqlite_file import Kind

VERSION = 1
"""Version of the tables; a file of another version is refused."""
_TABLES = (
    "CREATE TABLE records (kind TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, changed REAL NOT NULL, "
    "PRIMARY KEY (kind, key)) WITHOUT ROWID",
    "CREATE TABLE events (number INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, "
    "time REAL NOT NULL)",
    "CREATE INDEX events_by_key ON events (kind, key, number)",
    "CREATE TABLE counters (kind TEXT NOT NULL, key TEXT NOT NULL, name TEXT NOT NULL, value REAL NOT NULL, "
    "PRIMARY KEY (kind, key, name)) WITHOUT ROWID",
)
_KIND = Kind("memory of agents", 0x54C4A8, VERSION, _TABLES)
T = TypeVar("T")


@dataclass(frozen=True)
class Event:
    """One thing that happened.

    Args:
        number: its place in the file; later events have larger numbers.
        kind: its table, `"session"` for instance.
        key: what it belongs to.
        value: what happened, as JSON gives it back.
        time: when, in seconds since 1970.
    """

    number: int
    kind: str
    key: str
    value: Any
    time: float


class Memory:
    """Records by key, events in order and counters, for any number of threads and processes of one machine.

    Every call is one transaction, and `transaction` makes several calls one. What was committed survives the process, however it ends, and
    as far as the file system keeps its word a power cut; what was not is as if it had never been. Values are kept as JSON: texts come back
    exactly (also NUL and lone surrogates), tuples as lists. Texts are bound as parameters and never part of a statement. The file must lie
    on a local disk, because SQLite's write-ahead log needs shared memory.

    Args:
        path: the file, made when absent; parent folders too.
        read_only: open an existing file and refuse every change; its bytes stay as they are.

    Raises:
        StoreError: if the file is damaged, empty, of another version or something else (it is left as it is), or cannot be made or opened.
    """

    def __init__(self, path: str | Path, *, read_only: bool = False) -> None:
        self.path, self.read_only = Path(path).expanduser(), read_only
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._process = 0
        self._depth = 0
        self._run(lambda connection: None)

    def __enter__(self) -> Memory:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def get(self, kind: str, key: str, default: Any = None) -> Any:
        """Return the value of a record.

        Args:
            kind: its table.
            key: its name there.
            default: what to return where there is none.
        """
        sql = "SELECT value FROM records WHERE kind = ? AND key = ?"
        row = self._run(lambda connection: connection.execute(sql, (_written(kind), _written(key))).fetchone())
        return default if row is None else self._value(row[0])

    def put(self, kind: str, key: str, value: Any) -> None:
        """Write a record, in the place of an earlier one.

        Args:
            kind: its table.
            key: its name there.
            value: anything that JSON can hold.

        Raises:
            StoreError: if JSON cannot hold the value, or it cannot be written.
        """
        row = (_written(kind), _written(key), self._text(value), time.time())
        sql = (
            "INSERT INTO records VALUES (?, ?, ?, ?) "
            "ON CONFLICT (kind, key) DO UPDATE SET value = excluded.value, changed = excluded.changed"
        )
        self._change(lambda connection: connection.execute(sql, row))

    def delete(self, kind: str, key: str) -> bool:
        """Remove a record; return whether there was one."""
        sql = "DELETE FROM records WHERE kind = ? AND key = ?"
        return self._change(lambda connection: connection.execute(sql, (_written(kind), _written(key))).rowcount) == 1

    def items(self, kind: str) -> dict[str, Any]:
        """Return all records of a kind, by key, sorted."""
        sql = "SELECT key, value FROM records WHERE kind = ? ORDER BY key"
        rows = self._run(lambda connection: connection.execute(sql, (_written(kind),)).fetchall())
        return {_read(key): self._value(value) for key, value in rows}

    def append(self, kind: str, value: Any, *, key: str = "") -> int:
        """Write down an event.

        Args:
            kind: its table.
            value: what happened: anything that JSON can hold.
            key: what it belongs to.

        Returns:
            Its number.

        Raises:
            StoreError: if JSON cannot hold the value, or it cannot be written.
        """
        row = (_written(kind), _written(key), self._text(value), time.time())
        sql = "INSERT INTO events (kind, key, value, time) VALUES (?, ?, ?, ?)"
        return int(self._change(lambda connection: connection.execute(sql, row).lastrowid) or 0)

    def events(self, kind: str, *, key: str | None = None, last: int | None = None) -> list[Event]:
        """Return events, oldest first.

        Args:
            kind: their table.
            key: only those that belong to this; `None` for all.
            last: only so many of the newest; `None` for all.
        """
        where, values = "kind = ?", [_written(kind)]
        if key is not None:
            where, values = f"{where} AND key = ?", [*values, _written(key)]
        sql = f"SELECT number, kind, key, value, time FROM events WHERE {where} ORDER BY number DESC LIMIT ?"
        limit = -1 if last is None else max(0, last)
        rows = self._run(lambda connection: connection.execute(sql, (*values, limit)).fetchall())
        return [Event(number, _read(kind), _read(key), self._value(value), when) for number, kind, key, value, when in reversed(rows)]

    def count(self, kind: str, *, key: str | None = None) -> int:
        """Return the number of events of a kind, of one key or of all."""
        where, values = ("kind = ?", [_written(kind)]) if key is None else ("kind = ? AND key = ?", [_written(kind), _written(key)])
        sql = f"SELECT count(*) FROM events WHERE {where}"
        return int(self._run(lambda connection: connection.execute(sql, values).fetchone()[0]))

    def add(self, kind: str, key: str, **amounts: float) -> None:
        """Add to counters, all or none; a counter starts at 0.

        Args:
            kind: their table.
            key: what is counted for.
            **amounts: what to add, by the counter's name.

        Raises:
            StoreError: for an amount that is not finite, or if it cannot be written.
        """
        wrong = {name: amount for name, amount in amounts.items() if not abs(float(amount)) < float("inf")}
        if wrong:
            raise StoreError(f"Counters of '{kind}', '{key}' cannot add {wrong}: expected finite numbers.")
        rows = [(_written(kind), _written(key), name, float(amount)) for name, amount in amounts.items()]
        sql = "INSERT INTO counters VALUES (?, ?, ?, ?) ON CONFLICT (kind, key, name) DO UPDATE SET value = value + excluded.value"
        self._change(lambda connection: connection.executemany(sql, rows))

    def counters(self, kind: str) -> dict[str, dict[str, float]]:
        """Return all counters of a kind: key to name to value, sorted."""
        sql = "SELECT key, name, value FROM counters WHERE kind = ? ORDER BY key, name"
        found: dict[str, dict[str, float]] = {}
        for key, name, value in self._run(lambda connection: connection.execute(sql, (_written(kind),)).fetchall()):
            found.setdefault(_read(key), {})[name] = value
        return found

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make all calls inside one transaction: they see one state of the file, and all of their changes are kept or none.

        Nobody else can write meanwhile, so ask no model inside. An exception undoes the changes; a transaction in another joins it.
        """
        with self._lock:
            outer = self._depth == 0 or self._process != os.getpid()
            if outer:
                begin = "BEGIN" if self.read_only else "BEGIN IMMEDIATE"
                self._run(lambda connection: connection.execute(begin))
            self._depth += 1
            try:
                yield
                if outer:
                    self._run(lambda connection: connection.execute("COMMIT"))
            except BaseException:
                if outer:
                    self._run(lambda connection: connection.rollback())
                raise
            finally:
                self._depth -= 1

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._lock:
            if self._connection is not None and self._process == os.getpid():
                self._connection.close()
            self._connection = None

    def _change(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self.read_only:
            raise StoreError(f"The memory '{self.path}' was opened to be read only. Open it with read_only=False to change it.")
        with self.transaction():
            return self._run(work)

    def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            with self._lock:
                return work(self._open())
        except sqlite3.Error as error:
            raise StoreError(f"The memory '{self.path}' cannot be used: {error}. Free the disk, or move a damaged file away.") from error

    def _text(self, value: Any) -> str:
        try:
            return json.dumps(value, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise StoreError(f"The memory '{self.path}' keeps what JSON can hold, not a {type(value).__name__} with: {error}.") from error

    def _value(self, text: str) -> Any:
        try:
            return json.loads(text)
        except (TypeError, ValueError) as error:
            raise StoreError(f"The memory '{self.path}' is damaged: an entry is no JSON ({error}). Move the file away.") from error

    def _open(self) -> sqlite3.Connection:
        """Return this process's connection: one that was opened before a fork must not be used after it."""
        if self._connection is not None and self._process == os.getpid():
            return self._connection
        self._connection, self._process = _KIND.open(self.path, read_only=self.read_only), os.getpid()
        self._depth = 0
        return self._connection


def _written(text: str) -> str:
    """Return a key as the ASCII characters of a JSON string, which SQLite keeps exactly."""
    return json.dumps(text)[1:-1]


def _read(text: str) -> str:
    found: str = json.loads(f'"{text}"')
    return found
