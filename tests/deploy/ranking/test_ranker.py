from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from tutelage.data.ranking import HashedVocabulary
from tutelage.deploy.ranking import Cascade, Ranker, Windows, compare, load, save
from tutelage.errors import CheckpointError, DataError, OptionError
from tutelage.models.ranking import ConvKernels, CrossEncoder, TopScores
from tutelage.models.ranking.pretrained import PretrainedTokens, TransformersCrossEncoder
from tutelage.teachers import Frozen

WORDS = [f"w{n}" for n in range(200)]
CUT = Windows(query=5, document=100, core=10, overlap=2)


@pytest.fixture
def ranker() -> Ranker:
    torch.manual_seed(0)
    vocabulary = HashedVocabulary(WORDS, buckets=10)
    teacher = CrossEncoder(len(vocabulary), width=16, layers=1, heads=2, query_length=5, passage_length=14)
    nn.init.normal_(teacher.score.output.weight)
    cascade = Cascade(ConvKernels(teacher.table, projection=12, width=8), Frozen(teacher), TopScores(3))
    return Ranker(cascade, vocabulary, k=2, cut=CUT)


def _documents() -> list[str]:
    return [" ".join(WORDS[n * 7 : n * 7 + length]) for n, length in enumerate((60, 45, 8, 30))]


def test_documents_are_ranked_and_what_was_read_is_told(ranker):
    ranking = ranker.rank("w1 w2 w9", _documents())
    assert sorted(ranking.order) == [0, 1, 2, 3]
    assert [ranking.scores[place] for place in ranking.order] == sorted(ranking.scores, reverse=True)
    assert ranking.passages == [6, 5, 1, 3]
    assert [len(places) for places in ranking.picked] == [2, 2, 1, 2]
    assert ranking.teacher_calls == 7
    assert ranking.truncated == []
    assert ranking.milliseconds > 0
    assert str(ranking).startswith("4 documents in ")


def test_documents_of_equal_text_keep_their_order(ranker):
    assert ranker.rank("w1", ["w3 w4", "w3 w4", "w3 w4"]).order == [0, 1, 2]


def test_a_document_scores_the_same_in_any_company(ranker):
    documents = _documents()
    together = ranker.rank("w1 w2", documents).scores
    alone = [ranker.rank("w1 w2", [text]).scores[0] for text in documents]
    assert together == pytest.approx(alone, abs=1e-4)


def test_k_changes_without_training_and_is_all_passages_where_it_is_large(ranker):
    whole = ranker.answer(ranker.question("w1 w2", _documents()), None).scores.tolist()
    assert ranker.rank("w1 w2", _documents(), k=6).scores == whole
    assert ranker.rank("w1 w2", _documents(), k=1).teacher_calls == 4


def test_long_texts_are_cut_and_named(ranker):
    ranking = ranker.rank("w1 w2 w3 w4 w5 w6", ["w7", " ".join(WORDS[:150])])
    assert ranking.truncated == [1]
    assert ranking.query_truncated
    assert ranking.passages == [1, 10]
    assert "1 documents were cut" in str(ranking)
    cut = ranker.rank("w1 w2 w3 w4 w5", ["w7", " ".join(WORDS[:100])])
    assert cut.scores == pytest.approx(ranking.scores, abs=1e-5)
    assert not cut.query_truncated


@pytest.mark.parametrize(
    ("query", "documents", "message"),
    [
        (" ?! ", ["w1"], "query .* has no word"),
        ("w1", ["w1", "", "..."], "2 of 3 documents have no word, the first at position 1: leave them out"),
        ("w1", [], "at least one text"),
        ("w1", "w1 w2", "at least one text"),
    ],
)
def test_texts_without_words_are_refused(ranker, query, documents, message):
    with pytest.raises(DataError, match=message):
        ranker.rank(query, documents)


def test_k_below_one_is_refused(ranker):
    with pytest.raises(OptionError, match="k is 0"):
        ranker.rank("w1", ["w1"], k=0)
    with pytest.raises(OptionError, match="k is -1"):
        Ranker(ranker.cascade, ranker.tokens, k=-1)
    with pytest.raises(OptionError, match="cannot be cut"):
        Windows(core=0)


