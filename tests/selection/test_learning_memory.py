from __future__ import annotations

import threading

import pytest

from tutelage.errors import StoreError
from tutelage.selection.impact import Impact, Pruning
from tutelage.selection.learning_memory import BLOCKED, DROPPED, SESSION, USAGE, LearningMemory, Playbook
from tutelage.store.memory import Memory
from tutelage.targets.playbook import Cue, Entry, Proposal


def entry(handle, pattern="mail"):
    return Entry(Cue("regex", pattern), f"use {handle}", handle)


TOOLS = ("a", "b", "c")


@pytest.fixture
def memory(tmp_path):
    return LearningMemory(Memory(tmp_path / "m.sqlite"))


def observe(memory, reward, hits, **more):
    return memory.observe("k", {"reward": reward, "teacher_note": "n"}, reward=reward, hits=hits, **more)


def test_an_unknown_key_is_empty(memory):
    assert memory.load("k") == Playbook()
    assert memory.history("k").rewards == ()


def test_a_proposal_is_let_in_and_cut(memory):
    observe(memory, 0.5, {})
    gated = memory.revise("k", Proposal("x" * 1500, "t", (entry("a"), entry("b"))), tools=TOOLS)
    book = memory.load("k")
    assert not gated.faults
    assert (len(book.student), book.student[-3:], book.teacher) == (1000, "...", "t")
    assert [(e.handle, e.status, e.born) for e in book.active] == [("a", "validated", 1), ("b", "validated", 1)]
    assert memory.load("other") == Playbook()


def test_a_bad_entry_blocks_everything_and_is_written_down(memory):  # fact 5
    memory.revise("k", Proposal("old", "old", (entry("a"),)), tools=TOOLS)
    gated = memory.revise("k", Proposal("new", "new", (entry("a"), entry("b", "("))), shown=memory.load("k").active, tools=TOOLS)
    assert gated.faults
    book = memory.load("k")
    assert (book.student, book.teacher, [e.handle for e in book.active]) == ("old", "old", ["a"])
    assert "does not compile" in memory.memory.events(BLOCKED, key="k")[0].value["faults"][0]


def test_the_generality_gate_keeps_an_entry_as_provisional(tmp_path):  # fact 5
    particular = Entry(Cue("regex", "mail"), "do as in incident 55", "a")
    for on, status in ((True, "provisional"), (False, "validated")):
        memory = LearningMemory(Memory(tmp_path / f"{on}.sqlite"), generality=on)
        memory.revise("k", Proposal("s", "t", (particular,)), tools=TOOLS)
        assert [e.status for e in memory.load("k").active] == [status]


def test_what_is_not_proposed_again_is_deprecated_and_stays(memory):
    memory.revise("k", Proposal("s", "t", (entry("a"), entry("b"))), tools=TOOLS)
    shown = memory.load("k").active
    memory.revise("k", Proposal("s", "t", (entry("b"), entry("c"))), shown=shown, tools=TOOLS)
    assert [(e.handle, e.status) for e in memory.load("k").entries] == [("a", "deprecated"), ("b", "validated"), ("c", "validated")]
    memory.revise("k", Proposal("s", "t", (entry("a"),)), tools=TOOLS)  # b and c were not shown: they stay
    assert [(e.handle, e.active) for e in memory.load("k").entries] == [("a", True), ("b", True), ("c", True)]


def test_impact_is_counted_and_what_does_not_help_is_dropped(memory):
    memory.revise("k", Proposal("s", "t", (entry("a"), entry("b"))), tools=TOOLS)
    names = {e.handle: e.id for e in memory.load("k").active}
    for place in range(10):
        hit = place % 2 == 0
        dropped = observe(
            memory, 0.9 if hit else 0.5, {names["a"]: hit, names["b"]: False}, adopted=[names["a"]] if hit else [], family=str(hit)
        )
    assert [e.handle for e in dropped] == ["b"]
    book = memory.load("k")
    assert book.impacts[names["a"]] == Impact(10, 5, 5, 4.5, 2.5, ("True",))
    assert [(e.handle, e.status) for e in book.entries] == [("a", "validated"), ("b", "dropped")]
    assert memory.memory.events(DROPPED, key="k")[0].value["entry"]["handle"] == "b"
    memory.revise("k", Proposal("s", "t", (entry("a"), entry("b"))), shown=book.active, tools=TOOLS)
    again = memory.load("k")
    assert {e.handle: e.status for e in again.entries} == {"a": "validated", "b": "validated"}
    assert names["b"] not in again.impacts  # it begins anew
    assert again.impacts[names["a"]].sessions == 10


def test_pruning_can_be_off(tmp_path):
    memory = LearningMemory(Memory(tmp_path / "m.sqlite"), pruning=None)
    memory.revise("k", Proposal("s", "t", (entry("a"),)), tools=TOOLS)
    for _ in range(12):
        assert observe(memory, 0.5, {entry("a").id: False}) == ()
    assert LearningMemory(memory.memory, pruning=Pruning()).observe("k", {}, reward=0.5, hits={entry("a").id: False})


def test_sessions_without_a_reward_change_no_statistics(memory):
    memory.revise("k", Proposal("s", "t", (entry("a"),)), tools=TOOLS)
    observe(memory, None, {entry("a").id: True}, usage={"student": {"calls": 2, "cost": 0.5}})
    assert memory.load("k").impacts == {}
    assert memory.history("k").rewards == (None,)
    assert memory.memory.counters(USAGE) == {"student": {"calls": 2.0, "cost": 0.5}}


def test_history_is_that_of_the_key(memory):
    for reward in (0.1, 0.9, 0.95):
        observe(memory, reward, {})
    memory.observe("other", {"reward": 0.0}, reward=0.0, hits={})
    found = memory.history("k", last=2)
    assert (found.rewards, found.high_streak, found.notes) == ((0.9, 0.95), 2, ("n", "n"))


def test_two_writers_lose_nothing(tmp_path):
    LearningMemory(Memory(tmp_path / "m.sqlite")).revise("k", Proposal("s", "t", (entry("a"),)), tools=TOOLS)
    patient = Pruning(sessions=1000)

    def work() -> None:
        memory = LearningMemory(Memory(tmp_path / "m.sqlite"), pruning=patient)
        for _ in range(15):
            observe(memory, 1.0, {entry("a").id: True})

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    memory = LearningMemory(Memory(tmp_path / "m.sqlite"))
    assert memory.load("k").impacts[entry("a").id].hits == 45
    assert memory.memory.count(SESSION, key="k") == 45


@pytest.mark.parametrize("damage", [{"student": "x"}, [], "x", {"student": "", "teacher": "", "entries": [{"cue": 3}], "impacts": {}}])
def test_a_damaged_playbook_is_named(memory, damage):
    memory.memory.put("playbook", "k", damage)
    with pytest.raises(StoreError, match=r"The playbook 'k' in .* is damaged"):
        memory.load("k")
