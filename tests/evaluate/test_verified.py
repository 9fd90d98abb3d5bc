from __future__ import annotations

import pytest

from tutelage.data import Arrays
from tutelage.data.verifiable import FinalAnswer
from tutelage.errors import OptionError
from tutelage.evaluate.verified import answer, verified
from tutelage.models import language

TOKENIZER = language.character_tokenizer("0123456789=#", context=32)
MODEL = language.tiny_decoder(len(TOKENIZER), width=16, layers=1, heads=2, context=32, seed=0)
QUESTIONS = Arrays({"input": ["1=", "22="], "answer": ["1", "22"]}, name="numbers")


def test_rewards_lengths_and_unreadable_answers_are_those_of_the_texts():
    reward = FinalAnswer("#", "integer")
    rows = [{"prompt": "1=", "answer": "1"}] * 100
    found = answer(MODEL, TOKENIZER, rows, reward, max_new_tokens=12, seed=1)
    texts, ended = found.rollouts.texts(TOKENIZER), found.rollouts.ended.tolist()
    told = [{**row, "finished": e} for row, e in zip(rows, ended, strict=True)]
    assert 0 < sum(ended) < 100
    assert found.rewards == [reward(text, row) for text, row in zip(texts, told, strict=True)]
    assert found.unreadable == sum(reward.read(text, row) is None for text, row in zip(texts, told, strict=True))


def test_what_is_measured_is_the_mean_over_questions_and_samples():
    def reward(response, row) -> float:
        return float(row["answer"] == "22")

    found = verified(MODEL, TOKENIZER, QUESTIONS, reward, max_new_tokens=4, samples=3)
    assert found["accuracy"] == 50
    assert set(found) == {"accuracy", "length", "cut"}  # a plain function does not tell what it could not read
    assert 1 <= found["length"] <= 4
    again = verified(MODEL, TOKENIZER, QUESTIONS, reward, max_new_tokens=4, samples=3)
    assert again == found


def test_cutting_the_work_into_batches_changes_nothing():
    reward = FinalAnswer("#", "integer")
    one, many = (verified(MODEL, TOKENIZER, QUESTIONS, reward, max_new_tokens=6, samples=8, batch=b) for b in (3, 100))
    assert one == pytest.approx(many)


def test_no_samples_are_refused():
    with pytest.raises(OptionError, match="samples is 0"):
        verified(MODEL, TOKENIZER, QUESTIONS, FinalAnswer(), max_new_tokens=4, samples=0)
