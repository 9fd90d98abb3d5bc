"""Latency of answers that take turns, so that a machine whose speed drifts favours none."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import torch

from tutelage.errors import OptionError


def latencies(
    answers: Mapping[str, Callable[[int], object]], questions: int, *, rounds: int = 1, warm_up: int = 3
) -> dict[str, list[float]]:
    """Time every answer to every question, on one thread, the answers of one question right after each other.

    Args:
        answers: what is timed, by name: takes the number of a question. Work on a GPU is waited for.
        questions: how many; they are asked in order.
        rounds: times that each is asked; the median counts. Who answers first turns.
        warm_up: questions before the clock starts.

    Returns:
        Milliseconds of every question, by name.

    Raises:
        OptionError: if there is nothing to time.
    """
    if questions < 1 or rounds < 1 or not answers:
        raise OptionError(f"There is nothing to time: {len(answers)} answers to {questions} questions in {rounds} rounds.")
    names, threads = list(answers), torch.get_num_threads()
    found: dict[str, list[list[float]]] = {name: [[] for _ in range(questions)] for name in names}
    torch.set_num_threads(1)
    try:
        for number in range(warm_up):
            for name in names:
                answers[name](number % questions)
        for turn in range(rounds):
            for number in range(questions):
                first = (turn + number) % len(names)
                for name in names[first:] + names[:first]:
                    _wait()
                    started = time.perf_counter_ns()
                    answers[name](number)
                    _wait()
                    found[name][number].append((time.perf_counter_ns() - started) / 1e6)
    finally:
        torch.set_num_threads(threads)
    return {name: [statistics.median(times) for times in asked] for name, asked in found.items()}


def ratio(top: list[float], bottom: list[float]) -> float:
    """Return the median over all questions of one latency divided by another.

    Args:
        top: milliseconds of each question.
        bottom: of the same questions.
    """
    return statistics.median(a / b for a, b in zip(top, bottom, strict=True))


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
