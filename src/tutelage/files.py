"""Files and folders that are either whole or absent: written under a temporary name, flushed to disk, then renamed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_UMASK = os.umask(0)
os.umask(_UMASK)
_BLOCK, _PIECE = 1 << 24, 1 << 20
"""Bytes of a block with a checksum of its own, and of what is read of it at once."""


def _readable(path: Path) -> None:
    """Give a file, or everything in a folder, the permissions of any new file: safetensors leaves its files to their owner alone."""
    for file in path.rglob("*") if path.is_dir() else [path]:
        if not file.is_dir():
            file.chmod(0o666 & ~_UMASK)


def _flush(path: Path) -> None:
    """Flush a file, or a folder and everything in it, to disk."""
    if path.is_dir():
        for child in path.iterdir():
            _flush(child)
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success flush it to disk and rename it, on failure remove it.

    Args:
        path: file or folder to create or replace; missing parent folders are made.

    Yields:
        A temporary path that does not exist yet, on which to make the file or the folder. It keeps the suffix of `path`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    _remove(temporary)
    try:
        yield temporary
        _readable(temporary)
        _flush(temporary)
        if path.is_dir():
            _remove(path)
        temporary.replace(path)
    finally:
        _remove(temporary)
    handle = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256(path: str | Path) -> str:
    """Return the SHA-256 checksum of a file in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def block_sha256(path: str | Path, *, flush: bool = False) -> str:
    """Return a checksum of a large file that all cores count together: the SHA-256 of the SHA-256s of its blocks of 16 MiB.

    Args:
        path: the file.
        flush: also flush it to disk, which works meanwhile.
    """
    path = Path(path)
    starts = range(0, max(path.stat().st_size, 1), _BLOCK)
    with ThreadPoolExecutor(max_workers=min(len(starts), os.cpu_count() or 1) + flush) as threads:
        flushed = threads.submit(_flush, path) if flush else None
        digests = list(threads.map(lambda start: _block(path, start), starts))
        if flushed is not None:
            flushed.result()
    return hashlib.sha256(b"".join(digests)).hexdigest()


def _block(path: Path, start: int) -> bytes:
    found, piece = hashlib.sha256(), memoryview(bytearray(_PIECE))
    left = _BLOCK
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        while left and (size := file.readinto(piece[: min(left, len(piece))])):
            found.update(piece[:size])
            left -= size
    return found.digest()


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a file, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: str | Path, content: Any) -> None:
    """Write JSON, indented, whole or not at all."""
    write_bytes(path, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())
