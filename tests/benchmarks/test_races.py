"""The races' arithmetic and the page that is written from their files."""

from __future__ import annotations

import functools
import json
import multiprocessing
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.measure import Row
from benchmarks.races import page, runners, tasks
from benchmarks.races.harness import Lane, Race, Section, from_row, measured, quartiles, ratio, save, turns
from benchmarks.races.processes import apart
from torch import nn

from tutelage.teachers import Frozen

ROOT = Path(__file__).parents[2]


def test_lanes_take_turns_and_whoever_is_first_changes():
    made, ran = [], []

    def lane(name: str) -> Lane:
        return Lane(name, lambda: (made.append(name), lambda: ran.append(name))[1])

    seconds = turns([lane("a"), lane("b"), lane("c")], rounds=2, warm_up=1)
    assert "".join(ran) == "".join(made) == "abc" + "bca" + "cab"
    assert {name: len(each) for name, each in seconds.items()} == {"a": 2, "b": 2, "c": 2}
    assert all(each > 0 for rounds in seconds.values() for each in rounds)


def test_only_what_was_prepared_is_timed():
    (seconds,) = turns([Lane("slow to prepare", lambda: time.sleep(0.05) or (lambda: None))], rounds=2, warm_up=0).values()
    assert max(seconds) < 0.05


def nap(seconds: float) -> Callable[[], object]:
    time.sleep(0.6)  # making ready
    return functools.partial(time.sleep, seconds)


def test_lanes_apart_have_processes_of_their_own_and_only_their_runs_are_timed():
    lanes = {"short": functools.partial(nap, 0.02), "long": functools.partial(nap, 0.12)}
    with apart(lanes) as ready:
        assert len(multiprocessing.active_children()) >= 2
        seconds = turns(ready, rounds=2, warm_up=0)
    assert all(0.02 <= each < 0.5 for each in seconds["short"])
    assert all(0.12 <= each < 0.6 for each in seconds["long"])


def fail() -> Callable[[], object]:
    raise ValueError("this lane cannot be made ready")


def test_a_lane_that_fails_ends_the_race():
    with pytest.raises((EOFError, ConnectionError)), apart({"broken": fail}) as ready:
        turns(ready, rounds=1)


def test_ratios_are_taken_round_by_round():
    # The machine was twice as slow in the second round: every round says 2, the ratio of other rounds' would not.
    found = ratio("x", [2.0, 4.0, 2.0], [1.0, 2.0, 1.0], at_least=2.0)
    assert (found.value, found.low, found.high, found.held, found.goal, found.ours_wins) == (2.0, 2.0, 2.0, True, ">= 2", True)
    assert ratio("x", [1.1], [1.0], at_most=1.05, less=True).held is False
    assert ratio("x", [1.0], [1.0], at_most=1.05, less=True).ours_wins is True
    slower = ratio("x", [1.0, 1.0], [2.0, 2.0])
    assert (slower.held, slower.goal, slower.ours_wins) == (None, "", False)
    with pytest.raises(ValueError):
        ratio("x", [1.0], [1.0, 2.0])


def test_quartiles():
    assert quartiles([3.0]) == (3.0, 3.0, 3.0)
    assert quartiles([5.0, 1.0, 3.0, 2.0, 4.0]) == (2.0, 3.0, 4.0)


def test_a_row_of_another_benchmark_keeps_its_verdict():
    both, found = from_row(Row("reading", 0.1, 10.0, "ms", 0.01, "< 0.05", True))
    assert [(m.name, m.median, m.unit) for m in both] == [("ours", 0.1, "ms"), ("alternative", 10.0, "ms")]
    assert (found.value, found.goal, found.held) == (0.01, "< 0.05", True)


def race() -> Race:
    section = Section("1,000 images", "One epoch.", notes=["Chosen: folded."])
    section.measured = [measured("ours", [1000.0, 1200.0, 1400.0], "images/s"), measured("a | b", [0.5], "s")]
    section.ratios = [
        ratio("ours, times as fast as it", [2.0, 3.0, 4.0], [1.0, 1.0, 1.0], at_least=5.0),
        ratio("without a goal", [1.0], [2.0]),
    ]
    return Race("distillation", "Distilling", [section], ["somebody, who has none."])


