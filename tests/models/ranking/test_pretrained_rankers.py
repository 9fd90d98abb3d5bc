from __future__ import annotations

import pytest
import torch

from tutelage.errors import OptionError, SpecError
from tutelage.models.ranking import PretrainedTokens, TransformersCrossEncoder, cross_encoder

transformers = pytest.importorskip("transformers")
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *["the", "cat", "sat", "on", "a", "mat", "dog", "ran", "far", "away", "who"]]


def _folder(path, kind: str):
    (path / "vocab.txt").write_text("\n".join(WORDS))
    torch.manual_seed(0)
    if kind == "distilbert":
        transformers.DistilBertTokenizerFast(vocab={word: n for n, word in enumerate(WORDS)}).save_pretrained(path)
        config = transformers.DistilBertConfig(
            vocab_size=len(WORDS), dim=16, n_layers=1, n_heads=2, hidden_dim=32, max_position_embeddings=24
        )
        transformers.DistilBertModel(config).save_pretrained(path)
    else:
        transformers.BertTokenizerFast(vocab={word: n for n, word in enumerate(WORDS)}).save_pretrained(path)
        config = transformers.BertConfig(
            vocab_size=len(WORDS),
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=24,
        )
        transformers.BertModel(config).save_pretrained(path)
    return path


@pytest.fixture(params=["distilbert", "bert"])
def loaded(request, tmp_path) -> tuple[TransformersCrossEncoder, PretrainedTokens]:
    model, tokens = cross_encoder(_folder(tmp_path, request.param))
    return model.eval(), tokens


def test_tokens_come_without_special_ones(loaded):
    _, tokens = loaded
    assert tokens.encode(["The cat sat", "who", ""]) == [[5, 6, 7], [15], []]
    with pytest.raises(OptionError, match=r"Text 1 has the token '\[PAD\]' \(0\)"):
        tokens.encode(["the", "the [PAD]"])


def test_a_padded_pair_is_read_as_the_tokenizer_would_write_it(loaded):
    model, tokens = loaded
    query, passage = torch.tensor([[15, 6, 0, 0]]), torch.tensor([[0, 0, 5, 6, 7, 0]])
    given = tokens.tokenizer("who cat", "the cat sat", return_tensors="pt")
    with torch.no_grad():
        expected = model.score(model.encoder(**given).last_hidden_state[:, 0])[0, 0]
        torch.testing.assert_close(model.pairs(query, passage)[0], expected)
        # Beside a longer pair the padding is masked.
        both = model.pairs(torch.cat([query, torch.tensor([[15, 6, 7, 8]])]), torch.cat([passage, torch.tensor([[5, 6, 7, 8, 9, 10]])]))
    torch.testing.assert_close(both[0], expected, atol=1e-5, rtol=1e-4)


def test_the_encoder_trains_and_its_embeddings_are_shared(loaded):
    model, _ = loaded
    assert model.table is model.encoder.get_input_embeddings()
    model.pairs(torch.tensor([[15]]), torch.tensor([[5, 6]])).sum().backward()
    assert model.table.weight.grad.abs().sum() > 0


def test_more_tokens_than_the_encoder_reads_are_refused(loaded):
    model, _ = loaded
    with pytest.raises(OptionError, match="have 33 tokens; this encoder reads 24"):
        model.pairs(torch.full((1, 10), 5), torch.full((1, 20), 6))


def test_a_folder_without_an_encoder_is_refused(tmp_path):
    with pytest.raises(SpecError, match="no tokenizer"):
        cross_encoder(tmp_path)


def test_a_tokenizer_without_a_cls_token_is_refused(tmp_path):
    with pytest.raises(SpecError, match="no CLS"):
        PretrainedTokens(type("Plain", (), {"cls_token_id": None, "sep_token_id": 1})())
