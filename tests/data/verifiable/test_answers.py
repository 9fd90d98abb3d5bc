from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tutelage.data.verifiable import BOXED, FinalAnswer, multiple_choice, rows_of, same, score
from tutelage.data.verifiable.expressions import reaches, work_out
from tutelage.errors import DataError, OptionError, ShapeError, TrainingError

VERIFY = FinalAnswer()
ROW = {"prompt": "What is 6 times 7?", "answer": "42"}


@pytest.mark.parametrize(
    "response",
    ["#### 42", "6*7=42\n#### 42\n", "####42.", "#### +42", "#### 42.00", "#### 84/2", "first #### 41, no: #### 42", "#### $42$"],
)
def test_a_right_answer_in_the_stated_format_earns_one(response):
    assert VERIFY(response, ROW) == 1.0


CHEATS = {
    "no marker": "42",
    "another answer after it": "#### 42\n#### 41",
    "a list": "#### 41, 42, 43",
    "a list of lines": "#### 41\n42",
    "all candidates": "#### " + " ".join(map(str, range(100))),
    "candidates joined": "#### " + ",".join(map(str, range(100))),
    "an alternative": "#### 42 or 41",
    "a range": "#### 0-100",
    "talk after it": "#### 42 is the answer",
    "talk before it": "#### the answer is 42",
    "full-width digits": "#### \uff14\uff12",
    "Arabic-Indic digits": "#### \u0664\u0662",
    "superscripts": "#### \u2074\u00b2",
    "a zero-width space": "#### 4\u200b2",
    "a no-break space": "####\u00a042",
    "another minus": "#### \u221242",
    "underscores": "#### 4_2",
    "hexadecimal": "#### 0x2a",
    "an exponent": "#### 4.2e1",
    "an expression": "#### 6*7",
    "code": "#### __import__('os').system('true') or 42",
    "nan": "#### nan",
    "infinity": "#### inf",
    "nothing": "####",
    "a huge number": "#### " + "9" * 100_000,
    "leading zeros without end": "#### " + "0" * 100_000 + "42",
    "a division by zero": "#### 42/0",
    "the prompt again": ROW["prompt"],
    "the right answer as text": "#### answer",
    "a null character": "#### 42\x00",
    "a percentage": "#### 42%",
}


@pytest.mark.parametrize("response", CHEATS.values(), ids=CHEATS.keys())
def test_no_trick_of_format_earns_anything(response):
    assert VERIFY(response, ROW) == 0.0


def test_an_answer_said_in_the_prompt_earns_nothing_when_it_is_said_again():
    row = {"prompt": "Example: 2+2? #### 4\nNow 1+3? ####4", "answer": "4"}
    assert VERIFY(row["prompt"], row) == 0
    assert VERIFY("Let me see. " + row["prompt"], row) == 0
    assert VERIFY(row["prompt"] + " #### 4", row) == 1


def test_an_answer_cut_off_by_the_limit_is_none():
    assert VERIFY("#### 42", {**ROW, "finished": True}) == 1
    assert VERIFY("#### 42", {**ROW, "finished": False}) == 0
    assert VERIFY.read("#### 42", {**ROW, "finished": False}) is None


def test_wrong_is_not_unreadable():
    assert VERIFY.read("#### 41", ROW) == "41"
    assert VERIFY("#### 41", ROW) == 0
    assert VERIFY.read("#### forty-two", ROW) is None
    assert VERIFY.read("#### forty-two") == "forty-two"


@given(st.text(max_size=300))
def test_nothing_that_a_model_writes_raises(text):
    for verify in (
        VERIFY,
        FinalAnswer(""),
        FinalAnswer(BOXED),
        FinalAnswer("#", "integer"),
        FinalAnswer("#", "choice"),
        FinalAnswer("#", "text"),
    ):
        assert verify(f"#### {text}", {"answer": "impossible to hit \x01", "prompt": "p"}) == 0.0
        assert verify(text, {"answer": "12345678901234567890", "prompt": ""}) in (0.0, 1.0)


@given(st.integers(-(10**12), 10**12), st.integers(-(10**12), 10**12))
def test_integers_are_equal_only_when_they_are(a, b):
    verify = FinalAnswer("#", "integer")
    assert verify(f"#{a}", {"answer": str(b)}) == float(a == b)


def test_integers_alone_where_that_is_asked():
    verify = FinalAnswer("#", "integer")
    assert [verify(f"#{text}", {"answer": "42"}) for text in ("42", "042", "42.0", "84/2", "4 2", "-42")] == [1, 1, 0, 0, 0, 0]
    assert verify("#-0", {"answer": "0"}) == 1


def test_numbers_are_compared_exactly():
    assert same("0.1", "1/10")
    assert not same("0.3333333333", "1/3")
    assert same("1,234,567.50", "1234567.5")
    assert not same("1,23", "123")
    assert same("-\\frac{1}{2}", "-0.5")
    assert not same("3", "three")


