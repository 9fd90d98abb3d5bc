from __future__ import annotations

import fcntl
import io
import json
import os

import pytest
import torch
from rich.console import Console

from tutelage import store
from tutelage.data import Arrays
from tutelage.errors import BudgetError, ChatError, DataError, OptionError, ShapeError, StoreError
from tutelage.models.chat.protocol import Reply, TokenLogProb

QUIET = Console(file=io.StringIO())


class Chat:
    """Answers each prompt once; `trouble` may change what it returns."""

    def __init__(self, trouble=None, name="chat"):
        self.asked: list[str] = []
        self.trouble = trouble
        self.fingerprint = name

    def complete(self, prompts):
        self.asked += prompts
        replies = [
            Reply(p.upper() + "\nsecond line \u2028 \ud83d", (TokenLogProb("a", -0.5, (("a", -0.5), ("b", -1.0))),), "stop")
            for p in prompts
        ]
        return self.trouble(prompts, replies) if self.trouble else replies


PROMPTS = Arrays({"input": [f"prompt {n}" for n in range(20)], "index": torch.arange(20) * 3})


def label(out, teacher, source=PROMPTS, **options):
    return store.label(teacher, source, out, keep="text", **({"shard_rows": 8, "batch_size": 3, "console": QUIET} | options))


def test_every_reply_comes_back_by_its_row(tmp_path):
    chat = Chat()
    kept = label(tmp_path / "s", chat)
    assert sorted(chat.asked) == sorted(PROMPTS.column("input"))
    index = torch.tensor([57, 0, 27, 0])
    found = kept.texts("train", index)
    assert [Reply.from_json(f).text for f in found] == [f"PROMPT {i // 3}\nsecond line \u2028 \ud83d" for i in index.tolist()]
    assert Reply.from_json(found[0]) == chat.complete(["prompt 19"])[0]
    assert kept.read("train", index) == found
    with pytest.raises(OptionError, match="keeps texts"):
        kept.gather("train", index)
    assert store.verify(tmp_path / "s") == []
    assert not list((tmp_path / "s").rglob("*.journal"))


def test_replies_of_a_batch_that_failed_are_kept_and_not_asked_for_again(tmp_path):
    def broken(prompts, replies):
        if "prompt 10" in prompts:
            raise BudgetError("Money is out.", replies=[replies[0], None, replies[2]], failures={1: "too dear"})
        return replies

    with pytest.raises(BudgetError, match=r"Money is out.* \(train row 8 to train row 10; 2 of 3 replies arrived and are kept") as error:
        label(tmp_path / "s", Chat(broken))
    assert error.value.failures == {1: "too dear"}
    kept = store.Store.open(tmp_path / "s")
    assert kept.texts("train", torch.tensor([0]))[0]["text"].startswith("PROMPT 0")
    with pytest.raises(StoreError, match="not labelled yet"):
        kept.texts("train", torch.tensor([24]))
    again = Chat()
    label(tmp_path / "s", again, resume=True)
    assert again.asked == ["prompt 9", *(f"prompt {n}" for n in range(11, 20))]
    label(tmp_path / "t", Chat())
    for name in ("00000.jsonl", "00001.jsonl", "00002.jsonl"):
        assert (tmp_path / "s/train/view-0" / name).read_bytes() == (tmp_path / "t/train/view-0" / name).read_bytes()


