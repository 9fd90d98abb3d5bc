import json

import pytest

from tutelage.errors import OptionError
from tutelage.models.chat.meter import Usage
from tutelage.report.lesson import Lesson, Taught

ITEMS = [
    Taught("Q1", "yes", "yes", "no", True, "Because.", (0.2, 0.9), 0.0),
    Taught("Q2", "no", "yes", "no", True, "So.", (0.5, 0.6), 60.0),
    Taught("Q3", "yes", "yes", "yes", False),
    Taught("Q4", "yes", None, None, False),
]
LESSON = Lesson(ITEMS, 0.5, {"student": Usage(6, 0, 60, 6, 0, 0.25), "teacher": Usage(2, 0, 20, 8)}, again=1)


def test_what_was_taught_and_whether_it_helped():
    assert LESSON.answers == ["yes", "yes", "yes", None]
    assert LESSON.counts() == {
        "taught": 2, "unread": 1, "changed": 2, "accuracy": 50.0, "accuracy_alone": 50.0, "helped": 1, "harmed": 1, "again": 1,
    }  # fmt: skip
    unmeasured = Lesson(ITEMS, 0.5, {}, measured=False).counts()
    assert set(unmeasured) == {"taught", "unread", "accuracy", "again"}
    unknown = Lesson([Taught("Q", "", "yes", "no", True)], 1.0, {}).counts()
    assert unknown == {"taught": 1, "unread": 0, "changed": 1, "again": 0}


def test_the_report_says_it_with_costs():
    report = LESSON.report("A lesson")
    assert report.mean("student alone", "accuracy") == 50.0
    assert report.mean("student taught", "helped") == 1
    assert report.mean("student", "cost") == 0.25
    assert report.mean("teacher", "completion_tokens") == 8
    (claim,) = report.claims
    assert claim.value == 0
    assert not claim.held
    assert report.notes[0] == "1970-01-01 00:00:00 UTC. Q1 Taught: Because. The answer no became yes (right)."
    assert report.notes[1].endswith("The answer no became yes (wrong).")
    report = Lesson([Taught("Q", "", "yes", "no", True)], 1.0, {}).report()
    assert not report.claims
    assert any("not known" in note for note in report.notes)


def test_a_steering_text_is_written_out_and_long_lessons_are_cut():
    nasty = Taught("Q\x1b[2J", "yes", "yes", "no", True, "x" * 1000)
    notes = Lesson([nasty] * 25, 1.0, {}).report().notes
    assert "\x1b" not in notes[0]
    assert len(notes[0]) <= 600
    assert notes[-1].startswith("5 more lessons")


def test_rows_are_json_and_nothing_is_no_report():
    rows = LESSON.rows()
    assert json.loads(json.dumps(rows)) == rows
    assert rows[0]["expected_taught"] == 0.9
    with pytest.raises(OptionError, match="without items"):
        Lesson([], 0.5, {}).report()
