"""The transcript: every request and what came of it, as JSON lines."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tutelage.errors import DataError


class Transcript:
    """A log to which any number of threads and processes append whole lines.

    Args:
        path: the file, made when absent.
        redact: takes secrets out of a text; every text that is written passes it.

    Raises:
        DataError: if the file cannot be written.
    """

    def __init__(self, path: str | Path, *, redact: Callable[[str], str] = str) -> None:
        self.path = Path(path).expanduser()
        self._redact = redact
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._write(b"")
        except OSError as error:
            raise DataError(f"The transcript '{self.path}' cannot be written ({error}).") from error

    def add(self, **entry: Any) -> None:
        """Append one line; it is ASCII, so that it can be shown on any terminal.

        Args:
            **entry: what happened.

        Raises:
            DataError: if it cannot be written.
        """
        line = json.dumps({"time": round(time.time(), 3), **self._clean(entry)}) + "\n"
        try:
            self._write(line.encode("ascii"))
        except OSError as error:
            raise DataError(f"The transcript '{self.path}' cannot be written ({error}). Free the disk or name another file.") from error

    def _clean(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._redact(value)
        if isinstance(value, Mapping):
            return {key: self._clean(entry) for key, entry in value.items()}
        return [self._clean(entry) for entry in value] if isinstance(value, list | tuple) else value

    def _write(self, line: bytes) -> None:
        handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            while line:
                line = line[os.write(handle, line) :]
        finally:
            os.close(handle)
