import pytest
import torch

from tutelage.data import Arrays
from tutelage.data.words import HashedWords, Vocabulary, token_ids, tokenised, words
from tutelage.errors import DataError, OptionError

TEXTS = ["The ship, the SEA!", "the sea is calm", "a plane"]


def test_words_are_lower_case_runs_of_letters_and_digits():
    assert words("The ship's 2 ENGINES -- naïve_one.") == ["the", "ship", "s", "2", "engines", "naïve_one"]


def test_the_vocabulary_keeps_the_most_frequent_words_in_a_fixed_order():
    known = Vocabulary.of(TEXTS, 5)
    assert known.known == ("the", "sea", "a")
    assert len(known) == 5
    assert known.encode(["the calm SEA", ""], 4).tolist() == [[2, 1, 3, 0], [0, 0, 0, 0]]
    assert known.encode(["the the the the"], 2).tolist() == [[2, 2]]
    assert Vocabulary.of(TEXTS, 100, least=2).known == ("the", "sea")
    assert Vocabulary.of(reversed(TEXTS), 5).known == known.known
    with pytest.raises(OptionError, match="at least 3"):
        Vocabulary.of(TEXTS, 2)
    with pytest.raises(OptionError, match="twice"):
        Vocabulary(["a", "a"])
    with pytest.raises(DataError, match="no word"):
        Vocabulary.of(["!!"])


def test_hashed_words_need_no_fitting_and_stay_in_their_range():
    hashed = HashedWords(8)
    ids = hashed.encode(TEXTS, 6)
    assert ids.dtype == torch.int64
    assert ids.shape == (3, 6)
    assert int(ids.max()) < 8
    assert ids[0, 0] == ids[0, 2] == ids[1, 0]
    assert (ids > 0).sum(1).tolist() == [4, 4, 2]
    assert torch.equal(ids, HashedWords(8).encode(TEXTS, 6))
    with pytest.raises(OptionError):
        HashedWords(1)


def test_samples_are_tokenised_once():
    arrays = Arrays({"input": TEXTS, "label": torch.tensor([0, 0, 1])}, ("sea", "air"))
    made = tokenised(arrays, Vocabulary.of(TEXTS), 3)
    assert made.column("input").shape == (3, 3)
    assert torch.equal(made.labels, arrays.labels)
    assert made.gather([2])["input"].tolist() == made.column("input")[2:].tolist()
    with pytest.raises(DataError, match="no texts"):
        tokenised(made, HashedWords(), 3)
    with pytest.raises(OptionError, match="length"):
        token_ids(TEXTS, HashedWords(), 0)


def test_a_tokenizer_of_transformers_gives_ids_with_its_own_padding():
    tokenizers = pytest.importorskip("tokenizers")
    transformers = pytest.importorskip("transformers")
    known = {"[PAD]": 0, "[UNK]": 1, "the": 2, "sea": 3}
    raw = tokenizers.Tokenizer(tokenizers.models.WordLevel(known, unk_token="[UNK]"))
    raw.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="[PAD]", unk_token="[UNK]")
    assert token_ids(["the sea", "the big blue sea"], fast, 3).tolist() == [[2, 3, 0], [2, 1, 1]]
