from tutelage.data.explained_questions import Question
from tutelage.views.explaining import (
    SIMULATE,
    Demo,
    answer_first,
    answer_only,
    explain_first,
    explained,
    first_sentence,
    gold,
    own,
    simulate,
)

FLOATS = Question("Does ice float?", "yes", "Ice is lighter than water.")
CAR = Question("Has a car two wheels?", "no", "A car has four wheels.")
BOAT = Question("Where is a boat?", "2", "Boats float.", ("desk", "lake"), "options")
PENS = Question("How many pens?", "12", "3*4 = 12 pens. All are 12.", kind="number")


def test_a_student_alone_explains_then_answers():
    assert explain_first(CAR, [gold(FLOATS)]) == (
        "Q: Does ice float?\nA: Ice is lighter than water. So the answer is yes\n\nQ: Has a car two wheels?\nA:"
    )
    assert explain_first(CAR) == "Q: Has a car two wheels?\nA:"
    assert answer_only(CAR, [gold(FLOATS)]).endswith("A: The answer is yes\n\nQ: Has a car two wheels?\nA: The answer is")
    assert "Ice is lighter" not in answer_only(CAR, [gold(FLOATS)])


def test_options_stand_in_the_question():
    assert explain_first(BOAT) == "Q: Where is a boat?\nAnswer choices:\nChoice 1: desk\nChoice 2: lake\nA:"
    assert explained(BOAT, "It floats.").endswith("A: It floats. So the correct choice is")


def test_an_explained_view_ends_before_the_answer_and_has_no_explanation_of_the_student():
    """Fact 8."""
    view = explained(CAR, "A bicycle has two.", [gold(FLOATS)])
    assert view.endswith("Q: Has a car two wheels?\nA: A bicycle has two. So the answer is")
    assert CAR.explanation not in view
    assert view.count("So the answer is") == 2


def test_of_a_word_problem_the_first_sentence_is_shown():
    """Fact 10."""
    assert first_sentence(PENS.explanation) == "3*4 = 12 pens."
    assert first_sentence("It costs 0.2 per minute. So 10.") == "It costs 0.2 per minute."
    assert first_sentence("no stop") == "no stop"
    assert explained(PENS, PENS.explanation) == "Q: How many pens?\nA: 3*4 = 12 pens."
    assert own(PENS, PENS.explanation).endswith("All are 12. So the answer is")


def test_a_rationalising_teacher_answers_first():
    assert answer_first(CAR, [gold(FLOATS)]) == (
        "Q: Does ice float?\nA: yes because Ice is lighter than water.\n\nQ: Has a car two wheels?\nA:"
    )


def test_a_mental_model_sees_what_the_student_answered():
    pre = simulate(CAR, "no", [Demo(FLOATS, "no")])
    assert pre == (
        f"{SIMULATE}\n\nQ: Does ice float?\nCorrect answer: yes\nAI's answer: no\n\n"
        "Q: Has a car two wheels?\nCorrect answer: no\nAI's answer:"
    )
    post = simulate(CAR, "no", [Demo(FLOATS, "yes", "It is light.")], "It has four.")
    assert "AI's answer: It is light. So the answer is yes" in post
    assert post.endswith("AI's answer: It has four. So the answer is")
    assert "Correct" not in simulate(CAR, "", [Demo(FLOATS, "no")])


def test_braces_and_markup_of_a_text_stay_text():
    odd = Question("What is {question} \\n %s <b>?", "yes", "{0} {x}")
    assert "{question} \\n %s <b>" in explained(odd, odd.explanation, [gold(odd)])
