from __future__ import annotations

import re
import time

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tutelage.selection.bounded_regex import LONGEST_TEXT, MOST_STATES, PatternError, compile_pattern

atoms = st.sampled_from(
    ["a", "b", "B", "_", " ", ".", r"\w", r"\d", r"\s", r"\W", r"\b", r"\B", "^", "$", "[ab]", "[^a]", "[a-c1]", r"[\d_]", r"\.", "-"]
)


def grown(inner):
    repeats = st.sampled_from(["*", "+", "?", "{2}", "{1,3}", "{,2}", "{2,}", "*?", "+?", "{1,2}?"])
    return (
        st.lists(inner, min_size=1, max_size=3).map("".join)
        | st.lists(inner, min_size=2, max_size=3).map("|".join).map("({})".format)
        | st.tuples(inner.map("(?:{})".format), repeats).map("".join)
    )


patterns = st.recursive(atoms, grown, max_leaves=6)


@settings(max_examples=400)
@given(patterns, st.text("abBcC1_ .-\n", min_size=1, max_size=12))  # Pythons differ on \B in an empty text
def test_it_finds_what_re_finds(pattern, text):
    try:
        expected = re.search(pattern, text, re.IGNORECASE) is not None
    except re.error:
        assume(False)
    try:
        automaton = compile_pattern(pattern)
    except PatternError:  # a repeated anchor: re allows it, it says nothing
        assume(False)
    assert automaton.found(text) == expected


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        (r"affected\s+device", "on the AFFECTED  Device", True),
        (r"sign(ed)?.?in|log.?on", "who logged on", False),
        (r"sign(ed)?.?in|log.?on", "last log-on", True),
        (r"\bIP\b", "zip", False),
        (r"(?P<word>phish\w*)\sm?ail", "phishing mail", True),
        (r"^a\Z", "a\n", False),
        (r"^a$", "a\n", True),
        (r"\x41\u0062", "xab", True),
        (r"[]x]", "]", True),
        (r"[a\-z]", "-", True),
        (r"a{,}b{", "b{", True),
        ("é+", "CAFÉ", True),
    ],
)
def test_examples(pattern, text, found):
    assert compile_pattern(pattern).found(text) == found
    assert found == (re.search(pattern, text, re.IGNORECASE) is not None)


REFUSED = ["", "  ", "(", ")", "a)", "(a", "[a", "*a", "a**", "a++", "a|*", r"(a)\1", "(?=a)", "(?!a)", "(?<=a)b", "(?i)a", "(?#x)"]
REFUSED += [r"\p{L}", "[z-a]", "a{9,2}", "a{500}", r"\x4", "\\", "x" * 201, "(" * 21 + ")" * 21, "^*"]
REFUSED += ["((a{100}){100}){100}", "((((){400}){400}){400}){400}"]


@pytest.mark.parametrize("pattern", REFUSED)
def test_what_is_not_understood_or_too_large_is_refused(pattern):
    with pytest.raises(PatternError):
        compile_pattern(pattern)


@pytest.mark.parametrize(
    "pattern", [r"(a+)+$", r"(a|a)*b", r"(a|aa)+$", r"(.*a){12}b", r"(\w+\s?)*$!", r"([a-z]+)*\d", "(a?){90}a{90}", "(x+x+)+y"]
)
def test_no_expression_keeps_it_busy(pattern):
    text = "a" * 50_000 + "!"
    automaton = compile_pattern(pattern)
    assert len(automaton.program) <= MOST_STATES
    started = time.perf_counter()
    found = automaton.found(text)
    assert time.perf_counter() - started < 10.0
    assert found == compile_pattern(pattern).found(text[:LONGEST_TEXT])


def test_a_text_that_changes_all_the_time_is_linear_too():
    text = "".join(chr(0x100 + (i * 7919) % 20000) for i in range(LONGEST_TEXT))
    automaton = compile_pattern(r"(?:[^a]{1,3}[^b]?){20}zz")
    started = time.perf_counter()
    assert not automaton.found(text)
    assert time.perf_counter() - started < 15.0