def test_the_page_shows_what_was_measured_and_hides_nothing(tmp_path):
    path = save(race(), {"rounds": 3, "threads": 1}, tmp_path)
    kept = json.loads(path.read_text())
    assert kept["conditions"]["torch"] == torch.__version__
    assert kept["versions"]["tutelage"]
    assert page.read(tmp_path) == [kept]
    written = page.write(tmp_path, tmp_path / "races.md").read_text()
    lines = written.splitlines()
    assert "| Distilling | 1,000 images | ours, times as fast as it | 3 | >= 5 | **not held** |" in lines
    assert "| ours, times as fast as it | 3 | 2.5 to 3.5 | >= 5 | **not held** |" in lines
    assert "| without a goal | 0.5 |  |  | **worse than the other** |" in lines
    assert "| ours | 1,200 | 1,100 to 1,300 | images/s |" in lines
    assert "| a \\| b | 0.5 |  | s |" in lines
    assert "- somebody, who has none." in lines
    assert "Chosen: folded." in lines
    assert any(line.startswith(kept["conditions"]["date"]) and "1 thread(s), 3 rounds" in line for line in lines)


def test_a_page_without_races_says_so_and_the_order_is_fixed(tmp_path):
    assert "No race has been run yet." in page.text(page.read(tmp_path))
    for name, threads in (("store", 1), ("distillation", 2), ("distillation", 1)):
        save(Race(name, name), {"rounds": 1, "threads": threads}, tmp_path)
    assert [page.title(found) for found in page.read(tmp_path)] == ["distillation", "distillation, 2 threads", "store"]


def test_the_page_in_the_documentation_is_what_the_program_writes():
    assert page.PAGE.read_text(encoding="utf-8") == page.text(page.read())


@pytest.mark.parametrize(
    ("value", "said"), [(0.0, "0"), (1234.5, "1,234"), (0.012345, "0.0123"), (12.345, "12.3"), (float("inf"), "inf"), (1000.0, "1,000")]
)
def test_numbers_have_three_digits(value, said):
    assert page.number(value) == said


def test_peers_see_our_order_epoch_after_epoch():
    task = small_task()
    order = tasks.Order(task.dataset, batches=task.batches)
    for epoch in range(2):
        assert list(order) == task.batches.order(epoch).tolist()
    (x, y), ours = next(iter(task.loader())), task.batches.batch(0, 0)
    assert torch.equal(x, ours["input"])
    assert torch.equal(y, ours["label"])


def small_task() -> tasks.Task:
    return tasks.small(64, batch=16)


def test_large_images_are_the_same_for_all(tmp_path):
    task = tasks.large(tmp_path, stored=20, steps=2, batch=4, side=32)
    assert (len(task.arrays), task.steps, task.images) == (8, 2, 8)
    assert isinstance(np.load(tmp_path / "images.npy", mmap_mode="r"), np.memmap)
    for ours, (x, y) in zip(task.batches.epoch(0), task.loader(), strict=True):
        assert torch.equal(x, ours["input"])
        assert torch.equal(y, ours["label"])


def test_ours_and_the_plain_loop_do_the_same_work():
    task = small_task()
    start = task.student
    plain, ours = runners.plain(task)(), runners.ours(task, Frozen(task.models()[0]))()
    assert runners.apart(ours, plain, start) < 1e-3
    assert runners.apart(start, plain, start) == pytest.approx(1.0)
    # The check can fail: a student that learned something else is far away.
    assert runners.apart(runners.ours(task, None)(), plain, start) > 0.05


def test_apart_is_a_share_of_the_way():
    start, end, other = (nn.Linear(1, 1, bias=False) for _ in range(3))
    for model, value in ((start, 0.0), (end, 2.0), (other, 2.5)):
        nn.init.constant_(model.weight, value)
    assert runners.apart(other, end, start) == pytest.approx(0.25)


def test_the_command_line_names_the_races():
    def command(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "benchmarks.races", *words], cwd=ROOT, capture_output=True, text=True)

    nothing, unknown = command(), command("walking")
    assert nothing.returncode
    assert "distillation, vocabulary, on_policy, training, self_supervised, store, or all" in nothing.stderr
    assert unknown.returncode
    assert "invalid choice: 'walking'" in unknown.stderr
