from __future__ import annotations

import pytest

from tutelage.errors import ChatError, CheckpointError
from tutelage.evaluate.stream import Played, lane_shares, moving, play, thirds


def solver(done, fail_at=None):
    def solve(task):
        if task == fail_at:
            raise ChatError("down")
        done.append(task)
        return Played(task, "f", "auto", 1.0, 0.5, 10.0)

    return solve


def test_every_task_is_played_once():
    done = []
    rows = play(["a", "b", "c"], solver(done))
    assert done == ["a", "b", "c"]
    assert [row.task for row in rows] == done


def test_a_stream_goes_on_where_it_was_left(tmp_path):
    log, done = tmp_path / "deep" / "log.jsonl", []
    with pytest.raises(ChatError):
        play(["a", "b", "c"], solver(done, fail_at="c"), log=log)
    with log.open("ab") as file:
        file.write(b'{"task": "c", "fam')  # a kill in the middle of a line
    rows = play(["a", "b", "c"], solver(done), log=log)
    assert done == ["a", "b", "c"]
    assert rows == play(["a", "b", "c"], solver(done), log=log)
    assert done == ["a", "b", "c"]
    assert len(play(["a", "b"], solver(done), log=log)) == 2


def test_logs_of_other_streams_and_damaged_ones(tmp_path):
    log = tmp_path / "log.jsonl"
    play(["a", "b"], solver([]), log=log)
    with pytest.raises(CheckpointError, match="task 1 differs"):
        play(["a", "x"], solver([]), log=log)
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"garbage\n" + lines[1])
    with pytest.raises(CheckpointError, match="damaged after 0 tasks"):
        play(["a", "b"], solver([]), log=log)


def test_summaries():
    assert thirds([0, 0, 3, 3, 3, 9, 9]) == (0, 3, 9)
    assert moving([1, 2, 3, 4], 2) == [1, 1.5, 2.5, 3.5]
    rows = [Played("t", "f", lane, 1.0) for lane in ("auto", "paired", "auto", "auto", "coach", "auto")]
    assert lane_shares(rows, "auto") == (0.5, 1.0, 0.5)
