"""Memory that a step frees is kept for the next step, instead of going back to the system and being cleared anew."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4  # names of options in glibc's malloc.h
_LOCK = threading.Lock()
_open = 0


def _set(option: int, value: int) -> None:
    ctypes.CDLL(None).mallopt(option, value)


def _ours_to_set() -> bool:
    """Whether this is glibc's allocator, and nobody has set it up already."""
    chosen = any(name.startswith("MALLOC_") for name in os.environ) or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")
    return sys.platform == "linux" and hasattr(ctypes.CDLL(None), "gnu_get_libc_version") and not chosen


@contextmanager
def kept_memory() -> Iterator[None]:
    """Hold on to freed memory of the CPU while the context is open.

    A training step frees nearly all that it took. By default glibc gives large blocks back to the system at once, which must clear every
    page of them again in the next step: up to half of the time of a step on large images. Held memory costs room for gaps between
    blocks, about a third more at the highest. Where the environment sets up the allocator (`MALLOC_TRIM_THRESHOLD_` and its like, or
    `GLIBC_TUNABLES`), or the C library is another, nothing is changed. Afterwards the process may use what is still held, and gives it
    back as it did before. Contexts may be nested, and open in several threads.
    """
    global _open
    if not _ours_to_set():
        yield
        return
    with _LOCK:
        _open += 1
        if _open == 1:
            _set(_MMAP_MAX, 0)
            _set(_TRIM_THRESHOLD, -1)
    try:
        yield
    finally:
        with _LOCK:
            _open -= 1
            if not _open:
                # Where glibc's own adaptation, which it has given up by now, ends in a process that frees large tensors.
                _set(_MMAP_MAX, 65_536)
                _set(_MMAP_THRESHOLD, 32 << 20)
                _set(_TRIM_THRESHOLD, 64 << 20)
