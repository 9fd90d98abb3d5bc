"""Small decoders trained from scratch, and their tokenizer of characters."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from tutelage.errors import OptionError, optional

PAD, END, UNKNOWN = "<pad>", "<end>", "<unknown>"


def tiny_decoder(
    vocabulary: int, *, width: int = 64, layers: int = 2, heads: int = 4, context: int = 128, seed: int = 0, pad: int = 0, end: int = 1
) -> Any:
    """Return a Llama with random weights, small enough to train on a processor.

    Args:
        vocabulary: tokens that exist.
        width: of the hidden states, a multiple of `2 * heads`. Default 64.
        layers: how many. Default 2.
        heads: of attention in each. Default 4.
        context: longest text in tokens. Default 128.
        seed: of the weights; torch's global generator is left as it was.
        pad: token of the padding, as `character_tokenizer` has it. Default 0.
        end: token that ends a text. Default 1.

    Returns:
        A causal language model of transformers: its inner width is three times `width`, its embedding is not tied to its head.

    Raises:
        OptionError: if the width does not fit the heads.
        MissingExtra: if transformers is not installed.

    Source:
        Touvron et al., LLaMA, 2023 (the architecture); the sizes are ours.
    """
    transformers = optional("transformers", "language")
    if width % (2 * heads):
        raise OptionError(f"width is {width} with {heads} heads; expected a multiple of {2 * heads}, since each head's width must be even")
    config = transformers.LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=context,
        pad_token_id=pad,
        bos_token_id=None,
        eos_token_id=end,
        tie_word_embeddings=False,
        initializer_range=0.5 * width**-0.5,  # the default of 0.02 is for wide models; narrow ones learn far slower from it
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return transformers.LlamaForCausalLM(config)


def character_tokenizer(characters: Iterable[str], *, context: int = 128) -> Any:
    """Return a tokenizer with one token per character, after those for padding (0), end (1) and unknown characters (2).

    Args:
        characters: those that exist, in any order and number; or texts, of which all characters count.
        context: longest text in tokens, written into its files. Default 128.

    Returns:
        A fast tokenizer of transformers, which pads on the left and adds no token by itself; `save_pretrained` writes it.

    Raises:
        OptionError: if there is no character.
        MissingExtra: if transformers or tokenizers is not installed.
    """
    transformers, tokenizers = optional("transformers", "language"), optional("tokenizers", "language")
    alphabet = sorted(set("".join(characters)))
    if not alphabet:
        raise OptionError("A tokenizer of characters needs at least one character.")
    vocabulary = {token: number for number, token in enumerate([PAD, END, UNKNOWN, *alphabet])}
    model = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocabulary, merges=[], unk_token=UNKNOWN))
    model.decoder = tokenizers.decoders.Fuse()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=model,
        pad_token=PAD,
        eos_token=END,
        unk_token=UNKNOWN,
        padding_side="left",
        model_max_length=context,
        clean_up_tokenization_spaces=False,
    )
