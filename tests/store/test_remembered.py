import pytest

from tutelage.errors import ChatError, StoreError
from tutelage.models.chat import Reply, Sampling
from tutelage.store.memory import Memory
from tutelage.store.remembered import KIND, Remembered


class Fragile:
    """Answers in capitals until it has answered so many; then the rest of the call fails."""

    def __init__(self, good=10**9):
        self.good, self.asked = good, []

    def complete(self, conversations, *, sampling=None):
        replies = []
        for place, text in enumerate(conversations):
            content = text[0].content
            if self.good == 0:
                missing = [None] * (len(conversations) - place)
                raise ChatError("down", replies=[*replies, *missing], failures={place: "down"})
            self.good -= 1
            self.asked.append(content)
            replies.append(Reply(content.upper(), prompt_tokens=1, completion_tokens=1, cost=0.5))
        return replies


def test_a_question_is_asked_once_also_by_another_process(tmp_path):
    chat = Fragile()
    first = Remembered(chat, Memory(tmp_path / "m.sqlite"), name="student")
    said = first.complete(["a", "b", "a"])
    assert [reply.text for reply in said] == ["A", "B", "A"]
    assert [reply.cached for reply in said] == [False, False, False]
    again = Remembered(Fragile(0), Memory(tmp_path / "m.sqlite"), name="student").complete(["b", "a"])
    assert [reply.text for reply in again] == ["B", "A"]
    assert all(reply.cached for reply in again)
    assert chat.asked == ["a", "b"]


def test_names_and_sampling_tell_questions_apart(tmp_path):
    memory, chat = Memory(tmp_path / "m.sqlite"), Fragile()
    Remembered(chat, memory, name="student").complete(["a"])
    Remembered(chat, memory, name="teacher").complete(["a"])
    Remembered(chat, memory, name="student").complete(["a"], sampling=Sampling(seed=1))
    assert chat.asked == ["a", "a", "a"]


def test_what_was_answered_before_a_failure_is_kept(tmp_path):
    memory, chat = Memory(tmp_path / "m.sqlite"), Fragile(2)
    wrapped = Remembered(chat, memory, name="student")
    wrapped.complete(["known"])
    with pytest.raises(ChatError, match="down") as caught:
        wrapped.complete(["known", "b", "c", "c"])
    assert [reply and reply.text for reply in caught.value.replies] == ["KNOWN", "B", None, None]
    assert caught.value.failures == {2: "down", 3: "down"}
    chat.good = 1
    assert [reply.text for reply in wrapped.complete(["known", "b", "c", "c"])] == ["KNOWN", "B", "C", "C"]
    assert chat.asked == ["known", "b", "c"]


def test_texts_are_data_and_damage_is_named(tmp_path):
    memory = Memory(tmp_path / "m.sqlite")
    wrapped = Remembered(Fragile(), memory, name="'; DROP TABLE records; --")
    nasty = "'); DROP TABLE records; --\0\udce9"
    assert wrapped.complete([nasty])[0].text == nasty.upper()
    assert wrapped.complete([nasty])[0].cached
    (key,) = memory.items(KIND)
    memory.put(KIND, key, {"text": 3})
    with pytest.raises(StoreError, match="cannot be read"):
        wrapped.complete([nasty])
