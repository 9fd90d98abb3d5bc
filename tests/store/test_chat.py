from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from tutelage import store
from tutelage.data import Arrays, DataSet
from tutelage.errors import BudgetError, ChatError, DataError, OptionError, ShapeError, StoreError
from tutelage.models.chat import OpenAIChat, Prices, Sampling, Scripted
from tutelage.store.chat import Instructed, label_texts, prompts, pseudo_labelled, pseudo_labels
from tutelage.store.prompting import fill, match

QUIET = Console(quiet=True)
PROGRAM = Path(__file__).parents[1] / "programs" / "chat_server.py"


def texts(count=10, name="mail"):
    kinds = [("lovely offer" if i % 2 else "see you at noon") + f" {i}" for i in range(count)]
    return Arrays({"input": kinds, "label": torch.arange(count) % 2, "note": [f"n{i}" for i in range(count)]}, ("ham", "spam"), name)


def mails(count=10):
    return DataSet("mail", texts(count), texts(4), texts(3))


def judge(said):
    """A teacher that knows spam, and is unsure about number 3."""
    text = said[-1].content
    return "No idea." if text.endswith(" 3") else f"I think:\n**{'Spam' if 'offer' in text else 'HAM'}**."


def test_replies_are_kept_and_become_labels(tmp_path):
    data = mails()
    kept = label_texts(Scripted(judge), data, tmp_path / "s", choices=["spam", "ham"], batch_size=4, shard_rows=4, console=QUIET)
    assert kept.complete
    (entry,) = kept.texts("train", torch.tensor([1]))
    assert (entry["text"], entry["choice"], entry["model"]) == ("I think:\n**Spam**.", "spam", "scripted")
    assert pseudo_labels(kept, data.train).tolist() == [0, 1, 0, -1, 0, 1, 0, 1, 0, 1]
    assert pseudo_labels(kept, data.validation, "validation").tolist() == [0, 1, 0, -1]
    taught = pseudo_labelled(data, kept)
    assert taught.train.index.tolist() == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert taught.train.labels.tolist() == [0, 1, 0, 0, 1, 0, 1, 0, 1]
    assert taught.skipped_names == ("training row 3: the reply names no class",)
    assert taught.validation is data.validation
    with pytest.raises(StoreError):
        pseudo_labelled(mails(12), kept)


def test_templates_and_system_prompts_reach_the_model_and_the_store_knows_its_data(tmp_path):
    asked = []
    chat = Scripted(lambda said: asked.append([(m.role, m.content) for m in said]) or "fine")
    data = mails(3)
    template = "{{{note}}} {input} is {label}: why?"
    kept = label_texts(chat, data, tmp_path / "s", system="Be brief.", template=template, parts=["train"], console=QUIET)
    assert asked[1] == [("system", "Be brief."), ("user", "{n1} lovely offer 1 is spam: why?")]
    kept.check(data)
    Instructed(chat, system="Be brief.").complete([[{"role": "system", "content": "Mine."}, {"role": "user", "content": "hi"}]])
    assert asked[-1] == [("system", "Mine."), ("user", "hi")]
    with pytest.raises(StoreError):
        label_texts(chat, data, tmp_path / "s", system="Be long.", template=template, parts=["train"], resume=True, console=QUIET)


def test_a_failure_keeps_the_others_and_resume_asks_the_rest(tmp_path):
    found = importlib.util.spec_from_file_location("chat_server", PROGRAM)
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    pytest.importorskip("openai")
    refusal = (400, {"error": {"message": "too long"}}, {})
    with module.ChatServer(lambda prompt: "spam or not", faults={"see you at noon 4": [refusal]}) as server:
        options = {"base_url": server.url, "cache": None, "prices": Prices(1, 1), "sampling": Sampling(max_tokens=4)}
        with pytest.raises(ChatError, match=r"Conversation 4: HTTP 400: too long"):
            label_texts(OpenAIChat("m", **options), mails(), tmp_path / "s", choices=["spam", "ham"], console=QUIET)
        with pytest.raises(BudgetError):
            label_texts(
                OpenAIChat("m", budget=1e-9, **options), mails(), tmp_path / "s", choices=["spam", "ham"], resume=True, console=QUIET
            )
        kept = label_texts(OpenAIChat("m", **options), mails(), tmp_path / "s", choices=["spam", "ham"], resume=True, console=QUIET)
        assert kept.complete
        assert server.asked["see you at noon 4"] == 2
        assert server.asked["lovely offer 5"] == 1
        assert kept.texts("train", torch.tensor([5]))[0]["cost"] == pytest.approx(6e-6)
        assert store.verify(tmp_path / "s") == []


@pytest.mark.parametrize(
    ("reply", "choices", "chosen"),
    [
        ("spam", ["ham", "spam"], "spam"),
        ("  Spam!  ", ["ham", "spam"], "spam"),
        ("Answer: **ham**", ["ham", "spam"], "ham"),
        ("It could be ham or spam.\nAnswer: spam", ["ham", "spam"], "spam"),
        ("spam\n\nI am sure.", ["ham", "spam"], "spam"),
        ("ham or spam", ["ham", "spam"], None),
        ("spam, yes, spam", ["ham", "spam"], "spam"),
        ("hamster", ["ham", "spam"], None),
        ("not spam", ["spam", "not spam"], "not spam"),
        ("not_spam", ["spam", "not spam"], "not spam"),
        ("it is not spam but spam", ["spam", "not spam"], None),
        ("New-York", ["new york", "york"], "new york"),
        ("c++", ["c", "c++"], "c++"),
        ("C.", ["c", "c++"], "c"),
        ("", ["a", "b"], None),
        ("größe", ["Größe", "x"], "Größe"),
        ("a.b", ["axb", "a.b"], "a.b"),
        ("3", ["3", "13"], "3"),
        ("13", ["3", "13"], "13"),
    ],
)
def test_the_rule_of_matching(reply, choices, chosen):
    found = match(reply, choices)
    assert (None if found is None else choices[found]) == chosen


