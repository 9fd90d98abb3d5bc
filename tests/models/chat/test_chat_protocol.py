from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.errors import ChatError, DataError, OptionError
from tutelage.models.chat import Chat, Message, Reply, Sampling, Scripted, TokenLogProb, cache_key, printable
from tutelage.models.chat.protocol import all_messages

text = st.text(st.characters(), max_size=8)
turns = st.lists(st.builds(Message, st.sampled_from(["system", "user", "assistant"]), text), min_size=1, max_size=3).map(tuple)
samplings = st.builds(
    Sampling,
    temperature=st.none() | st.floats(0, 2),
    max_tokens=st.none() | st.integers(1, 9),
    top_p=st.none() | st.floats(0.1, 1),
    seed=st.none() | st.integers(0, 9),
    stop=st.lists(st.text(min_size=1, max_size=2), max_size=2).map(tuple),
    log_probs=st.none() | st.integers(0, 20),
)
questions = st.tuples(text, text, turns, samplings)
numbers = st.floats(-100, 0)
replies = st.builds(
    Reply,
    text=text,
    log_probs=st.none()
    | st.lists(st.builds(TokenLogProb, text, numbers, st.lists(st.tuples(text, numbers), max_size=2).map(tuple)), max_size=2).map(tuple),
    finish_reason=st.none() | text,
    prompt_tokens=st.none() | st.integers(0, 99),
    completion_tokens=st.none() | st.integers(0, 99),
    cost=st.none() | st.floats(0, 9),
    model=text,
)


@given(questions, questions)
def test_equal_questions_and_no_others_share_a_key(one, other):
    assert (cache_key(*one) == cache_key(*other)) == (one == other)
    copied = json.loads(json.dumps([[m.role, m.content] for m in one[2]]))
    assert cache_key(one[0], one[1], tuple(Message(*m) for m in copied), one[3]) == cache_key(*one)
    assert cache_key(*one, {"top_k": 5}) != cache_key(*one, {}) == cache_key(*one)


def test_moving_a_boundary_changes_the_key():
    def key(*said):
        return cache_key("m", "u", [Message("user", s) for s in said], Sampling())

    assert len({key("ab", "c"), key("a", "bc"), key("abc"), key("abc", "")}) == 4
    assert cache_key("m", "u", [], Sampling(temperature=0)) == cache_key("m", "u", [], Sampling(temperature=0.0))


@given(replies)
def test_a_reply_survives_json(reply):
    assert Reply.from_json(json.loads(json.dumps(reply.to_json()))) == reply
    assert Reply.from_json(reply.to_json(), cached=True).cached


@given(st.text(st.characters()))
def test_printable_text_cannot_steer_a_terminal(said):
    shown = printable(said)
    assert all(c in "\n\t" or c.isprintable() or c == "\u3000" or c.isspace() for c in shown)
    assert not set(shown) & set("\x1b\x07\x08\r\x7f\x9b\u202e\u2066\u200b\ud800")
    shown.encode()
    assert len(printable(said, 5)) <= 5


def test_printable_keeps_what_is_harmless():
    assert printable("Größe 10 µm\n\t“yes” 日本 🙂") == "Größe 10 µm\n\t“yes” 日本 🙂"
    assert printable("\x1b[2J\u202egnp.exe") == "\\x1b[2J\\u202egnp.exe"
    assert printable("abcdef", 4) == "abc…"
    assert printable("abcd", 4) == "abcd"


def test_a_program_is_a_chat_model():
    chat = Scripted(lambda said: f"{len(said)} {said[-1].content.upper()}")
    assert isinstance(chat, Chat)
    one, two = chat.complete(["hello there", [{"role": "system", "content": "be brief"}, Message("user", "hi")]])
    assert (one.text, two.text) == ("1 HELLO THERE", "2 HI")
    assert (one.prompt_tokens, one.completion_tokens, one.cost, one.model) == (2, 3, 0.0, "scripted")
    with pytest.raises(ChatError, match=r"Conversation 1: the program 'odd' returned a int") as caught:
        Scripted(lambda said: 3 if said[0].content == "b" else "fine", name="odd").complete(["a", "b", "c"])
    assert [r and r.text for r in caught.value.replies] == ["fine", None, None]


@pytest.mark.parametrize(
    ("conversations", "message"),
    [
        (["fine", " "], "Conversation 1 is an empty text"),
        ([[]], "Conversation 0 is empty"),
        ([3], "Conversation 0 is a int"),
        ([["loose"]], "Conversation 0 holds a str"),
        ([[{"role": "user"}]], "'role' and 'content'"),
        ([[{"role": "usr", "content": "x"}]], "Conversation 0: .*'usr'.*Did you mean 'user'"),
        ([[{"role": "user", "content": None}]], "Conversation 0: The content of a user message is a NoneType"),
    ],
)
def test_what_is_no_conversation_is_named(conversations, message):
    with pytest.raises((DataError, OptionError), match=message):
        all_messages(conversations)


def test_a_single_text_is_no_list_of_conversations():
    with pytest.raises(OptionError, match="one text"):
        all_messages("hello")


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": -1},
        {"temperature": float("nan")},
        {"max_tokens": 0},
        {"max_tokens": True},
        {"top_p": 0},
        {"top_p": 1.5},
        {"seed": -1},
        {"stop": ("",)},
        {"log_probs": 21},
    ],
)
def test_sampling_out_of_range_is_refused(options):
    with pytest.raises(OptionError, match=next(iter(options))):
        Sampling(**options)


def test_one_stop_text_needs_no_tuple():
    assert Sampling(stop="END").stop == ("END",)
