"""A few threads that work through a list."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def crew(
    items: Sequence[T],
    work: Callable[[T, threading.Event], R],
    done: Callable[[T, R], bool],
    *,
    concurrency: int,
    tick: Callable[[], None] = lambda: None,
) -> int:
    """Do `work` on every item, on at most `concurrency` of them at a time.

    However it ends (also by an exception or the user's interrupt), work that has begun is waited for; nothing new is begun.

    Args:
        items: what to work on; begun in their order.
        work: is called in a thread with an item and an event that is set when all should stop.
        done: is called with each item and its result, as they come, never twice at a time; returns whether anything new may begin.
        concurrency: most threads.
        tick: is called in the calling thread after each `done`.

    Returns:
        Number of items that were begun.
    """
    stop, lock = threading.Event(), threading.Lock()
    news: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
    begun = 0

    def labour() -> None:
        nonlocal begun
        while True:
            with lock:
                if stop.is_set() or begun == len(items):
                    return
                item = items[begun]
                begun += 1
            try:
                result = work(item, stop)
                with lock:
                    if not done(item, result):
                        stop.set()
                news.put(None)
            except BaseException as error:
                stop.set()
                news.put(error)

    threads = [threading.Thread(target=labour, daemon=True, name=f"chat-{i}") for i in range(min(concurrency, len(items)))]
    for thread in threads:
        thread.start()
    finished = 0
    try:
        while True:
            with lock:  # while it is held, nobody begins anything
                if finished == len(items) or (stop.is_set() and finished == begun):
                    return begun
            error = news.get()
            if error is not None:
                raise error
            finished += 1
            tick()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
