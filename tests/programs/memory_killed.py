"""Writes one memory in child processes.

usage: memory_killed.py DIRECTORY SEED         one child after the other, killed at random moments; prints how often
       memory_killed.py DIRECTORY --together   four at once
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from tutelage.store.memory import Memory

STEPS = 60


def write(directory: Path, told: int, steps: int) -> None:
    memory = Memory(directory / "memory.sqlite")
    for step in range(steps):
        with memory.transaction():
            before = memory.get("state", "all", {"steps": 0})
            number = memory.append("step", {"process": os.getpid(), "step": step}, key="all")
            memory.put("state", "all", {"steps": before["steps"] + 1, "last": number})
            memory.add("count", "all", steps=1, half=0.5)
        os.write(told, b".")  # this step is promised


def child(work: Callable[[], None]) -> int:
    made = os.fork()
    if made == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    return made


def wait(process: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def consistent(directory: Path, promised: int) -> int:
    """Return how many steps the memory holds; records, events and counters must agree, and hold all that was promised."""
    memory = Memory(directory / "memory.sqlite")
    steps = memory.count("step")
    state, counted = memory.get("state", "all", {"steps": 0}), memory.counters("count").get("all", {"steps": 0.0, "half": 0.0})
    assert state["steps"] == steps == counted["steps"] == 2 * counted["half"], (state, steps, counted)
    assert steps >= promised, (steps, promised)
    memory.close()
    return steps


def killed(directory: Path, seed: int) -> None:
    moments, kills, promised = random.Random(seed), 0, 0
    for _ in range(12):
        told, tell = os.pipe()
        process = child(lambda tell=tell: write(directory, tell, 10_000))
        os.close(tell)
        time.sleep(moments.uniform(0.001, 0.15))
        os.kill(process, signal.SIGKILL)
        code = wait(process)
        assert code == -signal.SIGKILL, code
        kills += 1
        while said := os.read(told, 65536):
            promised += len(said)
        os.close(told)
        if (directory / "memory.sqlite").exists():  # the first may have been killed before it was made
            promised = consistent(directory, promised)
        assert promised == 0 or (directory / "memory.sqlite").exists()
    print(f"kills {kills} steps {promised}")


def together(directory: Path) -> None:
    sink = os.open(os.devnull, os.O_WRONLY)
    processes = [child(lambda: write(directory, sink, STEPS)) for _ in range(4)]
    assert [wait(process) for process in processes] == [0] * 4
    assert consistent(directory, 4 * STEPS) == 4 * STEPS
    print("together")


if __name__ == "__main__":
    if sys.argv[2] == "--together":
        together(Path(sys.argv[1]))
    else:
        killed(Path(sys.argv[1]), int(sys.argv[2]))
