"""Claims: which questions are being asked right now, known to all threads and processes that share a cache."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path


class Claims:
    """Locks on single bytes of a file, one byte per question; the system lifts them when a process ends, however it ends.

    Args:
        path: the file, made when absent; it stays empty.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._held: set[int] = set()
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def take(self, key: str) -> bool:
        """Claim a question; false if another thread or process is asking it."""
        place = _place(key)
        with self._lock:
            if place in self._held:
                return False
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
            except (BlockingIOError, PermissionError):
                return False
            self._held.add(place)
            return True

    def drop(self, key: str) -> None:
        """Give a claim back."""
        place = _place(key)
        with self._lock:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, place)
            self._held.discard(place)


_known: dict[tuple[int, Path], Claims] = {}
_guard = threading.Lock()


def claims(path: Path) -> Claims:
    """Return this process's claims on a file: one object each, never closed, because closing any handle lifts all of them."""
    key = (os.getpid(), path.resolve())
    with _guard:
        if key not in _known:
            _known[key] = Claims(path)
        return _known[key]


def _place(key: str) -> int:
    return int(key[:15], 16)