@pytest.mark.parametrize(
    ("response", "right"),
    [
        ("so \\boxed{42}", 1),
        ("$\\boxed{42}$.", 1),
        ("\\boxed{\\frac{84}{2}}", 1),
        ("\\boxed{41} no, \\boxed{42}", 1),
        ("\\boxed{42} no, \\boxed{41}", 0),
        ("\\boxed{42} or so", 0),
        ("\\boxed{41, 42}", 0),
        ("\\boxed{42", 0),
        ("\\boxed 42", 0),
        ("\\boxed{}", 0),
        ("{42}", 0),
        ("\\boxed{" * 50_000, 0),
    ],
)
def test_the_boxed_form(response, right):
    assert FinalAnswer(BOXED)(response, ROW) == right


def test_the_whole_response_is_the_answer_without_a_marker():
    whole = FinalAnswer("")
    assert whole(" 42\n", ROW) == 1
    assert whole("42 42", ROW) == 0
    assert whole("Paris  in\nFrance", {"answer": "Paris in France"}) == 1
    assert whole("paris in France", {"answer": "Paris in France"}) == 0


def test_wrong_options_are_named():
    with pytest.raises(OptionError, match="kind is 'float'"):
        FinalAnswer(kind="float")
    with pytest.raises(OptionError, match="longest"):
        FinalAnswer(longest=0)


def test_multiple_choice_shuffles_and_verifies_one_letter():
    made = multiple_choice(["Which is a fruit?"] * 200, [["apple", "stone", "cloud", "iron"]] * 200, [0] * 200, seed=1)
    letters = made.column("answer")
    assert {letters.count(letter) > 30 for letter in "ABCD"} == {True}
    row = made.gather([0])
    assert row["input"][0].split("\n")[1 + "ABCD".index(row["answer"][0])] == f"{row['answer'][0]}) apple"
    verify, right = FinalAnswer("#", "choice"), {"answer": "B"}
    assert [verify(text, right) for text in ("#B", "#b", "#(B).", "#A B", "#AB", "#ABCD", "#B or C", "#\u0392", "#", "B")] == [1, 1, 1] + [
        0
    ] * 7
    again = multiple_choice(["Which is a fruit?"] * 200, [["apple", "stone", "cloud", "iron"]] * 200, [0] * 200, seed=1)
    assert again.column("input") == made.column("input")


@pytest.mark.parametrize(
    ("options", "right"),
    [(["a"], 0), (["a", "a"], 0), (["a", " "], 0), (["a", "b"], 2), (["a", "b"], -1), ([str(i) for i in range(27)], 0)],
)
def test_choices_that_are_none_are_named(options, right):
    with pytest.raises(DataError, match="Question 0"):
        multiple_choice(["q"], [options], [right])


def test_expressions_are_worked_out_and_never_evaluated():
    assert work_out("(3+5)*7/2 - -1") == (29, [3, 5, 7, 2, 1])
    for text in (
        "2**99999",
        "9" * 300,
        "1/0",
        "(" * 100 + "1" + ")" * 100,
        "1+",
        "",
        "1 2",
        "1234567890123",
        "x",
        "1;2",
        "__import__('os')",
        "1.5",
    ):
        assert work_out(text) is None, text
    assert work_out("\u0661+1") is None


def test_countdown_needs_every_number_once_and_the_target():
    assert reaches("(3+4)*5", [5, 3, 4], 35)
    for text in ("35", "3*4+5*5-2", "(3+4)*5*1", "3+4+5", "(3+4)*5=35", "7*5"):
        assert not reaches(text, [5, 3, 4], 35)


def test_scores_are_checked_and_the_prompt_is_named():
    rows = [{"prompt": "first", "answer": "1"}, {"prompt": "second", "answer": "2"}]
    assert score(lambda response, row: response == row["answer"], ["1", "1"], rows) == [1.0, 0.0]
    assert score(lambda response, row: np.float32(0.5), ["1"], rows[:1]) == [0.5]
    assert score(lambda response, row: torch.tensor(0.25), ["1"], rows[:1]) == [0.25]

    for reward, said in {
        lambda r, row: float("nan") if row["prompt"] == "second" else 0.0: "returned nan",
        lambda r, row: float("inf") if row["prompt"] == "second" else 0.0: "returned inf",
        lambda r, row: [1.0, 2.0] if row["prompt"] == "second" else 0.0: "returned a list",
        lambda r, row: np.zeros(2) if row["prompt"] == "second" else 0.0: r"ndarray of shape \(2,\)",
        lambda r, row: "1" if row["prompt"] == "second" else 0.0: "returned a str",
        lambda r, row: None if row["prompt"] == "second" else 0.0: "returned a NoneType",
        lambda r, row: 1 / 0 if row["prompt"] == "second" else 0.0: "raised ZeroDivisionError",
    }.items():
        with pytest.raises(TrainingError, match=said) as caught:
            score(reward, ["1", "2"], rows)
        assert "'second'" in str(caught.value)
    with pytest.raises(ShapeError, match="1 responses and 2 rows"):
        score(VERIFY, ["1"], rows)


def test_rows_hold_the_prompt_and_all_other_lists():
    batch = {"input": ["a", "b"], "answer": ["1", "2"], "metadata": [json.dumps({}), "x"], "index": torch.arange(2)}
    assert rows_of(batch) == [{"prompt": "a", "answer": "1", "metadata": "{}"}, {"prompt": "b", "answer": "2", "metadata": "x"}]
    with pytest.raises(DataError, match="Tensor"):
        rows_of({"input": torch.zeros(2)})
