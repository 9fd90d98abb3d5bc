from __future__ import annotations

import json
import threading

import pytest

from tutelage.errors import ChatError
from tutelage.models.chat import Reply, Scripted
from tutelage.models.chat.meter import Meter, Usage
from tutelage.models.chat.transcript import Transcript


def test_roles_are_counted_apart():
    meter = Meter()
    student = meter.of(Scripted(lambda messages: Reply("yes", prompt_tokens=7, completion_tokens=2, cost=0.5)), "student")
    teacher = meter.of(Scripted(lambda messages: "two words"), "teacher")
    before = meter.snapshot()
    student.complete(["a", "b"])
    teacher.complete(["three words here"])
    assert meter.snapshot()["student"] == Usage(2, 0, 14, 4, 0, 1.0)
    assert meter.since(before)["teacher"] == Usage(1, 0, 3, 2, 0, 0.0)
    assert meter.snapshot()["student"].tokens == 18
    between = meter.snapshot()
    teacher.complete(["x"])
    assert set(meter.since(between)) == {"teacher"}


def test_cached_and_uncounted_replies():
    meter = Meter()
    replies = [Reply("a", cached=True, cost=3.0, prompt_tokens=1, completion_tokens=1), Reply("b", cost=0.25)]
    meter.of(Scripted(lambda messages: replies.pop(0)), "judge").complete(["x", "y"])
    assert meter.snapshot()["judge"] == Usage(2, 0, 1, 1, 1, 0.25)


def test_what_arrived_before_a_failure_counts(tmp_path):
    class Half:
        def complete(self, conversations, *, sampling=None):
            raise ChatError("timed out", replies=[Reply("a", prompt_tokens=1, completion_tokens=1), None], failures={1: "lost"})

    class Whole:
        def complete(self, conversations, *, sampling=None):
            raise ChatError("down")

    meter = Meter(Transcript(tmp_path / "log.jsonl"))
    with pytest.raises(ChatError, match="timed out"):
        meter.of(Half(), "student").complete(["x", "y"])
    with pytest.raises(ChatError, match="down"):
        meter.of(Whole(), "teacher").complete(["x"])
    assert meter.snapshot()["student"] == Usage(1, 1, 1, 1, 0, 0.0)
    assert meter.snapshot()["teacher"] == Usage(failed=1)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row.get("error") for row in rows] == [None, "lost", "down"]
    assert [row["role"] for row in rows] == ["student", "student", "teacher"]
    assert rows[0]["messages"] == [{"role": "user", "content": "x"}]
    assert rows[0]["reply"]["text"] == "a"


def test_threads_lose_no_count():
    meter = Meter()
    chat = meter.of(Scripted(lambda messages: "a"), "student")
    threads = [threading.Thread(target=lambda: [chat.complete(["b"]) for _ in range(200)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert meter.snapshot()["student"].calls == 800