@pytest.mark.parametrize("tail", [b"[3, {", b'[3, {"text": "half"}', b"\xff\xfe\n", b'{"text": "no row"}\n', b'[99, {"text": "x"}]\n'])
def test_a_line_that_a_kill_left_half_written_is_cut_off(tmp_path, tail):
    def stop(prompts, replies):
        if "prompt 3" in prompts:
            raise KeyboardInterrupt
        return replies

    with pytest.raises(KeyboardInterrupt, match=r"0 of 3 shards"):
        label(tmp_path / "s", Chat(stop))
    journal = tmp_path / "s/train/view-0/00000.journal"
    journal.write_bytes(journal.read_bytes() + tail)
    again = Chat()
    label(tmp_path / "s", again, resume=True)
    assert again.asked == [f"prompt {n}" for n in range(3, 20)]
    label(tmp_path / "t", Chat())
    assert (tmp_path / "s/train/view-0/00000.jsonl").read_bytes() == (tmp_path / "t/train/view-0/00000.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("trouble", "error", "message"),
    [
        (lambda p, r: r[:-1], ShapeError, "2 replies to 3 prompts"),
        (lambda p, r: [*r[:-1], "bare text"], ChatError, "reply to train row 2 cannot be kept"),
        (lambda p, r: [*r[:-1], {"text": None}], ChatError, "reply to train row 2 cannot be kept"),
        (lambda p, r: [*r[:-1], {"text": "x", "extra": {1, 2}}], ChatError, "reply to train row 2 cannot be kept"),
    ],
)
def test_malformed_replies_are_named_and_the_good_ones_kept(tmp_path, trouble, error, message):
    with pytest.raises(error, match=message):
        label(tmp_path / "s", Chat(trouble))
    again = Chat()
    label(tmp_path / "s", again, resume=True)
    assert again.asked[0] == ("prompt 0" if error is ShapeError else "prompt 2")


def test_another_model_is_refused(tmp_path):
    label(tmp_path / "s", Chat())
    with pytest.raises(StoreError, match="teacher: Chat"):
        label(tmp_path / "s", Chat(name="other"), resume=True)


def test_two_processes_do_not_ask_for_the_same(tmp_path):
    label(tmp_path / "s", Chat())
    (tmp_path / "s/train/view-0/00000.jsonl").unlink()
    handle = os.open(tmp_path / "s/train/view-0/00000.journal", os.O_RDWR | os.O_CREAT)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        with pytest.raises(StoreError, match=r"Another process is labelling train/view-0/00000\.jsonl"):
            label(tmp_path / "s", Chat(), resume=True)
    finally:
        os.close(handle)


def test_unfit_data_and_teachers_are_refused_before_anything_is_paid(tmp_path):
    chat = Chat()
    with pytest.raises(DataError, match="must be texts"):
        label(tmp_path / "s", chat, Arrays({"input": torch.rand(4, 2)}))
    with pytest.raises(OptionError, match="views are of images"):
        label(tmp_path / "s", chat, view="crop", views=2)
    with pytest.raises(OptionError, match=r"complete\(prompts\)"):
        label(tmp_path / "s", torch.nn.Linear(2, 2))
    with pytest.raises(OptionError, match=r"must be a torch\.nn\.Module; it is a Chat"):
        store.label(chat, PROMPTS, tmp_path / "s", console=QUIET)
    assert chat.asked == []
    assert not (tmp_path / "s").exists()


def test_damaged_texts_are_named(tmp_path):
    label(tmp_path / "s", Chat())
    file = tmp_path / "s/train/view-0/00001.jsonl"
    content = file.read_bytes()
    file.write_bytes(content[:-10])
    with pytest.raises(StoreError, match=r"00001\.jsonl is corrupt: it has"):
        store.Store.open(tmp_path / "s").texts("train", torch.tensor([24]))
    seal = json.loads(file.with_suffix(".json").read_text())
    for damage, words in ((content.replace(b"\n", b" ", 1), "7 lines, 8 belong"), (content.replace(b"{", b"[", 1), "line 1 is no JSON")):
        file.write_bytes(damage)
        file.with_suffix(".json").write_text(json.dumps(seal | {"bytes": len(damage)}))
        with pytest.raises(StoreError, match=words):
            store.Store.open(tmp_path / "s").texts("train", torch.tensor([24]))
    assert store.Store.open(tmp_path / "s").texts("train", torch.tensor([0]))[0]["text"].startswith("PROMPT 0")
