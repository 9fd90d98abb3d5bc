from __future__ import annotations

import json

import pytest

from tutelage.errors import DataError
from tutelage.models.chat import Scripted
from tutelage.models.chat.sections import sections
from tutelage.targets.playbook import ChatSynthesizer, Cue, Entry, cut, parse_proposal

GOOD = {
    "student": "s",
    "teacher": "t",
    "entries": [{"cue": {"kind": "regex", "pattern": "mail"}, "imperative": "look", "handle": "emails"}],
}


def test_a_long_pamphlet_is_cut():  # fact 8
    short = cut("x" * 1500)
    assert len(short) == 1000
    assert short == "x" * 997 + "..."
    assert cut("y" * 1000) == "y" * 1000
    assert cut("") == ""
    assert cut("abcdef", 5) == "ab..."
    assert [len(cut("abcdef", n)) for n in range(6)] == [0, 1, 2, 3, 4, 5]


def test_an_entry_is_its_cue_and_tool():
    one = Entry(Cue("regex", "a"), "do", "tool")
    assert one.id == Entry(Cue("regex", "a"), "do otherwise", "tool", "deprecated", 7).id
    assert len({one.id, Entry(Cue("keyword", "a"), "do", "tool").id, Entry(Cue("regex", "a"), "do", "other").id}) == 3
    assert Entry(Cue("regex", "\ud800"), "do").id
    assert Entry.from_json(json.loads(json.dumps(one.to_json()))) == one
    assert [Entry(Cue("regex", "a"), "do", status=s).active for s in ("validated", "provisional", "deprecated", "dropped")] == [
        True,
        True,
        False,
        False,
    ]


def test_proposals_are_read():
    found = parse_proposal(f"Here:\n```json\n{json.dumps(GOOD)}\n```")
    assert (found.student, found.teacher) == ("s", "t")
    assert found.entries == (Entry(Cue("regex", "mail"), "look", "emails"),)
    doubled = parse_proposal(json.dumps(GOOD | {"entries": GOOD["entries"] * 2}))
    assert len(doubled.entries) == 1


@pytest.mark.parametrize("reply", ["", "no", "{}", '{"student": 3}', '{"teacher": "t"}', "[]", '{"student": '])
def test_what_is_no_proposal(reply):
    assert parse_proposal(reply) is None


def test_entries_of_a_wrong_shape_become_empty_ones():
    odd = [3, {}, {"cue": "mail", "imperative": ["x"]}, {"cue": {"kind": 1, "pattern": {}}, "handle": None}, GOOD["entries"][0]]
    found = parse_proposal(json.dumps({"student": "s", "entries": odd}))
    assert Entry(Cue("", ""), "", "") in found.entries
    assert found.entries[-1].handle == "emails"
    assert parse_proposal(json.dumps({"student": "s", "entries": "none", "teacher": 5})).entries == ()
    assert parse_proposal(json.dumps({"student": "s", "teacher": 5})).teacher == ""


def test_lengths_are_bounded():
    huge = {
        "student": "s" * 90_000,
        "entries": [{"cue": {"kind": "regex", "pattern": "p" * 5000}, "imperative": "i" * 3000, "handle": "h"}],
    }
    found = parse_proposal(json.dumps(huge))
    assert len(found.student) == 20_000
    assert (len(found.entries[0].cue.pattern), len(found.entries[0].imperative)) == (1000, 2000)


def test_the_synthesizer_sees_the_playbook_and_the_session():
    asked = []

    def program(messages):
        asked.append(sections(messages[0].content))
        return json.dumps(GOOD)

    entry, old = Entry(Cue("regex", "mail"), "look", "emails"), Entry(Cue("keyword", "x"), "no", "rm", "dropped", why="harmful")
    ChatSynthesizer(Scripted(program))(
        student="S", teacher="T", session="## Task\nsession", entries=[entry], dropped=[old], history="rewards", tools=["emails"]
    )
    assert asked[0]["Session"] == "## Task\nsession"
    assert json.loads(asked[0]["Entries"])[0]["handle"] == "emails"
    assert json.loads(asked[0]["Dropped"])[0]["why"] == "harmful"
    assert (asked[0]["Student_pamphlet"], asked[0]["History"], asked[0]["Tools"]) == ("S", "rewards", "emails")
    with pytest.raises(DataError, match="no JSON object"):
        ChatSynthesizer(Scripted(lambda messages: "sorry"))(student="", teacher="", session="s", entries=[])
