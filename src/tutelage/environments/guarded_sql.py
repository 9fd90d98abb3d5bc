"""SQL of an agent on a database that it can only read, within limits of steps, rows and sizes."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tutelage.errors import DataError, OptionError

_ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ}
_FUNCTIONS = frozenset(
    (
        *("abs", "avg", "coalesce", "count", "date", "datetime", "glob", "group_concat", "iif", "ifnull", "instr", "julianday", "length"),
        *("like", "lower", "ltrim", "max", "min", "nullif", "replace", "round", "rtrim", "sign", "strftime", "substr", "substring", "sum"),
        *("time", "total", "trim", "typeof", "unixepoch", "upper", "row_number", "rank", "dense_rank", "lag", "lead", "first_value"),
    )
)
_LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: 100_000,
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 10_000,
    sqlite3.SQLITE_LIMIT_COLUMN: 100,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 50,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 10,
    sqlite3.SQLITE_LIMIT_VDBE_OP: 25_000,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 100,
}
_SCHEMA = (
    "SELECT m.name, group_concat(c.name, ', ') FROM sqlite_master AS m JOIN pragma_table_info(m.name) AS c "
    "WHERE m.type = 'table' GROUP BY m.name ORDER BY m.name"
)
_TICK = 1000  # steps of SQLite's machine between two looks at the limit


@dataclass(frozen=True)
class Rows:
    """What a query returned.

    Args:
        columns: their names.
        rows: the first rows.
        more: whether there were more.
        error: why there is nothing; empty where the query ran.
    """

    columns: tuple[str, ...] = ()
    rows: tuple[tuple[object, ...], ...] = ()
    more: bool = False
    error: str = ""

    @property
    def value(self) -> str:
        """First column of the first row as text; empty where there is none."""
        return "" if not self.rows or self.rows[0][0] is None else str(self.rows[0][0])

    def text(self, width: int = 200) -> str:
        """Return the rows as an agent sees them: the value, the columns' names, a line per row with cells of at most so many characters."""
        if self.error:
            return f"error: {self.error}"
        if not self.rows:
            return "(no rows)"
        lines = [" | ".join(str(cell)[:width].replace("\n", " ") for cell in row) for row in self.rows]
        return "\n".join([self.value[:width].replace("\n", " "), " | ".join(self.columns), *lines, *(["(more rows)"] if self.more else [])])


class GuardedSql:
    """A database on which an agent's queries run.

    An agent's text is run as SQL here and nowhere else: one `SELECT` on a connection that cannot write. An authorizer refuses everything
    but reading tables and a list of plain functions (no `ATTACH`, no `PRAGMA`, no recursion, nothing that makes large values), SQLite's own
    limits bound sizes, and a handler stops the machine after so many steps. Whatever a query does, `query` returns.

    Args:
        database: a file, or an open connection, which is made read only for good.
        max_rows: most rows that are returned.
        max_steps: most steps of SQLite's machine for one query; a million take about a tenth of a second.

    Raises:
        DataError: if the file cannot be opened.
        OptionError: for a limit below 1.
    """

    def __init__(self, database: str | Path | sqlite3.Connection, *, max_rows: int = 20, max_steps: int = 1_000_000) -> None:
        if max_rows < 1 or max_steps < 1:
            raise OptionError(f"max_rows={max_rows}, max_steps={max_steps}: expected at least 1.")
        self.max_rows, self.max_steps = max_rows, max_steps
        self._lock, self._ticks = threading.Lock(), 0
        if isinstance(database, sqlite3.Connection):
            self._connection = database
        else:
            try:
                self._connection = sqlite3.connect(
                    f"{Path(database).expanduser().absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False
                )
                self._connection.execute("SELECT count(*) FROM sqlite_master")
            except sqlite3.Error as error:
                raise DataError(f"'{database}' cannot be opened as an SQLite database ({error}).") from error
        self._connection.execute("PRAGMA query_only=ON")
        self.schema = "\n".join(f"{name}({columns})" for name, columns in self._connection.execute(_SCHEMA))
        """The tables with their columns, one line each."""
        for what, most in _LIMITS.items():
            self._connection.setlimit(what, most)
        self._connection.set_authorizer(_authorise)
        self._connection.set_progress_handler(self._tick, _TICK)

    def query(self, sql: str, parameters: Sequence[object] = ()) -> Rows:
        """Run one query.

        Args:
            sql: a `SELECT`.
            parameters: values for its question marks.

        Returns:
            The first rows, or the error: never an exception for anything that the text says.
        """
        with self._lock:
            self._ticks = 0
            cursor = self._connection.cursor()
            try:
                cursor.execute(sql, tuple(parameters))
                if cursor.description is None:
                    return Rows(error="only SELECT is allowed")
                rows = cursor.fetchmany(self.max_rows + 1)
                columns = tuple(str(column[0]) for column in cursor.description)
            except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError, MemoryError) as error:
                stopped = isinstance(error, sqlite3.OperationalError) and "interrupted" in str(error)
                return Rows(error=f"stopped after {self.max_steps} steps" if stopped else str(error)[:300])
            finally:
                cursor.close()
        return Rows(columns, tuple(tuple(row) for row in rows[: self.max_rows]), len(rows) > self.max_rows)

    def _tick(self) -> int:
        self._ticks += _TICK
        return int(self._ticks > self.max_steps)


def _authorise(action: int, first: str | None, second: str | None, database: str | None, trigger: str | None) -> int:
    del database, trigger
    if action in _ALLOWED:
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_FUNCTION and (second or "").lower() in _FUNCTIONS:
        return sqlite3.SQLITE_OK
    del first
    return sqlite3.SQLITE_DENY
