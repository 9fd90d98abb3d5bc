from __future__ import annotations

import json
import math

import numpy as np
import pytest

from tutelage.data.ranking import BM25, HashedVocabulary, pad
from tutelage.errors import CheckpointError, DataError, OptionError


def test_frequent_words_come_first_and_rare_ones_share_buckets():
    vocabulary = HashedVocabulary.of(["b a a", "c b a"], size=2, buckets=3)
    assert vocabulary.known == ("a", "b")
    assert len(vocabulary) == 6
    known, rare = vocabulary.encode(["A b", "zebra zebra quagga"])
    assert known == [1, 2]
    assert rare[0] == rare[1]
    assert all(3 <= number <= 5 for number in rare)


def test_a_vocabulary_is_saved_and_read_back(tmp_path):
    vocabulary = HashedVocabulary.of(["größe zählt", "a b"], buckets=5)
    vocabulary.save(tmp_path)
    again = HashedVocabulary.load(tmp_path)
    assert again.known == vocabulary.known
    assert again.encode(["größe x y"]) == vocabulary.encode(["größe x y"])
    (tmp_path / "vocabulary.json").write_text(json.dumps({"words": ["a", "a"], "buckets": 1}))
    with pytest.raises(CheckpointError, match="missing or damaged"):
        HashedVocabulary.load(tmp_path)
    with pytest.raises(CheckpointError, match="missing or damaged"):
        HashedVocabulary.load(tmp_path / "absent")


def test_padding_and_cutting():
    assert pad([[1, 2, 3], [4], []], 2).tolist() == [[1, 2], [4, 0], [0, 0]]
    assert pad([[1, 2, 3]]).tolist() == [[1, 2, 3]]
    assert pad([]).shape == (0, 1)


def test_bm25_by_hand():
    found = BM25(["a a b", "b c", "c c c d"], k1=1.2, b=0.75).scores("A b x a")
    average = 3.0

    def part(times: int, length: int, holding: int) -> float:
        idf = math.log(1 + (3 - holding + 0.5) / (holding + 0.5))
        return idf * times * 2.2 / (times + 1.2 * (0.25 + 0.75 * length / average))

    expected = [2 * part(2, 3, 1) + part(1, 3, 2), part(1, 2, 2), 0.0]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_top_documents_without_some():
    index = BM25(["red fox", "red", "blue", "red fox fox"])
    assert index.top("fox", 2) == [3, 0]
    assert index.top("fox", 2, without=[3]) == [0, 1]
    assert index.top("nothing", 10) == [0, 1, 2, 3]


def test_refuses_what_does_not_fit():
    with pytest.raises(DataError, match="no document"):
        BM25([])
    with pytest.raises(OptionError, match="k1"):
        BM25(["a"], b=2)
    with pytest.raises(OptionError, match="bucket"):
        HashedVocabulary(["a"], buckets=0)