def test_a_ranker_is_saved_and_answers_the_same_again(ranker, tmp_path):
    expected = ranker.rank("w1 unknown w9", _documents())
    save(ranker, tmp_path / "ranker")
    again = load(tmp_path / "ranker")
    found = again.rank("w1 unknown w9", _documents())
    assert found.scores == expected.scores
    assert found.picked == expected.picked
    assert (again.k, again.cut) == (2, CUT)
    assert again.cascade.student.table is again.cascade.teacher.table
    assert {path.name for path in (tmp_path / "ranker").iterdir()} == {"ranker.json", "tokens", "weights.safetensors"}
    save(ranker, tmp_path / "ranker")


def test_a_damaged_folder_is_refused(ranker, tmp_path):
    with pytest.raises(CheckpointError, match="no whole ranker"):
        load(tmp_path / "absent")
    folder = tmp_path / "ranker"
    save(ranker, folder)
    about = json.loads((folder / "ranker.json").read_text())
    weights = (folder / "weights.safetensors").read_bytes()
    (folder / "weights.safetensors").write_bytes(weights[:-4])
    with pytest.raises(CheckpointError, match="truncated or altered"):
        load(folder)
    (folder / "weights.safetensors").write_bytes(weights)
    for change in ({"format": 9}, {"student": {"width": 3}}, {"teacher": None}, {"windows": {"core": 0}}):
        (folder / "ranker.json").write_text(json.dumps(about | change))
        with pytest.raises((CheckpointError, OptionError)):
            load(folder)
    (folder / "ranker.json").write_text("{")
    with pytest.raises(CheckpointError, match="no whole ranker"):
        load(folder)


def test_only_what_can_be_built_again_is_saved(ranker, tmp_path):
    ranker.cascade.teacher = nn.Identity()
    with pytest.raises(OptionError, match="Identity and ConvKernels cannot be saved"):
        save(ranker, tmp_path / "ranker")
    other = CrossEncoder(212, width=16, layers=1, heads=2)
    ranker.cascade.teacher = other
    with pytest.raises(OptionError, match="not its teacher's"):
        save(ranker, tmp_path / "ranker")
    assert not (tmp_path / "ranker").exists()


def test_a_pretrained_teacher_is_saved_with_its_tokenizer(tmp_path):
    transformers = pytest.importorskip("transformers")
    vocabulary = {word: n for n, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS])}
    tokens = PretrainedTokens(transformers.DistilBertTokenizerFast(vocab=vocabulary))
    torch.manual_seed(0)
    config = transformers.DistilBertConfig(
        vocab_size=len(vocabulary), dim=16, n_layers=1, n_heads=2, hidden_dim=32, max_position_embeddings=40
    )
    teacher = TransformersCrossEncoder(transformers.DistilBertModel(config), tokens).eval()
    ranker = Ranker(Cascade(ConvKernels(teacher.table), teacher, TopScores(1)), tokens, cut=CUT)
    expected = ranker.rank("w1 w2", _documents())
    save(ranker, tmp_path / "ranker")
    found = load(tmp_path / "ranker").rank("w1 w2", _documents())
    assert found.scores == pytest.approx(expected.scores, abs=1e-6)
    assert found.picked == expected.picked


def test_the_cascade_is_compared_with_its_teacher_on_all_passages(ranker):
    documents = [_documents(), _documents()[:3]]
    found = compare(ranker, ["w1 w2 w9", "w30"], documents, [[1, 0, 0, 0], [0, 1, 0]], rounds=1)
    assert found.k == 2
    assert found.teacher_calls == pytest.approx((7 / 4 + 5 / 3) / 2)
    assert found.all_teacher_calls == pytest.approx((15 / 4 + 12 / 3) / 2)
    assert found.speed_up == pytest.approx(found.all_milliseconds / found.milliseconds)
    assert 0 < found.found <= 1
    assert found.same_first == 1.0  # fewer than 10 documents
    assert set(found.quality) == set(found.all_quality) == {"ndcg", "mrr", "map"}
    assert "times as long" in str(found)
    whole = compare(ranker, ["w1 w2 w9"], documents[:1], k=6, rounds=1)
    assert whole.found == 1.0
    assert whole.quality is None
    assert whole.teacher_calls == whole.all_teacher_calls


def test_lists_that_do_not_fit_are_refused(ranker):
    with pytest.raises(DataError, match="one list for each query"):
        compare(ranker, ["w1"], [])
    with pytest.raises(DataError, match="one number for each document"):
        compare(ranker, ["w1"], [["w1", "w2"]], [[1]])
