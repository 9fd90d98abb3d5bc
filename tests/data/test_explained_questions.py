import json

import pytest

from tutelage.data.explained_questions import Question, ecqa, gsm8k, harmful_explanations, number, strategyqa
from tutelage.errors import DataError

STRATEGY = [
    {
        "qid": "a1",
        "term": "Bicycle",
        "description": "two-wheeled vehicle",
        "question": "Does a bicycle have more wheels than a car?",
        "answer": False,
        "facts": ["A bicycle has two wheels.", "A car has four wheels. "],
        "decomposition": ["How many wheels has a bicycle?"],
        "evidence": [[["Bicycle-1"], "no_evidence"]],
    },
    {"qid": "b2", "term": "Ice", "description": "", "question": "Does ice float?", "answer": True, "facts": ["Ice is lighter."]},
]
ECQA = (
    ",q_no,q_concept,q_text,q_op1,q_op2,q_op3,q_op4,q_op5,q_ans,taskA_pos,taskA_neg,taskB\n"
    '0,ab12,boat,"Where is a boat, mostly?",desk,lake,oven,sky,shoe,lake,"A boat floats.\nA lake is water.",Others are dry.,'
    '"A boat floats on water,\n   so it is on a lake."\n'
    "1,cd34,bread,What is baked?,stone,air,bread,light,time,bread,Bread is baked.,None else is.,Bread is made in an oven.\n"
)
GSM = (
    '{"question": "Ann has 3 bags of 4 pens. How many?", "answer": "Ann has 3*4 = <<3*4=12>>12 pens\\nAll are <<12+0=12>>12.\\n#### 12"}\n'
    '{"question": "What is left of $1,250.50?", "answer": "Nothing is spent.\\n#### 1,250.50"}\n'
)
HARMFUL = [
    {
        "answer": "no",
        "gold_explanation": "A bicycle has two wheels.",
        "harmful_explanation": ["A bicycle has nine wheels.", "A car has one wheel."],
        "wrong_answer": "yes",
        "index": 0,
        "qid": "a1",
        "question": "Does a bicycle have more wheels than a car?",
    }
]


def written(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_strategyqa(tmp_path):
    first, second = strategyqa(written(tmp_path, "train.json", STRATEGY))
    assert (first.answer, second.answer) == ("no", "yes")
    assert first.explanation == "A bicycle has two wheels. A car has four wheels."
    assert (first.topic, first.name, first.kind, first.choices) == ("Bicycle", "a1", "yes-no", ("yes", "no"))


def test_ecqa(tmp_path):
    first, second = ecqa(written(tmp_path, "cqa_data_test.csv", ECQA))
    assert (first.answer, second.answer) == ("2", "3")
    assert first.options == ("desk", "lake", "oven", "sky", "shoe")
    assert first.explanation == "A boat floats on water, so it is on a lake."
    assert first.choices == ("1", "2", "3", "4", "5")


def test_gsm8k(tmp_path):
    first, second = gsm8k(written(tmp_path, "test.jsonl", GSM))
    assert first.explanation == "Ann has 3*4 = 12 pens. All are 12."
    assert (first.answer, second.answer, first.choices) == ("12", "1250.5", ())


def test_harmful_explanations(tmp_path):
    path = written(tmp_path, "harmful.json", HARMFUL)
    (alone,) = harmful_explanations(path)
    assert alone.harmful == ("A bicycle has nine wheels.", "A car has one wheel.")
    joined = harmful_explanations(path, strategyqa(written(tmp_path, "train.json", STRATEGY)))
    assert [question.topic for question in joined] == ["Bicycle"]
    assert joined[0].harmful == alone.harmful


@pytest.mark.parametrize(
    ("read", "content", "words"),
    [
        (strategyqa, "[", "JSON"),
        (strategyqa, {}, "a dict"),
        (strategyqa, [], "no questions"),
        (strategyqa, [*STRATEGY, 3], "Entry 2 .* a int"),
        (strategyqa, [STRATEGY[0], STRATEGY[1] | {"answer": "yes"}], "Entry 1"),
        (strategyqa, [STRATEGY[0] | {"question": " "}], "Entry 0 .* no text"),
        (strategyqa, [STRATEGY[0] | {"facts": [1]}], "Entry 0"),
        (ecqa, ECQA.replace("q_ans", "answer", 1), "no column 'q_ans'"),
        (ecqa, ECQA.replace("shoe,lake", "shoe,pond"), "Line 4 .* 'pond'"),
        (ecqa, ECQA.replace(",Bread is made in an oven.", ""), "line 5 .* incomplete"),
        (ecqa, ECQA.splitlines()[0] + "\n", "no questions"),
        (gsm8k, GSM + "{]\n", "Line 3"),
        (gsm8k, GSM.replace("#### 12", "12"), "Line 1 .* no result"),
        (gsm8k, GSM.replace("#### 1,250.50", "#### none"), "Line 2 .* no number"),
        (gsm8k, "\n", "no questions"),
        (harmful_explanations, [HARMFUL[0] | {"harmful_explanation": ["one"]}], "Entry 0 .* two texts"),
        (harmful_explanations, [HARMFUL[0] | {"answer": "maybe"}], "Entry 0 .* 'maybe'"),
        (harmful_explanations, [HARMFUL[0] | {"gold_explanation": None}], "Entry 0"),
    ],
)
def test_malformed_entries_are_named(tmp_path, read, content, words):
    with pytest.raises(DataError, match=words):
        read(written(tmp_path, "file", content))


@pytest.mark.parametrize("read", [strategyqa, ecqa, gsm8k, harmful_explanations])
def test_a_missing_file_is_named(tmp_path, read):
    with pytest.raises(DataError, match="nowhere"):
        read(tmp_path / "nowhere")


def test_numbers_are_compared_in_one_form():
    assert [number(text) for text in ("$1,250.50", "990.00", "-3", " 042 ", "0", "-0.0", ".5", "7 apples.")] == [
        "1250.5", "990", "-3", "42", "0", "0", "0.5", "7",
    ]  # fmt: skip
    for text in ("none", "1.2.3", ""):
        with pytest.raises(DataError, match="no number"):
            number(text)


def test_answers_fit_their_kind():
    with pytest.raises(DataError, match="'maybe'"):
        Question("Is it?", "maybe")
    with pytest.raises(DataError, match="0 options"):
        Question("Which?", kind="options")
    assert Question("Which?", "2", options=("a", "b"), kind="options").answer == "2"
