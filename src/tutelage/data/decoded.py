"""Decoded pixels: in memory when they are few, in a memory-mapped file of the cache when they are many."""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tutelage import files
from tutelage.data import cache
from tutelage.errors import DataError

MAPPED_FROM = 256 << 20


class Decoded:
    """A uint8 array to fill once.

    Args:
        array: `[N, C, H, W]`, in memory or mapped.
        path: the file that it gets in the cache when it is mapped.
        complete: whether it is filled already.
        bad: rows that could not be filled, with the reason.
    """

    def __init__(self, array: np.ndarray, path: Path | None, *, complete: bool, bad: dict[int, str]) -> None:
        self.array, self.path, self.complete, self.bad = array, path, complete, bad

    @classmethod
    def open(cls, shape: tuple[int, ...], sources: Sequence[Path], *, mapped_from: int | None = None) -> Decoded:
        """Return the array of these files, filled if the cache has it.

        Args:
            shape: `(N, C, H, W)`.
            sources: one file per row; their names, sizes and times of change identify the array in the cache.
            mapped_from: bytes from which it is mapped; default 256 MiB.

        Returns:
            The array; when it is not `complete` the caller fills it and calls `finish`.
        """
        if math.prod(shape) < (MAPPED_FROM if mapped_from is None else mapped_from):
            return cls(np.zeros(shape, np.uint8), None, complete=False, bad={})
        digest = hashlib.sha256(repr(shape).encode())
        for file in sources:
            status = file.stat()
            digest.update(f"{file.resolve()}\0{status.st_size}\0{status.st_mtime_ns}\0".encode(errors="surrogateescape"))
        path = cache.directory() / f"images-{digest.hexdigest()[:32]}.npy"
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
            bad = {int(row): str(reason) for row, reason in json.loads(path.with_suffix(".json").read_text()).items()}
            if array.shape == shape:
                return cls(array, path, complete=True, bad=bad)
        except (OSError, ValueError, EOFError):
            pass  # absent or damaged: it is made again
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        decoded = cls(np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape), path, complete=False, bad={})
        try:
            _reserve(Path(temporary))
        except OSError as error:
            decoded.discard()
            raise DataError(
                f"The cache folder '{path.parent}' has no room for {math.prod(shape) >> 20} MiB of decoded images ({error}). "
                "Make room, or set TUTELAGE_CACHE to another folder."
            ) from error
        return decoded

    def discard(self) -> None:
        """Remove what an interrupted decoding has written."""
        if isinstance(self.array, np.memmap) and not self.complete:
            Path(str(self.array.filename)).unlink(missing_ok=True)

    def finish(self, bad: dict[int, str]) -> None:
        """Declare the array filled; a mapped one gets its name in the cache and cannot be written any more.

        Args:
            bad: rows that could not be filled, with the reason.
        """
        self.bad, self.complete = bad, True
        if self.path is None or not isinstance(self.array, np.memmap):
            return
        self.array.flush()
        temporary = Path(str(self.array.filename))
        files.write_json(self.path.with_suffix(".json"), {str(row): reason for row, reason in bad.items()})
        temporary.replace(self.path)
        self.array = np.load(self.path, mmap_mode="r", allow_pickle=False)


def _reserve(path: Path) -> None:
    """Claim the disk space of a sparse file: running out later would kill the process at a write through the map."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
