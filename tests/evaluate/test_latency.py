from __future__ import annotations

import time

import pytest
import torch

from tutelage.errors import OptionError
from tutelage.evaluate.latency import latencies, ratio


def test_every_answer_is_timed_on_every_question_and_the_slower_one_takes_longer():
    asked: list[tuple[str, int]] = []

    def answer(name: str, seconds: float):
        def found(question: int) -> None:
            asked.append((name, question))
            time.sleep(seconds)

        return found

    times = latencies({"fast": answer("fast", 0.001), "slow": answer("slow", 0.01)}, 3, rounds=3, warm_up=1)
    assert {name: len(values) for name, values in times.items()} == {"fast": 3, "slow": 3}
    assert all(value >= 10 for value in times["slow"])
    assert ratio(times["slow"], times["fast"]) > 2
    assert len(asked) == 2 + 2 * 3 * 3
    assert {name for name, _ in asked[2::2]} == {"fast", "slow"}


def test_threads_are_put_back_even_after_an_error():
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError):
        latencies({"broken": lambda n: 1 / 0}, 1)
    assert torch.get_num_threads() == before


def test_nothing_to_time_is_refused():
    with pytest.raises(OptionError, match="nothing to time"):
        latencies({}, 1)
