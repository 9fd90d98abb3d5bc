from __future__ import annotations

import pytest

from tutelage.errors import BudgetError, OptionError
from tutelage.models.chat import Scripted
from tutelage.models.chat.agent import Step, ToolAgent, read_turn
from tutelage.models.chat.sections import sections


def says(*turns):
    """A chat model that says these turns, and the conversations it was shown."""
    left, shown = list(turns), []

    def program(messages):
        shown.append(messages)
        return left.pop(0)

    return Scripted(program), shown


TOOLS = {"add": lambda given: str(sum(map(int, given.split("+")))), "look": lambda given: f"{given}\nmore\nlines"}


def test_tools_are_used_until_the_answer():
    chat, shown = says("USE add: 1+2", "Let me see.\nUSE look: 3", "ANSWER: three\nor so")
    attempt = ToolAgent(chat, TOOLS).solve("How much?", pamphlet="use add", guidance=["think"], plan="add", context="before", step="sum")
    assert attempt.answer == "three\nor so"
    assert attempt.steps == (Step("add", "1+2", "3"), Step("look", "3", "3\nmore\nlines"))
    assert attempt.trace == "USE add: 1+2 -> 3\nUSE look: 3 -> 3"
    assert attempt.ended
    asked = sections(shown[0][0].content)
    del asked["Instruction"]
    told = {"Pamphlet": "use add", "Plan": "add", "Context": "before", "Step": "sum", "Guidance": "think"}
    assert asked == {"Task": "How much?", "Tools": "add, look"} | told
    assert [m.role for m in shown[2]] == ["user", "assistant", "user", "assistant", "user"]
    assert shown[2][4].content == "3\nmore\nlines"


def test_turns_are_data():
    assert read_turn("ANSWER: x\nUSE add: 1", TOOLS) == ("ANSWER", "", "x")
    assert read_turn("ANSWER:\nUSE add: 1", TOOLS) == ("USE", "add", "1")
    assert read_turn("USE rm: -rf /\nUSE add: 1:2", TOOLS) == ("USE", "add", "1:2")
    assert read_turn("I would look, then add.", TOOLS) == ("USE", "look", "")
    assert read_turn("overlook the address", TOOLS) == ("", "", "")
    assert read_turn("", TOOLS) == ("", "", "")
    assert read_turn("USELESS", TOOLS) == ("", "", "")


def test_unparsable_turns_are_counted_and_answered():
    chat, shown = says("hm", "", "ANSWER: 1")
    attempt = ToolAgent(chat, TOOLS).solve("t")
    assert (attempt.answer, attempt.unparsable) == ("1", 2)
    assert "neither" in shown[1][2].content
    assert shown[2][3].content == " "  # an empty turn can be sent back


def test_the_last_output_is_the_answer_where_steps_run_out():
    chat, _ = says("USE add: 1+1", "USE look: z", "USE look: y")
    attempt = ToolAgent(chat, TOOLS, max_steps=2).solve("t")
    assert (attempt.answer, attempt.ended, len(attempt.steps)) == ("z", False, 2)
    chat, _ = says("hm", "hm")
    assert ToolAgent(chat, TOOLS, max_steps=2).solve("t").answer == ""


def test_what_a_tool_cannot_do_is_told_to_the_model():
    chat, shown = says("USE add: one + two", "ANSWER: I give up")
    attempt = ToolAgent(chat, TOOLS).solve("t")
    assert attempt.answer == "I give up"
    assert shown[1][2].content.startswith("error: ValueError")

    def down(given):
        raise BudgetError("over")

    chat, _ = says("USE down: x")
    with pytest.raises(BudgetError):
        ToolAgent(chat, {"down": down}).solve("t")


def test_without_tools_any_text_is_an_answer():
    chat, _ = says("It is 4.", "ANSWER: 5\n6")
    agent = ToolAgent(chat)
    assert agent.solve("t").answer == "It is 4."
    assert agent.solve("t").answer == "5\n6"


def test_tools_of_one_task():
    chat, shown = says("USE other: 1", "ANSWER: done", "a plan")
    agent = ToolAgent(chat, TOOLS)
    attempt = agent.solve("t", tools={"other": str.upper})
    assert attempt.steps[0].tool == "other"
    assert agent.plan("t", tools={"other": str.upper}) == "a plan"
    assert sections(shown[2][0].content)["Tools"] == "other"


def test_options():
    chat, _ = says()
    with pytest.raises(OptionError, match="max_steps is 0"):
        ToolAgent(chat, max_steps=0)
    with pytest.raises(OptionError, match="'two words'"):
        ToolAgent(chat, {"two words": str})
