from __future__ import annotations

import random

import pytest

from tutelage.errors import ChatError, OptionError
from tutelage.models.chat import Scripted
from tutelage.models.chat.sections import sections
from tutelage.selection.lanes import ChatProbe, Probed, Router, lane_of, random_probe, rule_probe
from tutelage.targets.learning_history import learning_history

SOME = learning_history([0.5, 0.9], ["a note", "another"])


def test_confidence_decides():  # fact 2
    assert [lane_of(c) for c in (1.0, 0.85, 0.84, 0.65, 0.64, 0.1, None)] == [
        "auto",
        "auto",
        "paired",
        "paired",
        "coach",
        "coach",
        "paired",
    ]
    assert lane_of(None, fallback="coach") == "coach"
    assert lane_of(0.5, auto=0.5, paired=0.2) == "auto"


def test_no_history_is_paired_and_asks_nobody():  # fact 1
    def probe(task, history):
        raise AssertionError("called")

    route = Router(probe)("task", learning_history(()))
    assert (route.lane, route.why) == ("paired", "no history")


def test_probes_lane_before_its_confidence():
    assert Router(lambda task, history: Probed("coach", 0.9))("t", SOME).lane == "coach"
    assert Router(lambda task, history: Probed(None, 0.9))("t", SOME).lane == "auto"
    assert Router(lambda task, history: Probed(None, 0.9), auto=0.95)("t", SOME).lane == "paired"


def test_probes_that_are_missing_or_fail():
    def broken(task, history):
        raise ChatError("down")

    router = Router(broken)
    assert router("t", SOME).lane == "paired"
    assert "down" in router("t", SOME).why
    assert router.failures == 2
    assert Router(None, fallback="coach")("t", SOME).lane == "coach"
    silent = Router(lambda task, history: Probed())
    assert (silent("t", SOME).lane, silent.failures) == ("paired", 1)


def test_a_chat_probe_sees_task_and_history_only():
    asked = []

    def program(messages):
        asked.append(sections(messages[0].content))
        return 'I think {"lane": "auto", "confidence": 0.4}'

    assert Router(ChatProbe(Scripted(program)))("find it", SOME).lane == "auto"
    assert set(asked[0]) == {"Task", "History", "Instruction"}
    assert "0.50, 0.90" in asked[0]["History"]
    assert "note: another" in asked[0]["History"]


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "no idea",
        '{"lane": "rm -rf", "confidence": "high"}',
        '{"confidence": true}',
        '{"confidence": 1.5}',
        '{"confidence": NaN}',
        "[1]",
    ],
)
def test_unreadable_probes_lead_to_the_fallback(reply):
    router = Router(ChatProbe(Scripted(lambda messages: reply or " ")))
    assert (router("t", SOME).lane, router.failures) == ("paired", 1)


def test_escalation_is_an_option():
    low = learning_history([0.9, 0.1, 0.2, 0.3])
    assert Router(rule_probe, escalate=3)("t", low).lane == "stepwise"
    assert Router(rule_probe, escalate=4)("t", low).lane == "coach"
    assert Router(rule_probe)("t", low).lane == "coach"


def test_the_rule():
    assert rule_probe("t", learning_history([0.9, 0.9])).confidence == pytest.approx(1.0)
    assert rule_probe("t", learning_history([0.6])).confidence == pytest.approx(0.6)
    assert rule_probe("t", learning_history([0.6, 0.3, 0.3])).confidence == pytest.approx(0.3)
    assert rule_probe("t", learning_history([0.85] * 10)).confidence == pytest.approx(1.0)
    assert rule_probe("t", learning_history([None, None])) == Probed()


def test_the_random_baseline_draws_all():
    probe = random_probe(random.Random(0))
    assert {probe("t", SOME).lane for _ in range(50)} == {"auto", "paired", "coach"}


def test_options_that_do_not_exist():
    with pytest.raises(OptionError, match=r"paired=0\.9"):
        Router(None, auto=0.8, paired=0.9)
    with pytest.raises(OptionError, match="The lane is 'fast'"):
        Router(None, first="fast")
