"""Low-rank adapters: they alone learn, checkpoints hold them, merging changes no answer."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from tutelage.data import Batches
from tutelage.errors import OptionError
from tutelage.models.language import answer_pairs, log_probs, lora, merge, sample, tiny_decoder
from tutelage.train import NextToken, Trainer, TrainOptions

pytest.importorskip("transformers")
pytest.importorskip("peft")

ARRAYS = answer_pairs([[3, 4], [5], [6], [4, 4]], [[7, 1], [8, 9, 1], [3, 1], [5, 1]])
OPTIONS = TrainOptions(epochs=4, optimizer="AdamW", learning_rate=0.02, batch_size=2)


def adapted(seed=0, **options):
    torch.manual_seed(seed)
    return lora(tiny_decoder(12, width=16, heads=2, context=32), rank=2, **options)


def test_begins_as_it_was_and_only_adapters_learn():
    plain, model = tiny_decoder(12, width=16, heads=2, context=32), adapted()
    rollouts = sample(plain, [[5], [6, 7]], max_new_tokens=6)
    torch.testing.assert_close(log_probs(model, rollouts), log_probs(plain, rollouts))
    assert torch.equal(sample(model, [[5], [6, 7]], max_new_tokens=6).tokens, rollouts.tokens)
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert trained
    assert all("lora_" in name for name in trained)
    assert len(trained) == 2 * 2 * 7  # A and B of the seven linear layers of two blocks; not the head
    before = {name: value.clone() for name, value in model.state_dict().items()}
    Trainer(NextToken(model), Batches(ARRAYS, 2), OPTIONS).fit()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if "lora_" in name}


def test_merged_model_answers_the_same():
    model = adapted()
    Trainer(NextToken(model), Batches(ARRAYS, 2), OPTIONS).fit()
    model.eval()
    tokens = torch.tensor([[3, 4, 5, 6]])
    with torch.no_grad():
        expected = model(tokens).logits
        plain = tiny_decoder(12, width=16, heads=2, context=32)(tokens).logits
        shipped = merge(model)
        torch.testing.assert_close(shipped(tokens).logits, expected, atol=1e-5, rtol=1e-5)
    assert (expected - plain).abs().max() > 0.05
    assert not any("lora" in name for name in shipped.state_dict())


def test_checkpoints_hold_the_adapters(tmp_path):
    whole, first, second = adapted(), adapted(), adapted()
    Trainer(NextToken(whole), Batches(ARRAYS, 2), OPTIONS).fit()
    half = Trainer(NextToken(first), Batches(ARRAYS, 2), OPTIONS, directory=tmp_path)
    calls = []

    def stop(_method):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return {"accuracy": 0.0}

    half.validate = stop
    with pytest.raises(KeyboardInterrupt):
        half.fit()
    Trainer(NextToken(second), Batches(ARRAYS, 2), OPTIONS, directory=tmp_path).fit(resume=True)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name
    kept = {name for name in load_file(max(tmp_path.glob("checkpoints/step-*")) / "state.safetensors") if name.startswith("method/")}
    assert kept
    assert all("lora_" in name for name in kept)
    beside = load_file(tmp_path / "checkpoints" / "constant.safetensors")
    assert len(beside) + len(kept) == len(whole.state_dict())


def test_options():
    model = adapted(targets=["q_proj"], alpha=4, dropout=0.1)
    assert sum("lora_A" in name for name, _ in model.named_parameters()) == 2
    assert model.base_model.model.model.layers[0].self_attn.q_proj.scaling["default"] == 2.0
    with pytest.raises(OptionError, match="rank is 0"):
        lora(tiny_decoder(12, width=16, heads=2), rank=0)
    with pytest.raises(OptionError, match="targets is"):
        lora(tiny_decoder(12, width=16, heads=2), targets=["nowhere"])
    with pytest.raises(OptionError, match="adapters already"):
        lora(model)
    with pytest.raises(OptionError, match="no adapters to merge"):
        merge(tiny_decoder(12, width=16, heads=2))
