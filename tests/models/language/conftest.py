"""Small language models of several kinds."""

from __future__ import annotations

import pytest
import torch

transformers = pytest.importorskip("transformers")


def llama(vocabulary=23, seed=0, context=64, **options):
    torch.manual_seed(seed)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = transformers.LlamaConfig(
        vocab_size=vocabulary,
        max_position_embeddings=context,
        initializer_range=0.3,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
        **sizes,
        **options,
    )
    return transformers.LlamaForCausalLM(config)


def capped(vocabulary=23):
    """A model that caps its logits after the head."""
    torch.manual_seed(0)
    config = transformers.Gemma2Config(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=64,
        sliding_window=8,
        final_logit_softcapping=2.0,
        initializer_range=0.3,
        eos_token_id=1,
        pad_token_id=0,
    )
    return transformers.Gemma2ForCausalLM(config)


def learned_places(vocabulary=23):
    """A model with an embedding for each position."""
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=vocabulary, n_positions=64, n_embd=32, n_layer=2, n_head=4, eos_token_id=1, pad_token_id=0, initializer_range=0.3
    )
    return transformers.GPT2LMHeadModel(config)


KINDS = {"llama": llama, "gemma2": capped, "gpt2": learned_places}


@pytest.fixture(params=sorted(KINDS))
def any_model(request):
    return KINDS[request.param]().eval()


@pytest.fixture
def model():
    return llama().eval()
