from __future__ import annotations

import json

import pytest

from tutelage.errors import ChatError, OptionError
from tutelage.models.chat import Reply, Scripted
from tutelage.models.chat.agent import PLAN, ToolAgent
from tutelage.models.chat.sections import sections
from tutelage.teachers.reviewer import Reviewer
from tutelage.teachers.supervision import MOST_STEPS, REFUSED, Supervisor


class Listed:
    """Says replies in turn, and keeps the sections that it was asked."""

    def __init__(self, *replies):
        self.replies, self.asked = list(replies), []

    def complete(self, conversations, *, sampling=None):
        self.asked.append(sections(conversations[0] if isinstance(conversations[0], str) else conversations[0][0].content))
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return [Reply(reply if isinstance(reply, str) else json.dumps(reply))]


def no(guidance=""):
    return {"valid": False, "guidance": guidance}


YES = {"valid": True, "guidance": ""}


def test_auto_never_asks_the_teacher():  # fact 4
    teacher = Listed()
    done = Supervisor(ToolAgent(Listed("ANSWER: 1")), Reviewer(teacher)).work("auto", "t", student_pamphlet="p")
    assert (done.attempt.answer, done.attempts, done.valid, teacher.asked) == ("1", 1, None, [])


def test_an_invalid_answer_is_tried_once_more_with_the_guidance():  # fact 4
    student, teacher = Listed("ANSWER: 1", "ANSWER: 2"), Listed(no("look again"))
    done = Supervisor(ToolAgent(student), Reviewer(teacher)).work("paired", "t", student_pamphlet="p", teacher_pamphlet="tp")
    assert (done.attempt.answer, done.attempts, done.guidance, done.valid) == ("2", 2, ["look again"], False)
    assert "Guidance" not in student.asked[0]
    assert student.asked[1]["Guidance"] == "look again"
    assert student.asked[1]["Pamphlet"] == "p"
    assert len(teacher.asked) == 1  # the second attempt is not checked
    assert teacher.asked[0]["Teacher_pamphlet"] == "tp"


def test_a_valid_answer_is_given():
    student = Listed("ANSWER: 1")
    done = Supervisor(ToolAgent(student), Reviewer(Listed(YES))).work("paired", "t")
    assert (done.attempt.answer, done.attempts, done.valid) == ("1", 1, True)


def test_more_retries_are_an_option():
    student = Listed(*(f"ANSWER: {i}" for i in range(3)))
    done = Supervisor(ToolAgent(student), Reviewer(Listed(no("a"), no())), retries=2).work("paired", "t")
    assert (done.attempt.answer, done.guidance) == ("2", ["a", REFUSED])
    done = Supervisor(ToolAgent(Listed("ANSWER: 0")), Reviewer(Listed()), retries=0).work("paired", "t")
    assert (done.attempts, done.valid) == (1, None)


def test_coach_reviews_the_plan_first():
    student, teacher = Listed("first\nsecond", "ANSWER: 1"), Listed({"guidance": "do it otherwise"}, YES)
    done = Supervisor(ToolAgent(student), Reviewer(teacher)).work("coach", "t")
    assert student.asked[0]["Instruction"] == PLAN
    assert student.asked[1]["Plan"] == "first\nsecond"
    assert student.asked[1]["Guidance"] == "do it otherwise"
    assert teacher.asked[0]["Plan"] == "first\nsecond"
    assert teacher.asked[1]["Earlier_guidance"] == "do it otherwise"
    assert (done.valid, done.attempts) == (True, 1)


def test_stepwise_checks_every_step():
    student = Listed("one\n\ntwo", "ANSWER: a", "ANSWER: b", "ANSWER: c")
    teacher = Listed({"guidance": ""}, YES, no("better"))
    done = Supervisor(ToolAgent(student), Reviewer(teacher)).work("stepwise", "the task")
    assert (done.attempt.answer, done.attempts, done.guidance) == ("c", 3, ["better"])
    assert [asked.get("Step") for asked in student.asked] == [None, "one", "two", "two"]
    assert student.asked[2]["Context"] == "one: a"
    assert teacher.asked[1]["Step"] == "one"
    assert teacher.asked[1]["Trace"].startswith("Task: the task")


def test_a_plan_without_end_is_cut():
    student = Listed("\n".join(map(str, range(500))), *["ANSWER: x"] * MOST_STEPS)
    done = Supervisor(ToolAgent(student), Reviewer(Scripted(lambda messages: json.dumps({"guidance": "", "valid": True})))).work(
        "stepwise", "t"
    )
    assert done.attempts == MOST_STEPS
    assert "500 steps" in done.faults[0]


@pytest.mark.parametrize("reply", ["I think so", '{"valid": "yes"}', '{"valid": 1}', ""])
def test_a_teacher_that_cannot_be_read_lets_pass(reply):
    reviewer = Reviewer(Listed(reply, reply))
    done = Supervisor(ToolAgent(Listed("ANSWER: 1", "ANSWER: 1")), reviewer).work("paired", "t")
    assert (done.attempt.answer, done.valid, len(done.faults), reviewer.unreadable) == ("1", None, 1, 1)
    assert reviewer.validate("t", "1").cached is False  # what could not be read is not remembered


def test_a_teacher_that_cannot_be_reached_lets_pass():
    reviewer = Reviewer(Listed(ChatError("down"), ChatError("down")))
    done = Supervisor(ToolAgent(Listed("a plan", "ANSWER: 1")), reviewer).work("coach", "t")
    assert (done.attempt.answer, len(done.faults), reviewer.unreached) == ("1", 2, 2)


def test_a_student_that_cannot_be_reached_raises():
    with pytest.raises(ChatError, match="down"):
        Supervisor(ToolAgent(Listed(ChatError("down"))), None).work("auto", "t")


def test_the_same_is_validated_once():
    teacher = Listed(no("x"), YES, YES, YES)
    reviewer = Reviewer(teacher)
    first = reviewer.validate("s", "o", context="c", guidance="g")
    again = reviewer.validate("s", "o", context="c", guidance="g")
    assert (first.valid, again.valid, again.guidance, again.cached) == (False, False, "x", True)
    for other in (("s", "o2", "c", "g"), ("s", "o", "c2", "g"), ("s", "o", "c", "g2")):
        reviewer.validate(other[0], other[1], context=other[2], guidance=other[3])
    assert len(teacher.asked) == 4


def test_old_validations_are_forgotten():
    teacher = Listed(YES, YES, YES, YES)
    reviewer = Reviewer(teacher, remember=2)
    for output in ("a", "b", "a", "c", "b"):
        reviewer.validate("s", output)
    assert len(teacher.asked) == 4  # a is asked once, b again
    forgetful = Reviewer(Listed(YES, YES), remember=0)
    assert [forgetful.validate("s", "o").cached for _ in range(2)] == [False, False]


def test_lanes_that_do_not_exist():
    with pytest.raises(OptionError, match="No lane is called 'pair'"):
        Supervisor(ToolAgent(Listed()), Reviewer(Listed())).work("pair", "t")
    with pytest.raises(OptionError, match="needs a teacher"):
        Supervisor(ToolAgent(Listed()), None).work("paired", "t")
    with pytest.raises(OptionError, match="retries is -1"):
        Supervisor(ToolAgent(Listed()), None, retries=-1)
