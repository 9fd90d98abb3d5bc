from __future__ import annotations

import pytest

from tutelage.models import language

pytest.importorskip("transformers")


@pytest.mark.parametrize("stated", [None, 3, [3, 4]])
def test_an_answer_ends_with_the_tokens_of_tokenizer_and_model(stated):
    tokenizer = language.character_tokenizer("0123")
    model = language.tiny_decoder(len(tokenizer), width=8, layers=1, heads=1)
    model.generation_config.eos_token_id = stated
    wanted = {tokenizer.eos_token_id, *([] if stated is None else [stated] if isinstance(stated, int) else stated)}
    assert language.ends(model, tokenizer) == wanted


def test_an_adapted_model_ends_like_the_one_inside():
    pytest.importorskip("peft")
    tokenizer = language.character_tokenizer("0123")
    model = language.tiny_decoder(len(tokenizer), width=8, layers=1, heads=1)
    model.generation_config.eos_token_id = [2, 4]
    assert language.ends(language.lora(model, rank=2), tokenizer) == {2, 4, tokenizer.eos_token_id}
