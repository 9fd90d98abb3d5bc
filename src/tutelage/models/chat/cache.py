"""The cache of replies: one SQLite file, in which every reply is committed as soon as it arrives."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tutelage.data import cache as folder
from tutelage.errors import DataError
from tutelage.models.chat.claims import claims
from tutelage.models.chat.protocol import Message, Reply, Sampling, digest
from tutelage.sqlite_file import Kind

_VERSION = 1
_TABLES = ("CREATE TABLE replies (key TEXT PRIMARY KEY, reply TEXT NOT NULL, created REAL NOT NULL) WITHOUT ROWID",)
_KIND = Kind("cache of replies", 0x54C4A7, _VERSION, _TABLES, DataError, look=False)
_AT_ONCE = 500  # variables of one query; SQLite's oldest limit is 999
T = TypeVar("T")


def cache_key(model: str, base_url: str, messages: Sequence[Message], sampling: Sampling, extra: Mapping[str, Any] | None = None) -> str:
    """Name a question: the same model, address, messages and sampling give the same name, and nothing else does.

    Args:
        model: the model's name.
        base_url: the server's address.
        messages: the conversation.
        sampling: how the reply is drawn.
        extra: further parameters of the request.

    Returns:
        SHA-256 in hexadecimal.
    """
    said = [[message.role, message.content] for message in messages]
    return digest([_VERSION, model, base_url, said, dataclasses.asdict(sampling), dict(extra or {})])


class Cache:
    """Replies on disk, for any number of threads and processes of one machine.

    A reply that `put` has returned for survives the process and, as the file system keeps its word, a power cut. The first reply to a
    question stays: whoever comes later gets it. What one process is asking, others wait for. The file must lie on a local disk, because
    SQLite's write-ahead log needs shared memory.

    Args:
        path: the file, made when absent; by default `chat.sqlite` in `$TUTELAGE_CACHE` or `~/.cache/tutelage`.

    Raises:
        DataError: if the file is damaged or something else, or cannot be made.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = folder.directory() / "chat.sqlite" if path is None else Path(path).expanduser()
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._process = 0
        self._run(lambda connection: None)

    def get(self, keys: Iterable[str]) -> dict[str, Reply]:
        """Return the replies that are known.

        Args:
            keys: names of questions, as `cache_key` makes them.

        Returns:
            Key to reply, for those that are there.

        Raises:
            DataError: if the file is damaged.
        """
        wanted = list(dict.fromkeys(keys))
        found: dict[str, Reply] = {}
        for start in range(0, len(wanted), _AT_ONCE):
            some = wanted[start : start + _AT_ONCE]
            for key, text in self._run(functools.partial(_select, keys=some)):
                found[key] = self._read(key, text)
        return found

    def put(self, key: str, reply: Reply) -> Reply:
        """Keep a reply.

        Args:
            key: name of its question.
            reply: what was said.

        Returns:
            The reply that the cache keeps: this one, or the one that another process stored before.

        Raises:
            DataError: if it cannot be written (a full disk, a damaged file).
        """
        text = json.dumps(reply.to_json(), allow_nan=False)

        def insert(connection: sqlite3.Connection) -> int:
            row = (key, text, time.time())
            return connection.execute("INSERT OR IGNORE INTO replies (key, reply, created) VALUES (?, ?, ?)", row).rowcount

        if self._run(insert) == 1:
            return reply
        return self.get([key])[key]

    def claim(self, key: str) -> bool:
        """Say that a question is going to be asked; false if another thread or process is asking it, so that its reply is worth a wait.

        A claim ends with `release`, or with the process.

        Raises:
            DataError: if claims cannot be written beside the cache.
        """
        try:
            return claims(self.path.with_name(self.path.name + "-asking")).take(key)
        except OSError as error:
            raise DataError(f"Claims cannot be written beside the cache '{self.path}' ({error}). Name another with cache=PATH.") from error

    def release(self, key: str) -> None:
        """Give a claim back."""
        claims(self.path.with_name(self.path.name + "-asking")).drop(key)

    def __len__(self) -> int:
        return int(self._run(lambda connection: connection.execute("SELECT count(*) FROM replies").fetchone()[0]))

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._lock:
            if self._connection is not None and self._process == os.getpid():
                self._connection.close()
            self._connection = None

    def _read(self, key: str, text: str) -> Reply:
        try:
            return Reply.from_json(json.loads(text), cached=True)
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"The reply {key[:12]}... in the cache '{self.path}' is damaged ({type(error).__name__}). Move the file away: "
                "what it held is asked again."
            ) from error

    def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            with self._lock:
                return work(self._open())
        except sqlite3.Error as error:
            raise DataError(
                f"The cache of replies '{self.path}' cannot be used: {error}. Free the disk, or move a damaged file away; "
                "or name another with cache=PATH, or none with cache=none."
            ) from error

    def _open(self) -> sqlite3.Connection:
        """Return this process's connection: one that was opened before a fork must not be used after it."""
        if self._connection is not None and self._process == os.getpid():
            return self._connection
        self._connection, self._process = _KIND.open(self.path), os.getpid()
        return self._connection


def _select(connection: sqlite3.Connection, keys: list[str]) -> list[tuple[str, str]]:
    return connection.execute(f"SELECT key, reply FROM replies WHERE key IN ({','.join('?' * len(keys))})", keys).fetchall()