@given(st.text(), st.lists(st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=4), min_size=2, max_size=4, unique=True))
def test_matching_takes_any_text_and_any_order(reply, choices):
    found = match(reply, choices)
    backwards = match(reply, choices[::-1])
    names = {c.casefold() for c in choices}
    if len(names) == len(choices):
        assert (None if found is None else choices[found]) == (None if backwards is None else choices[::-1][backwards])


@given(st.text(), st.text())
def test_values_are_only_text(value, other):
    assert fill("<{input}|{label}|{{}}>", {"input": value, "label": other}) == f"<{value}|{other}|{{}}>"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{input.__class__}", "expected a plain name"),
        ("{input[0]}", "expected a plain name"),
        ("{input!r}", "expected a plain name"),
        ("{input:>9}", "expected a plain name"),
        ("{}", "expected a plain name"),
        ("{0}", "expected a plain name"),
        ("{input", "does not read"),
        ("{inptu}", "no column of the data.* Did you mean 'input'"),
    ],
)
def test_templates_are_never_evaluated(template, message):
    with pytest.raises(OptionError, match=message):
        fill(template, {"input": "x"})


def test_what_cannot_be_asked_is_refused(tmp_path):
    chat = Scripted(lambda said: "a")
    with pytest.raises(DataError, match="'pictures' are no texts"):
        label_texts(chat, Arrays({"input": torch.zeros(2, 3)}, name="pictures"), tmp_path / "s", console=QUIET)
    with pytest.raises(DataError, match="no column 'lable'"):
        label_texts(chat, mails(), tmp_path / "s", template="{lable}", console=QUIET)
    for choices in (["a"], ["a", "A"], ["a", ""], ["a b", "a-b"]):
        with pytest.raises(OptionError, match="two or more different names"):
            Instructed(chat, choices=choices)
    with pytest.raises(OptionError, match="data hold conversations"):
        Instructed(chat, template="{input}").complete([[{"role": "user", "content": "x"}]])
    kept = label_texts(chat, mails(), tmp_path / "t", console=QUIET)
    with pytest.raises(OptionError, match="made without choices"):
        pseudo_labels(kept, mails().train)
    kept = label_texts(chat, mails(), tmp_path / "u", choices=["a", "b"], console=QUIET)
    with pytest.raises(ShapeError, match="names the class 'a', which 'mail' does not have"):
        pseudo_labels(kept, mails().train)
    kept = label_texts(chat, mails(), tmp_path / "v", choices=["ham", "spam"], console=QUIET)
    with pytest.raises(DataError, match="None of the 10 replies"):
        pseudo_labelled(mails(), kept)


def test_prompts_are_read_from_files(tmp_path):
    lines = [{"prompt": "one", "id": 1}, {"prompt": "two\nlines", "id": 2, "more": 3}]
    (tmp_path / "p.jsonl").write_text("\n\n".join(map(json.dumps, lines)))
    read = prompts(tmp_path / "p.jsonl")
    assert (read.name, read.column("input"), read.column("id"), sorted(read.columns)) == (
        "p",
        ["one", "two\nlines"],
        [1, 2],
        ["id", "input"],
    )
    (tmp_path / "p.csv").write_text('id,prompt\n1,one\n2,"two\nlines"\n')
    assert prompts(tmp_path / "p.csv").column("input") == ["one", "two\nlines"]
    said = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    (tmp_path / "m.jsonl").write_text(json.dumps({"messages": said}) + "\n")
    read = prompts(tmp_path / "m.jsonl")
    kept = label_texts(Scripted(lambda said: "-".join(m.content for m in said)), read, tmp_path / "s", console=QUIET)
    assert kept.texts("train", torch.tensor([0]))[0]["text"] == "s-u"
    kept.check(read)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.jsonl", None, "expected an existing .jsonl or .csv"),
        ("p.txt", "x", "expected an existing .jsonl or .csv"),
        ("p.jsonl", "", "no rows"),
        ("p.jsonl", '{"prompt": "a"}\n{"prompt": ', "at line 2"),
        ("p.jsonl", '{"prompt": "a"}\n3', "Line 2 .* is a int"),
        ("p.jsonl", '{"prompt": "a"}\n\n{"prompt": " "}', "Line 3 .* no usable 'prompt'"),
        ("p.jsonl", '{"prompt": "a"}\n{"x": 1}', "Line 2 .* no usable 'prompt'"),
        ("p.jsonl", '{"text": "a"}', "has the columns text: expected"),
        ("p.jsonl", '{"messages": [{"role": "usr", "content": "x"}]}', "Line 1 .*'usr'"),
        ("p.jsonl", '{"messages": []}', "Line 1 .* is empty"),
        ("p.csv", "prompt\n", "no rows"),
        ("p.csv", 'prompt,id\n"a,1', "cannot be read"),
    ],
)
def test_bad_files_of_prompts_are_named(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        prompts(tmp_path / name)
