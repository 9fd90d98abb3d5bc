import math

import pytest

from tutelage.data.explained_questions import Question
from tutelage.models.chat import Reply, TokenLogProb
from tutelage.models.chat.reading import choice_probabilities, digits_probability, first_answer, read_answer, read_explanation, read_reason

YESNO = Question("Is it?")
OPTIONS = Question("Which?", options=("a red cat", "red", "dog"), kind="options")
NUMBER = Question("How many?", kind="number")


def tokens(*rows):
    """Rows of (token, probability, alternatives)."""
    return tuple(TokenLogProb(t, math.log(p), tuple((a, math.log(q)) for a, q in top)) for t, p, top in rows)


@pytest.mark.parametrize(
    ("text", "leading", "answer"),
    [
        ("It is so. So the answer is yes", False, "yes"),
        ("Yes and no. So the answer is: No.", False, "no"),
        ("The answer is yes. But wait. So the answer is no", False, "no"),
        ("I think yes", False, "yes"),
        ("yes, I think", False, None),
        ("I do not know.", False, None),
        ("", False, None),
        ("Yes, of course", True, "yes"),
        ("yes because it is", True, "yes"),
        ("Hard to say", True, None),
        ("yesterday", True, None),
        ("yes\n\nQ: Is that?\nA: So the answer is no", True, "yes"),
    ],
)
def test_yes_and_no(text, leading, answer):
    assert read_answer(YESNO, text, leading=leading) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("It barks. So the correct choice is 3", "3"),
        ("So the correct choice is dog", "3"),
        ("So the correct choice is a red cat", "1"),
        ("So the answer is red", "2"),
        ("It must be the dog.", "3"),
        ("A dog or red.", None),
        ("So the correct choice is 7", None),
    ],
)
def test_options_by_number_or_text(text, answer):
    assert read_answer(OPTIONS, text) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("3*4 = 12. So the answer is 12.", "12"),
        ("So the answer is $1,250.00", "1250"),
        ("Then 5 and 7", "7"),
        ("12 pens. So the answer is", "12"),
        ("none", None),
    ],
)
def test_numbers(text, answer):
    assert read_answer(NUMBER, text) == answer


def test_explanations_and_reasons():
    assert read_explanation("Ice is light. So the answer is yes") == "Ice is light."
    assert read_explanation("Ice is light. Water\nis not. And") == "Ice is light. Water is not."
    assert read_reason("yes because ice is light") == "ice is light"
    assert read_reason("yes ice is light") == "ice is light"
    assert first_answer("no\n\n Q: Next? A: yes") == "no"
    assert len(first_answer("x" * 100_000)) == 20_000


def test_the_first_token_gives_the_probability_of_every_choice():
    reply = Reply(" Yes", tokens((" ", 0.9, ()), (" Yes", 0.6, ((" Yes", 0.6), ("yes", 0.1), (" no", 0.2), ("maybe", 0.1)))))
    assert choice_probabilities(reply, ("yes", "no")) == pytest.approx({"yes": 0.7, "no": 0.2})
    assert choice_probabilities(Reply("yes"), ("yes", "no")) is None
    assert choice_probabilities(Reply("x", tokens(("x", 0.5, ()))), ("yes", "no")) == {"yes": 0.0, "no": 0.0}


def test_after_an_explanation_the_last_choice_counts():
    reply = Reply("no wait yes", tokens(("no", 0.9, ()), ("wait", 1.0, ()), ("yes", 0.8, (("yes", 0.8), ("no", 0.1))), (".", 1.0, ())))
    assert choice_probabilities(reply, ("yes", "no"), last=True) == pytest.approx({"yes": 0.8, "no": 0.1})
    assert choice_probabilities(Reply("x", tokens(("x", 1.0, ()))), ("yes", "no"), last=True) is None


def test_digits_of_a_number():
    reply = Reply("is 37", tokens((" is", 1.0, ()), (" 3", 0.8, ()), ("7", 0.4, (("7", 0.4), ("9", 0.3)))))
    assert digits_probability(reply, "37") == pytest.approx(0.6)
    assert digits_probability(reply, "39") == pytest.approx((0.8 + 0.3) / 2)
    assert digits_probability(reply, "4") == 0.0
    whole = Reply("37", tokens(("37", 0.5, ())))
    assert digits_probability(whole, "37") == pytest.approx(0.5)
    assert digits_probability(Reply("37"), "37") is None
    assert digits_probability(Reply("no", tokens(("no", 1.0, ()))), "37") == 0.0
