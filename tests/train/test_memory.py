"""Freed memory is kept while a training runs, in processes of their own: the allocator's state is the whole process's."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tutelage.train.memory import _ours_to_set

SCRIPT = """
import ctypes
import resource
import torch
from tutelage.train.memory import kept_memory

torch.set_num_threads(1)
SIZES = (40, 20, 40, 1)

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    held = [torch.ones(size << 18) for size in SIZES]  # MB
    del held
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def later():
    return [faults() for _ in range(8)][-3:]

print(*later())
with kept_memory():
    with kept_memory():
        print(*later())
    print(*later())
ctypes.CDLL(None).malloc_trim(0)  # what is still held would serve on
print(*later())
"""
PAGES = 101 * 256  # of 4 KiB


def counted(**environment: str) -> list[list[int]]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_TUNABLES"))}
    found = subprocess.run([sys.executable, "-c", SCRIPT], env=clean | environment, check=True, capture_output=True, text=True)
    return [[int(word) for word in line.split()] for line in found.stdout.splitlines()]


@pytest.mark.skipif(not _ours_to_set(), reason="the allocator is not glibc's, or set up by the environment")
def test_memory_is_cleared_once_while_it_is_kept():
    before, inner, outer, after = counted()
    assert max(inner + outer) < PAGES / 50
    assert min(before) > PAGES / 4
    assert min(after) > PAGES / 4  # afterwards as before


@pytest.mark.skipif(sys.platform != "linux", reason="the variable is glibc's")
def test_an_allocator_that_somebody_has_set_up_stays_so():
    before, *others = counted(MALLOC_TRIM_THRESHOLD_="131072", MALLOC_MMAP_THRESHOLD_="131072")
    assert all(min(each) > PAGES / 2 for each in [before, *others])
