"""Lanes in processes of their own, so that what one library sets up for itself, such as the allocator, serves or hinders no other."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

import torch

from benchmarks.races.harness import Lane

Prepare = Callable[[], Callable[[], object]]


def serve(prepare: Prepare, threads: int, line: Connection) -> None:
    """Make ready and run, whenever told to, until the line is closed."""
    torch.set_num_threads(threads)
    try:
        while True:
            line.recv()
            go = prepare()
            line.send("ready")
            line.recv()
            line.send(go())
    except EOFError:
        return


@contextmanager
def apart(lanes: Mapping[str, Prepare]) -> Iterator[list[Lane]]:
    """Start a process for each lane; those that are not at their turn wait.

    Args:
        lanes: what each prepares, by name; it must be picklable.

    Yields:
        The lanes, for `turns`; what one does answers what it returns in its process.
    """
    context = multiprocessing.get_context("spawn")
    lines: dict[str, Connection] = {}
    processes = []
    for name, prepare in lanes.items():
        lines[name], theirs = context.Pipe()
        processes.append(context.Process(target=serve, args=(prepare, torch.get_num_threads(), theirs)))
        processes[-1].start()
        theirs.close()

    def ask(name: str, word: str) -> Any:
        lines[name].send(word)
        return lines[name].recv()

    def lane(name: str) -> Lane:
        def prepared() -> Callable[[], object]:
            ask(name, "prepare")
            return lambda: ask(name, "go")

        return Lane(name, prepared)

    try:
        yield [lane(name) for name in lanes]
    finally:
        for line in lines.values():
            line.close()
        for process in processes:
            process.join()
