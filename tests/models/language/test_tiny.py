"""Small decoders: their tokenizer, their files, and that they learn."""

from __future__ import annotations

import pytest
import torch

from tutelage.data import Batches
from tutelage.errors import DataError, OptionError, SpecError
from tutelage.models.language import answer_pairs, causal, character_tokenizer, encode, sample, save, tiny_decoder
from tutelage.train import NextToken, Trainer, TrainOptions

pytest.importorskip("transformers")
pytest.importorskip("tokenizers")


def test_tokenizer_gives_one_token_per_character():
    tokenizer = character_tokenizer(["12", "1+\n", " é"])
    assert len(tokenizer) == 3 + 6
    text = "1 + 2\né"
    tokens = encode(tokenizer, [text])[0]
    assert len(tokens) == len(text)
    assert tokenizer.decode(tokens) == text
    assert encode(tokenizer, [text], end=True)[0] == [*tokens, 1]
    assert tokenizer.decode([*tokens, 1, 0], skip_special_tokens=True) == text
    with pytest.raises(DataError, match="no token for '3'"):
        encode(tokenizer, ["1", "2+3"])
    with pytest.raises(OptionError, match="at least one character"):
        character_tokenizer("")


def test_decoder_is_a_function_of_its_seed_and_leaves_the_global_one():
    before = torch.get_rng_state()
    first, second, third = (tiny_decoder(11, width=16, heads=2, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.lm_head.weight, second.lm_head.weight)
    assert not torch.equal(first.lm_head.weight, third.lm_head.weight)
    with pytest.raises(OptionError, match="multiple of 8"):
        tiny_decoder(11, width=20)


def test_files(tmp_path):
    tokenizer, model = character_tokenizer("0123456789+=", context=32), tiny_decoder(15, width=16, heads=2, context=32)
    folder = save(model, tokenizer, tmp_path / "tiny")
    assert {file.name for file in folder.iterdir()} >= {"model.safetensors", "config.json", "tokenizer.json"}
    loaded = causal(f"hf:{folder}")
    assert not loaded.model.training
    assert encode(loaded.tokenizer, ["12+3="], end=True) == encode(tokenizer, ["12+3="], end=True)
    assert loaded.tokenizer.model_max_length == 32
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, loaded.model.state_dict()[name])
    assert torch.equal(sample(loaded.model, [[3]], max_new_tokens=5).tokens, sample(model, [[3]], max_new_tokens=5).tokens)
    save(model, tokenizer, folder)  # over an older one
    assert causal(f"hf:{folder}?dtype=bfloat16").model.dtype == torch.bfloat16


def test_specifications(tmp_path):
    with pytest.raises(SpecError, match="no directory with a causal language model"):
        causal(f"hf:{tmp_path / 'nothing'}")
    with pytest.raises(SpecError, match="smollm2"):
        causal("tutelage:smollm3")
    with pytest.raises(OptionError, match="dtype=int4"):
        causal(f"hf:{tmp_path}?dtype=int4")
    with pytest.raises(SpecError, match="no option 'size'"):
        causal(f"hf:{tmp_path}?size=3")


def data(tokenizer, count=64):
    texts = [(f"{a}+{b}=", str((a + b) % 10)) for a in range(8) for b in range(8)][:count]
    prompts = encode(tokenizer, [prompt for prompt, _ in texts])
    answers = encode(tokenizer, [answer for _, answer in texts], end=True)
    return answer_pairs(prompts, answers, context=32)


def test_it_learns_sums():
    tokenizer = character_tokenizer("0123456789+=", context=32)
    model = tiny_decoder(len(tokenizer), width=32, heads=2, context=32)
    options = TrainOptions(epochs=120, optimizer="AdamW", learning_rate=0.003, batch_size=64)
    arrays = data(tokenizer)
    history = Trainer(NextToken(model), Batches(arrays, 64), options).fit()
    assert history.epochs[0]["ce"] > 1.5
    assert history.epochs[-1]["ce"] < 0.1
    drawn = sample(model, [row[:4] for row in arrays.columns["input"].tolist()], max_new_tokens=3, temperature=0, end=1)
    sums = [str((a + b) % 10) for a in range(8) for b in range(8)]
    right = sum(text == answer for text, answer in zip(drawn.texts(tokenizer), sums, strict=True))
    assert right >= 60
    assert drawn.ended.all()


def test_loss_is_of_the_answer_or_of_all():
    model = tiny_decoder(12, width=16, heads=2)
    arrays = answer_pairs([[3, 4, 5], [6]], [[7, 1], [8, 9, 1]])
    assert arrays.columns["input"].tolist() == [[3, 4, 5, 7, 1], [6, 8, 9, 1, 0]]
    batch = arrays.gather()
    with torch.no_grad():
        rows = [model(torch.tensor([row])).logits[0].log_softmax(-1) for row in ([3, 4, 5, 7, 1], [6, 8, 9, 1])]
        whole = [[-rows[0][i, t] for i, t in enumerate((4, 5, 7, 1))], [-rows[1][i, t] for i, t in enumerate((8, 9, 1))]]
        answers = (sum(whole[0][2:]) + sum(whole[1])) / 5
        everything = (sum(whole[0]) + sum(whole[1])) / 7
        torch.testing.assert_close(NextToken(model).losses(batch)["ce"], answers)
        torch.testing.assert_close(NextToken(model, prompts=True).losses(batch)["ce"], everything)
        torch.testing.assert_close(NextToken(model, chunk=2).losses(batch)["ce"], answers)


def test_padding_changes_nothing():
    model = tiny_decoder(12, width=16, heads=2)
    arrays = answer_pairs([[3, 4, 5], [6], [4]], [[7, 1], [8, 9, 1], [5] * 20])
    with torch.no_grad():
        torch.testing.assert_close(
            NextToken(model).losses(arrays.gather(torch.tensor([0, 1])))["ce"],
            NextToken(model).losses(answer_pairs([[3, 4, 5], [6]], [[7, 1], [8, 9, 1]]).gather())["ce"],
        )


@pytest.mark.parametrize(
    ("prompts", "answers", "words"),
    [
        ([], [], "at least one"),
        ([[3]], [[4], [5]], "1 prompts and 2 answers"),
        ([[3], [3]], [[4], []], "Answer 1 of 'answers' has no tokens"),
        ([[3] * 30], [[4] * 3], "have 33 tokens; the model's context is 32"),
    ],
)
def test_bad_pairs(prompts, answers, words):
    with pytest.raises(DataError, match=words):
        answer_pairs(prompts, answers, context=32)
