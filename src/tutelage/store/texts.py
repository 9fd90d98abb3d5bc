"""Shards of texts: every reply is on disk as soon as it arrives, and nothing is asked for twice."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch

from tutelage import files
from tutelage.errors import ChatError, ShapeError, StoreError
from tutelage.store.layout import Shard, seal, sweep
from tutelage.store.progress import Bar
from tutelage.store.shard import damaged, trouble

if TYPE_CHECKING:
    from tutelage.store.prepare import Job


def as_json(reply: Any, where: str) -> dict[str, Any]:
    """Return a reply as a dictionary that JSON can hold.

    Args:
        reply: with `to_json()`, a dataclass, or a dictionary; its `text` is a text.
        where: which row it answers, for the error.

    Raises:
        ChatError: if it is anything else.
    """
    if hasattr(reply, "to_json"):
        values = reply.to_json()
    else:
        values = dataclasses.asdict(reply) if dataclasses.is_dataclass(reply) and not isinstance(reply, type) else reply
    try:
        if not isinstance(values, Mapping) or not isinstance(values.get("text"), str):
            raise TypeError(f"a {type(reply).__name__} without a text")
        plain: dict[str, Any] = json.loads(json.dumps(dict(values)))
    except (TypeError, ValueError) as error:
        raise ChatError(
            f"The teacher's reply to {where} cannot be kept ({error}); expected a Reply or a dictionary with 'text'."
        ) from error
    return plain


def line(values: Mapping[str, Any]) -> bytes:
    """Write one row."""
    return (json.dumps(values, ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass")


class Journal:
    """The replies of a shard that is not whole yet: appended and flushed to disk, in whatever order they arrive.

    Args:
        root: the store.
        shard: which.

    Raises:
        StoreError: if another process is writing it.
    """

    def __init__(self, root: Path, shard: Shard) -> None:
        self.root, self.shard, self.path = root, shard, shard.journal(root)
        self.replies: dict[int, dict[str, Any]] = {}
        self._handle = -1

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._handle)
            raise StoreError(
                f"Another process is labelling {self.shard.name} of {self.root}. Wait for it, or stop it and add --resume."
            ) from None
        self._recover()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        os.close(self._handle)

    def _recover(self) -> None:
        """Read what is there, and cut off the line that a kill or a power cut left half-written."""
        good = 0
        for text in self.path.read_bytes().splitlines(keepends=True):
            try:
                row, reply = json.loads(text.decode("utf-8", "surrogatepass"))
                if not text.endswith(b"\n") or not 0 <= row < self.shard.rows:
                    raise ValueError
            except (ValueError, TypeError):
                break
            self.replies[row] = reply
            good += len(text)
        os.ftruncate(self._handle, good)

    def add(self, replies: Mapping[int, dict[str, Any]]) -> None:
        """Write replies durably.

        Args:
            replies: row of the shard to reply.
        """
        content = b"".join(
            (json.dumps([row, reply], ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass") for row, reply in replies.items()
        )
        while content:
            content = content[os.write(self._handle, content) :]
        os.fsync(self._handle)
        self.replies.update(replies)

    def finish(self) -> None:
        """Write the shard, its rows in order, declare it whole, and remove the journal."""
        file = self.shard.file(self.root)
        sweep(file.parent, file.stem)
        files.write_bytes(file, b"".join(line(self.replies[row]) for row in range(self.shard.rows)))
        seal(self.root, self.shard)
        self.path.unlink()


class TextShard:
    """The replies of one whole shard, on disk.

    Args:
        root: the store.
        shard: which.

    Raises:
        StoreError: if the shard is not labelled yet, truncated or altered.
    """

    def __init__(self, root: Path, shard: Shard) -> None:
        how = trouble(root, shard)
        if how is not None:
            raise damaged(root, shard, how)
        self._root, self._shard = root, shard
        self._bytes = np.memmap(shard.file(root), dtype=np.uint8, mode="r")
        self._ends = np.flatnonzero(self._bytes == ord("\n"))
        if len(self._ends) != shard.rows:
            raise damaged(root, shard, f"it has {len(self._ends)} lines, {shard.rows} belong there")

    def __getitem__(self, row: int) -> dict[str, Any]:
        """Return the reply of a row of the shard."""
        start = int(self._ends[row - 1]) + 1 if row else 0
        try:
            found: dict[str, Any] = json.loads(self._bytes[start : int(self._ends[row])].tobytes().decode("utf-8", "surrogatepass"))
        except ValueError as error:
            raise damaged(self._root, self._shard, f"line {row + 1} is no JSON ({error})") from error
        return found


class TextWriter:
    """Writes shards of texts, each reply as soon as it arrives."""

    def __init__(self, job: Job) -> None:
        self.job = job

    def __call__(self, shard: Shard, bar: Bar) -> None:
        """Ask about every row of a shard that was not answered yet, and write it."""
        arrays = self.job.parts[shard.part]
        with Journal(self.job.out, shard) as journal:
            todo = [row for row in range(shard.rows) if row not in journal.replies]
            bar.add(shard.rows - len(todo), shard.part)
            for start in range(0, len(todo), self.job.batch_size):
                rows = todo[start : start + self.job.batch_size]
                prompts = arrays.gather(torch.tensor([shard.first + row for row in rows]))["input"]
                self._ask(journal, shard, rows, prompts)
                bar.add(len(rows), shard.part)
            journal.finish()

    def _ask(self, journal: Journal, shard: Shard, rows: list[int], prompts: list[str]) -> None:
        names = [f"{shard.part} row {shard.first + row}" for row in rows]
        try:
            replies = self.job.teacher.complete(prompts)
        except ChatError as error:
            # What was answered is paid for: it is kept before the failure goes on its way.
            kept = {row: as_json(r, n) for row, r, n in zip(rows, error.replies, names, strict=False) if r is not None}
            journal.add(kept)
            raise type(error)(
                f"{error} ({names[0]} to {names[-1]}; {len(kept)} of {len(rows)} replies arrived and are kept: go on with --resume.)",
                replies=error.replies,
                failures=error.failures,
            ) from error
        if len(replies) != len(rows):
            raise ShapeError(
                f"The teacher gave {len(replies)} replies to {len(rows)} prompts ({names[0]} to {names[-1]}); expected one each."
            )
        kept = {}
        try:
            for row, reply, name in zip(rows, replies, names, strict=True):
                kept[row] = as_json(reply, name)
        finally:
            journal.add(kept)
