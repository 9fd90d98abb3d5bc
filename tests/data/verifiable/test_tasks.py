from __future__ import annotations

import json
import re

import pytest

from tutelage.data.verifiable import FinalAnswer, GymAnswer, chain_sums, reasoning_gym
from tutelage.data.verifiable.arithmetic import CHARACTERS
from tutelage.errors import OptionError

MADE = {"modulus": {"modulus": 10, "digits": 1}, "plain": {"modulus": None, "operators": "+-*"}, "padded": {"padded": True, "terms": 4}}


@pytest.mark.parametrize("options", MADE.values(), ids=MADE.keys())
def test_every_trace_is_right_step_by_step_and_ends_in_its_answer(options):
    made = chain_sums(300, seed=3, **options)
    assert len(set(made.column("input"))) == len(made) == 300
    verify = FinalAnswer("#", "integer")
    modulus = options.get("modulus", 100)
    for prompt, answer, solution in zip(*(made.column(name) for name in ("input", "answer", "solution")), strict=True):
        assert set(prompt + solution) <= set(CHARACTERS)
        steps, _, last = solution.partition("#")
        before = None
        for step in steps.split(","):
            a, sign, b, result = re.fullmatch(r"(-?\d+)([-+*])(\d+)=(-?\d+)", step).groups()
            exact = {"+": int(a) + int(b), "-": int(a) - int(b), "*": int(a) * int(b)}[sign]
            assert int(result) == (exact if modulus is None else exact % modulus)
            assert before in (None, a)
            before = result
        assert last == before == answer
        assert verify(solution, {"prompt": prompt, "answer": answer}) == 1


def test_a_brief_trace_has_the_results_of_the_full_one():
    full, brief = chain_sums(50, terms=4, seed=2), chain_sums(50, terms=4, seed=2, brief=True)
    assert full.column("answer") == brief.column("answer")
    for long, short in zip(full.column("solution"), brief.column("solution"), strict=True):
        steps, _, last = long.partition("#")
        assert short == ",".join(step.partition("=")[2] for step in steps.split(",")) + "#" + last


def test_sums_depend_on_the_seed_alone():
    assert chain_sums(50, seed=1).column("input") == chain_sums(50, seed=1).column("input")
    assert chain_sums(50, seed=1).column("input") != chain_sums(50, seed=2).column("input")
    assert chain_sums(20, seed=1).column("input") == chain_sums(50, seed=1).column("input")[:20]


def test_no_more_sums_than_there_are():
    assert len(chain_sums(100, terms=2, digits=1, modulus=None)) == 100
    with pytest.raises(OptionError, match="only 100"):
        chain_sums(101, terms=2, digits=1)
    with pytest.raises(OptionError, match="operators='/'"):
        chain_sums(5, operators="/")


@pytest.mark.parametrize("name", ["chain_sum", "countdown", "knights_knaves", "leg_counting"])
@pytest.mark.parametrize("short", [False, True])
def test_the_generators_own_answers_are_right_and_others_are_not(name, short):
    if short and name == "leg_counting":
        pytest.skip("has no short form")
    options = {
        "countdown": {"min_numbers": 3, "max_numbers": 3, "min_target": 1, "max_target": 99, "max_value": 9},
        "knights_knaves": {"n_people": 2},
    }
    made = reasoning_gym(name, 25, seed=5, short=short, **options.get(name, {}))
    verify = GymAnswer(name)
    rows = [made.gather([i]) for i in range(len(made))]
    rows = [{"prompt": r["input"][0], "answer": r["answer"][0], "metadata": r["metadata"][0]} for r in rows]
    for row, other in zip(rows, [*rows[1:], rows[0]], strict=True):
        assert verify(f"I think\n#### {row['answer']}", row) == 1, row
        assert verify(row["answer"], row) == 0
        assert verify(f"#### {row['answer']}\n#### none of these", row) == 0
        assert verify(f"#### {row['answer']} #### {other['answer']}", row) == float(verify(f"#### {other['answer']}", row))
        assert verify(f"#### {row['answer']}, or {other['answer']} or so", row) == 0
    assert made.column("input") == reasoning_gym(name, 25, seed=5, short=short, **options.get(name, {})).column("input")
    if short:
        assert max(map(len, made.column("input"))) < 80


def test_a_countdown_answer_other_than_the_generators_counts():
    row = {"answer": "(3+4)*5", "metadata": json.dumps({"numbers": [3, 4, 5], "target": 35})}
    verify = GymAnswer("countdown", marker="#")
    assert verify("#5*(4+3)", row) == 1
    assert verify("#35", row) == 0
    assert verify("#__import__('os').getpid()", row) == 0


def test_roles_may_come_in_any_order_but_not_twice():
    row = {"answer": "Zoey is a knight, and Owen is a knave."}
    verify = GymAnswer("knights_knaves", marker="#")
    assert verify("#Owen is a knave and Zoey is a knight", row) == 1
    assert verify("#Zoey=knight,Owen=knave", row) == 1
    for cheat in (
        "Zoey is a knight",
        "Zoey is a knight, Zoey is a knave, Owen is a knave",
        "Zoey is a knight/knave, Owen is a knave",
        "knight knave",
        "Owen is a knight, Zoey is a knave",
    ):
        assert verify(f"#{cheat}", row) == 0, cheat


def test_wrong_generators_and_options_are_named():
    with pytest.raises(OptionError, match="no generator 'chain_sums'"):
        reasoning_gym("chain_sums", 3)
    with pytest.raises(OptionError, match="min_term"):
        reasoning_gym("chain_sum", 3, min_term=2)
    with pytest.raises(OptionError, match="short form"):
        reasoning_gym("leg_counting", 3, short=True)
    with pytest.raises(OptionError, match="max_terms"):
        reasoning_gym("chain_sum", 3, min_terms=5, max_terms=2)
