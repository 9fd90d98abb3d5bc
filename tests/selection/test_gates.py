from __future__ import annotations

import pytest

from tutelage.errors import OptionError
from tutelage.selection.gates import action_fault, cue_fault, gate, hit, particulars, rubric
from tutelage.targets.playbook import Cue, Entry


def entry(pattern="affected device", imperative="use evidence_device", handle="evidence_device", kind="regex"):
    return Entry(Cue(kind, pattern), imperative, handle)


TOOLS = ("evidence_device", "last_sign_in")


def test_the_rubric_is_the_papers():  # fact 6
    assert rubric(entry(), TOOLS) == pytest.approx(1.0)
    assert rubric(entry(kind="keyword"), TOOLS) == pytest.approx(0.88)
    assert rubric(entry(kind="predicate"), TOOLS) == pytest.approx(0.92)
    long = entry("x", "y" * 629)
    assert len(long.cue.pattern + long.imperative) == 630
    assert rubric(long, TOOLS) == pytest.approx(0.95)
    assert rubric(entry("x", "y" * 419), TOOLS) == pytest.approx(1.0)
    assert rubric(entry("x", "y" * 5000), TOOLS) == pytest.approx(0.9)
    assert rubric(entry(imperative="look into incident 55"), TOOLS) == pytest.approx(0.7)
    assert rubric(entry(handle="rm"), TOOLS) == pytest.approx(0.6)
    assert rubric(entry("("), TOOLS) == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("one", "fault"),
    [
        (entry(), ""),
        (entry(imperative=" "), "no imperative"),
        (entry(handle="rm"), "'rm' that is no tool"),
        (entry(handle=""), "'' that is no tool"),
    ],
)
def test_actionability(one, fault):
    assert fault in action_fault(one, TOOLS)
    assert bool(fault) == bool(action_fault(one, TOOLS))
    without = action_fault(one, ())
    assert bool(without) == (not one.imperative.strip())  # no tools: a handle is not asked for


def test_prefixes_stand_for_tools():
    assert not action_fault(entry(handle="sql_select"), (), ("sql_",))
    assert action_fault(entry(handle="rm"), (), ("sql_",))
    assert action_fault(entry(handle=""), (), ("",))


def test_cues():
    assert not cue_fault(Cue("keyword", "mail"))
    assert cue_fault(Cue("keyword", " "))
    assert cue_fault(Cue("tune", "mail"))
    assert "does not compile" in cue_fault(Cue("regex", "(mail"))
    assert not cue_fault(Cue("predicate", "long"))
    assert "does not exist" in cue_fault(Cue("predicate", "long"), {"short": bool})


def test_a_fault_blocks_the_whole_set():  # fact 5
    gated = gate([entry(), entry("(")], tools=TOOLS)
    assert gated.entries == ()
    assert len(gated.faults) == 1
    assert "Entry 1 has a cue that does not compile" in gated.faults[0]
    assert gate([entry(handle="rm", pattern="(")], tools=TOOLS).faults[1:]
    assert gate([], tools=TOOLS) == gate([])


@pytest.mark.parametrize(
    "text", ["incident 55", "Ticket", "a postmortem", "INC-0042", "on 2024-07-10", "7/10/2024", r"open c:\temp\x", "see /var/log/x"]
)
def test_generality_marks_and_is_off(text):  # fact 5
    one = entry(imperative=f"do what {text} says")
    assert particulars(one)
    assert [e.status for e in gate([one], tools=TOOLS, generality=True).entries] == ["provisional"]
    assert [e.status for e in gate([one], tools=TOOLS).entries] == ["validated"]


@pytest.mark.parametrize("text", ["the usecase differs", "use and/or", "10 % of 20", "encased", "sign_ins / emails"])
def test_general_words_are_general(text):
    assert not particulars(entry(imperative=text))


def test_hits():
    assert hit(Cue("regex", r"mail\w*"), "Some MAILS")
    assert hit(Cue("keyword", "Mail"), "some mails")
    assert not hit(Cue("keyword", "m.il"), "some mails")
    assert hit(Cue("predicate", "long"), "x" * 11, {"long": lambda text: len(text) > 10})
    assert not hit(Cue("predicate", "long"), "x", {"long": lambda text: len(text) > 10})
    assert not hit(Cue("predicate", "unknown"), "x")
    assert not hit(Cue("regex", "("), "(")
    with pytest.raises(OptionError, match="predicate 'bad' failed"):
        hit(Cue("predicate", "bad"), "x", {"bad": lambda text: 1 / 0})
