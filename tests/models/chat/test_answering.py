import pytest

from tutelage.data.explained_questions import Question
from tutelage.errors import ChatError
from tutelage.models.chat import Scripted
from tutelage.models.chat.answering import answer_alone, answer_given, answer_then_reason, explain_then_answer
from tutelage.views.explaining import gold

ICE = Question("Does ice float?", "yes", "Ice is light.")
CAR = Question("Has a car two wheels?", "no", "It has four.")
PENS = Question("How many pens?", "12", "3*4 = 12. So 12.", kind="number")


class Recorded:
    """Answers by a table of what a prompt ends in, and keeps the prompts."""

    def __init__(self, **ends):
        self.ends, self.asked = ends, []

    def complete(self, conversations, *, sampling=None):
        self.asked.append(list(conversations))
        return Scripted(lambda said: next(v for k, v in self.ends.items() if said[0].content.endswith(ENDS[k]))).complete(conversations)


ENDS = {"alone": "A:", "slot": "is", "number": "12."}


def test_an_unreadable_answer_is_asked_again_with_its_own_explanation():
    chat = Recorded(alone="Ice is quite light. Hm", slot="yes")
    (found,) = explain_then_answer(chat, [ICE])
    assert (found.answer, found.explanation, found.again, len(found.replies)) == ("yes", "Ice is quite light.", True, 2)
    assert chat.asked[1] == ["Q: Does ice float?\nA: Ice is quite light. So the answer is"]


def test_a_readable_answer_is_asked_once_and_one_that_stays_unreadable_is_none():
    chat = Recorded(alone="Light. So the answer is yes")
    assert [a.answer for a in explain_then_answer(chat, [ICE, CAR], [[gold(CAR)], []])] == ["yes", "yes"]
    assert len(chat.asked) == 1
    assert chat.asked[0][0].startswith("Q: Has a car")
    (lost,) = explain_then_answer(Recorded(alone="?", slot="?"), [ICE])
    assert lost.answer is None
    assert lost.again


def test_an_explanation_that_is_given_takes_the_place_of_the_students():
    chat = Recorded(slot="no.")
    (found,) = answer_given(chat, [CAR], ["It has four."])
    assert (found.answer, found.explanation) == ("no", "It has four.")
    (found,) = answer_given(Recorded(number="So there are 12 pens"), [PENS], [PENS.explanation])
    assert found.answer == "12"


def test_without_explanations_and_with_the_answer_first():
    assert answer_alone(Recorded(slot="yes"), [ICE])[0].answer == "yes"
    (found,) = answer_then_reason(Recorded(alone="yes because ice is light"), [ICE])
    assert (found.answer, found.explanation) == ("yes", "ice is light")
    assert found.likely("yes") == 1.0
    assert found.likely("no") == 0.0


def test_no_questions_ask_nothing_and_nonsense_is_an_error():
    chat = Recorded()
    assert explain_then_answer(chat, []) == answer_given(chat, [], []) == []
    assert chat.asked == []

    class Odd:
        def __init__(self, *said):
            self.said = said

        def complete(self, conversations, *, sampling=None):
            return list(self.said)

    for ask in (answer_alone, explain_then_answer, answer_then_reason):
        with pytest.raises(ChatError, match="a str in place"):
            ask(Odd("yes"), [ICE])
        with pytest.raises(ChatError, match="0 replies to 1"):
            ask(Odd(), [ICE])
