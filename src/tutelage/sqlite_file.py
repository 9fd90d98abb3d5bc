"""SQLite files of our own kinds: made whole or not at all, and refused without a change where they are damaged or something else."""

from __future__ import annotations

import functools
import os
import sqlite3
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tutelage.errors import StoreError, TutelageError

_MAGIC = b"SQLite format 3\x00"


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """Open an existing file.

    Args:
        path: the file.
        mode: `"rw"`, or `"ro"`, in which its bytes cannot change.

    Returns:
        A connection for any thread that waits a minute for others and leaves transactions to its user.
    """
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    return sqlite3.connect(uri, uri=True, timeout=60.0, isolation_level=None, check_same_thread=False)


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Args:
        what: what it is called in errors.
        application: number that marks files of this kind.
        version: version of its tables.
        tables: statements that make them.
        error: what is raised for files that are refused.
        look: whether a file that changed is looked through for damage before it is used, which reads all of it.
    """

    what: str
    application: int
    version: int
    tables: tuple[str, ...]
    error: type[TutelageError] = StoreError
    look: bool = True

    def open(self, path: Path, *, read_only: bool = False) -> sqlite3.Connection:
        """Open a file of this kind, which is made when absent, and flush every change that is committed to it.

        Args:
            path: the file.
            read_only: refuse every change, so that its bytes stay as they are.

        Returns:
            A connection as `connect` makes it.

        Raises:
            TutelageError: the kind's own, if the file is refused, cannot be made, or is absent and only to be read.
        """
        if not path.exists():
            if read_only:
                raise self.error(f"There is no {self.what} '{path}' to read.")
            self.make(path)
        self.check(path)
        connection = connect(path, "ro" if read_only else "rw")
        try:
            # What another process changed may not have reached the header yet.
            application, version = (connection.execute(f"PRAGMA {mark}").fetchone()[0] for mark in ("application_id", "user_version"))
            self._refuse(path, application, version)
            connection.execute("PRAGMA synchronous=FULL")
        except BaseException:
            connection.close()
            raise
        return connection

    def make(self, path: Path) -> None:
        """Make an empty file under a temporary name and link it to its own: it is whole or absent, and the first process wins.

        Raises:
            TutelageError: the kind's own, if it cannot be made.
        """
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
        marks = (f"PRAGMA application_id={self.application}", f"PRAGMA user_version={self.version}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.unlink(missing_ok=True)
            connection = sqlite3.connect(temporary, isolation_level=None)
            try:
                for statement in ("PRAGMA synchronous=FULL", "BEGIN", *self.tables, *marks, "COMMIT", "PRAGMA journal_mode=WAL"):
                    connection.execute(statement)
            finally:
                connection.close()
            with suppress(FileExistsError):
                os.link(temporary, path)
        except (OSError, sqlite3.Error) as error:
            raise self.error(f"The {self.what} '{path}' cannot be made ({error}). Name another file, on a local disk.") from error
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)

    def check(self, path: Path) -> None:
        """Refuse a file of another kind, of another version or with damage, without a change to it.

        Raises:
            TutelageError: the kind's own, if it is one.
        """
        try:
            with path.open("rb") as file:
                header = file.read(100)
        except OSError as error:
            raise self.error(f"The {self.what} '{path}' cannot be read ({error}).") from error
        if len(header) < 100 or not header.startswith(_MAGIC):
            got = "is empty" if not header else "is no SQLite file"
            raise self.error(f"'{path}' {got}: expected a {self.what}. It was left as it is; name another file, or move it away.")
        version, application = int.from_bytes(header[60:64], "big"), int.from_bytes(header[68:72], "big")
        self._refuse(path, application, version)
        if not self.look:
            return
        stamp = path.stat()
        _sound(self, path, (stamp.st_dev, stamp.st_ino, stamp.st_size, stamp.st_mtime_ns))

    def _refuse(self, path: Path, application: int, version: int) -> None:
        if (application, version) != (self.application, self.version):
            ours = application == self.application
            got = f"of version {version}" if ours else f"an SQLite file of something else ({application:#x})"
            raise self.error(f"'{path}' is {got}: expected a {self.what} of version {self.version}. It was left as it is.")


@functools.lru_cache(maxsize=64)
def _sound(kind: Kind, path: Path, stamp: tuple[int, ...]) -> None:
    """Look through a file that changed since the last look for damage, through a connection that cannot write."""
    del stamp
    connection = connect(path, "ro")
    try:
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found == "ok" and connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] < len(kind.tables):
            found = "tables are missing"
    except sqlite3.OperationalError as error:
        if "locked" in str(error) or "busy" in str(error):
            raise
        found = str(error)
    except sqlite3.DatabaseError as error:
        found = str(error)
    finally:
        connection.close()
    if found != "ok":
        raise kind.error(f"The {kind.what} '{path}' is damaged ({found}). It was left as it is; move it away, or bring back a copy.")
