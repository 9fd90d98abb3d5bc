from __future__ import annotations

import pytest

from tutelage.errors import OptionError
from tutelage.report.playbook import playbook_report, sentence
from tutelage.selection.impact import Impact
from tutelage.selection.learning_memory import LearningMemory
from tutelage.store.memory import Memory
from tutelage.targets.playbook import Cue, Entry, Proposal


def row(reward, tokens, lane="paired"):
    return {"lane": lane, "reward": reward, "tokens": {"student": tokens, "teacher": 10}, "cost": 0.5, "teacher_note": ""}


def test_lanes_roles_curves_and_claims(tmp_path):
    memory = LearningMemory(Memory(tmp_path / "m.sqlite"))
    usage = {"student": {"calls": 1.0, "prompt_tokens": 5.0, "completion_tokens": 2.0, "cost": 0.25}}
    for i in range(12):
        lane = "auto" if i > 5 else "paired"
        memory.observe("k", row(None if i == 3 else i / 11, 100 - i, lane), reward=i / 11, hits={}, usage=usage)
    report = playbook_report(memory, "k")
    assert report.values["lane auto"]["sessions"] == {0: 6}
    assert report.values["lane auto"]["mean reward"][0] == pytest.approx(8.5 / 11)
    assert report.values["lane paired"]["tokens per session"][0] == pytest.approx(107.5)
    assert report.values["student"] == {"calls": {0: 12}, "tokens": {0: 84}, "cost": {0: 3}}
    assert [claim.held for claim in report.claims] == [True, True]
    assert report.claims[1].value == pytest.approx(1 - (99.5 / 108.5), abs=0.02)
    lanes = report.curves[2].y
    assert lanes["auto"][-1] == pytest.approx(0.6)
    assert lanes["paired"][0] == 1
    assert report.curves[0].y["reward"][3] == pytest.approx((0 + 1 + 2) / 33)  # a session without a reward is left out


def test_few_sessions_claim_nothing(tmp_path):
    memory = LearningMemory(Memory(tmp_path / "m.sqlite"))
    memory.observe("k", row(0.5, 1), reward=0.5, hits={})
    report = playbook_report(memory, "k")
    assert report.claims == []
    assert "too few" in report.notes[0]
    with pytest.raises(OptionError, match="no session under the key 'x'"):
        playbook_report(memory, "x")


def test_entries_and_faults_are_told(tmp_path):
    memory = LearningMemory(Memory(tmp_path / "m.sqlite"))
    memory.observe("k", row(0.5, 1), reward=0.5, hits={})
    entry = Entry(Cue("keyword", "mail"), "look at\x1b[2J clicks", "emails")
    memory.revise("k", Proposal("Look.", "", (entry,)), tools=["emails"])
    memory.revise("k", Proposal("Look.", "", (Entry(Cue("regex", "("), "x", "emails"),)), tools=["emails"])
    memory.fail("k", "down")
    notes = playbook_report(memory, "k").notes
    assert any(note.startswith("After session 1, 20") and "look at\\x1b[2J clicks" in note for note in notes)
    assert notes[-1] == "Proposals blocked by the gates: 1. Entries dropped: 0. Failures written down: 1."
    assert "The student's pamphlet: Look." in notes


def test_a_sentence():
    entry = Entry(Cue("regex", "mail"), "look", "emails", "dropped", 3, "rewards with it are 0.20 lower")
    assert sentence(entry, Impact(10, 5, 2, 2.0, 3.0, ("a",))) == (
        "After session 3: 'look' with emails, when regex 'mail' is found. Found in 5 of 10 sessions, used with success in 2. Mean "
        "reward 0.40 with it, 0.60 without. Dropped: rewards with it are 0.20 lower."
    )
