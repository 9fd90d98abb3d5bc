import pytest

from tutelage.data.explained_questions import Question
from tutelage.errors import DataError, OptionError
from tutelage.models.chat import Scripted
from tutelage.teachers.explainer import Explainer
from tutelage.views.explaining import gold

ICE = Question("Does ice float?", "yes", "Ice is light.", topic="ice", harmful=("Ice is iron.", "Ice is lead."))
CAR = Question("Has a car two wheels?", "no", "It has four.", topic="car")
asked: list[str] = []


def program(messages):
    asked.append(messages[0].content)
    return "yes because so" if "because" in messages[0].content else "So it is. So the answer is yes"


def test_a_blind_teacher_sees_the_students_demonstrations():
    asked.clear()
    (found,) = Explainer(Scripted(program), demos=[gold(CAR)], useful=[gold(ICE)])([ICE])
    assert (found.explanation, found.answer) == ("So it is.", "yes")
    assert asked == ["Q: Has a car two wheels?\nA: It has four. So the answer is no\n\nQ: Does ice float?\nA:"]
    (found,) = Explainer(Scripted(program), "rationalise", demos=[gold(CAR)])([ICE])
    assert (found.explanation, found.answer) == ("so", "yes")
    assert "A: no because It has four." in asked[-1]


def test_a_personalised_teacher_sees_what_helped():
    other = Question("Is ice wet?", "no", "It is dry.", topic="ice")
    teacher = Explainer(Scripted(program), "personalised", demos=[gold(CAR)], useful=[gold(CAR), gold(other)])
    assert teacher.shown(ICE) == [gold(CAR), gold(other)]
    teacher.per_topic = True
    assert teacher.shown(ICE) == [gold(other)]
    assert teacher.shown(Question("Else?", topic="sky")) == [gold(CAR), gold(other)]
    teacher.useful = []
    assert teacher.shown(ICE) == [gold(CAR)]


def test_explanations_that_are_there():
    (found,) = Explainer(None, "human")([ICE])
    assert (found.explanation, found.answer) == ("Ice is light.", "yes")
    drawn = {Explainer(None, "harmful", seed=seed)([ICE])[0].explanation for seed in range(20)}
    assert drawn == set(ICE.harmful)
    again = Explainer(None, "harmful", seed=3)
    assert again([ICE]) == again([ICE])
    with pytest.raises(DataError, match="no harmful explanation"):
        again([CAR])


def test_mistakes_are_named():
    with pytest.raises(OptionError, match="'loud'"):
        Explainer(None, "loud")
    with pytest.raises(OptionError, match="nobody explains"):
        Explainer(None, "cot")
