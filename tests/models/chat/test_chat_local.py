from __future__ import annotations

import math

import pytest
import torch

from tutelage.errors import ChatError, DataError, OptionError
from tutelage.models.chat import Chat, Message, Sampling, TransformersChat, from_spec, generate
from tutelage.models.chat.generate import Chooser

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

TEMPLATE = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"


def tokenizer(template=TEMPLATE):
    letters = "abcdefghijklmnopqrstuvwxyz :\n<>"
    vocabulary = {token: i for i, token in enumerate(["[end]", "[pad]", "[unk]", *letters])}
    model = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, [], unk_token="[unk]"))
    model.decoder = tokenizers.decoders.Fuse()
    made = transformers.PreTrainedTokenizerFast(tokenizer_object=model, eos_token="[end]", pad_token="[pad]", unk_token="[unk]")
    made.chat_template = template
    return made


def network(vocabulary, seed=0, context=64):
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=context,
        eos_token_id=0,
        pad_token_id=1,
        initializer_range=0.3,
    )
    return transformers.LlamaForCausalLM(config)


@pytest.fixture(scope="module")
def parts():
    words = tokenizer()
    return network(len(words)), words


def local(parts, **options):
    return TransformersChat(*parts, **{"sampling": Sampling(max_tokens=8, log_probs=3), **options})


def reference(model, ids, chosen):
    """Log-probabilities of a continuation, by one forward pass without padding or cache."""
    with torch.inference_mode():
        logits = model.eval()(torch.tensor([[*ids, *chosen]])).logits[0]
    return logits.log_softmax(-1)[len(ids) - 1 : -1].gather(-1, torch.tensor(chosen)[:, None])[:, 0].tolist()


def test_padding_and_cache_change_nothing(parts):
    model, _ = parts
    prompts = [[5, 6, 7], [8], [9, 10, 11, 12, 13, 14, 15]]
    drawn = generate(*parts, prompts, Sampling(temperature=1.0, log_probs=2), [1, 2, 3], max_new_tokens=6)
    for prompt, one in zip(prompts, drawn, strict=True):
        assert one.tokens
        assert one.log_probs == pytest.approx(reference(model, prompt, one.tokens), abs=1e-4)
        (alone,) = generate(*parts, [prompt], Sampling(temperature=1.0), [prompts.index(prompt) + 1], max_new_tokens=6)
        assert alone.tokens == one.tokens


def test_greedy_takes_the_likeliest_token(parts):
    (one,) = generate(*parts, [[5, 6]], Sampling(temperature=0, log_probs=2), [0], max_new_tokens=8)
    ids = [5, 6]
    with torch.inference_mode():
        for token in one.tokens:
            assert int(parts[0].eval()(torch.tensor([ids])).logits[0, -1].argmax()) == token
            ids.append(token)
    assert [top[0][0] for top in one.top] == one.tokens
    assert [top[0][1] for top in one.top] == pytest.approx(one.log_probs, abs=1e-6)
    assert all(top[0][1] >= top[1][1] for top in one.top)


def test_draws_follow_the_distribution():
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0, -torch.inf]])
    for temperature, top_p in ((1.0, None), (2.0, None), (1.0, 0.8)):
        expected = (logits[0] / temperature).softmax(-1)
        if top_p is not None:
            expected[2:] = 0.0  # 0.64 and 0.24 reach 0.8
        chooser = Chooser(Sampling(temperature=temperature, top_p=top_p), [7])
        number = 2000
        for _ in range(number):
            chooser(torch.zeros(1, 1, dtype=torch.long), logits)
        counts = torch.bincount(torch.cat(chooser.tokens), minlength=5) / number
        assert torch.allclose(counts, expected / expected.sum(), atol=0.04)
        assert counts[expected == 0].sum() == 0


def test_the_choice_is_all_that_generate_sees():
    chooser = Chooser(Sampling(temperature=1.0, log_probs=2), [1, 2])
    scores = torch.randn(2, 5)
    left = chooser(torch.zeros(2, 1, dtype=torch.long), scores)
    assert left.isfinite().sum() == 2
    assert torch.equal(left.argmax(-1), chooser.tokens[0])
    assert torch.allclose(chooser.log_probs[0].exp(), scores.softmax(-1).gather(-1, chooser.tokens[0][:, None])[:, 0])


def test_a_seed_fixes_each_reply_whatever_is_beside_it(parts):
    sampling = Sampling(temperature=1.5, max_tokens=8, seed=5)
    prompts = ["a", "hello world", "abc", "a"]
    replies = local(parts, sampling=sampling, batch_size=2).complete(prompts)
    others = local(parts, sampling=sampling, batch_size=3).complete(["other", *reversed(prompts)])
    assert [r.text for r in replies] == [r.text for r in reversed(others[1:])]
    assert replies[0].text == replies[3].text
    assert [r.text for r in local(parts).complete(prompts, sampling=Sampling(temperature=1.5, max_tokens=8, seed=6))] != [
        r.text for r in replies
    ]
    free = [local(parts, sampling=Sampling(temperature=1.5, max_tokens=8)).complete(["a"] * 4) for _ in range(2)]
    assert len({r.text for some in free for r in some}) > 2


def test_replies_tell_tokens_and_log_probs(parts):
    chat = local(parts, name="tiny")
    assert isinstance(chat, Chat)
    (reply,) = chat.complete([[Message("system", "be"), {"role": "user", "content": "hi"}]])
    assert reply.prompt_tokens == len("<system>be<user>hi<assistant>")
    assert (reply.completion_tokens, reply.cost, reply.model, reply.cached) == (len(reply.log_probs), 0.0, "tiny", False)
    assert "".join(t.token for t in reply.log_probs) == reply.text
    assert all(len(t.top) == 3 and math.isfinite(t.log_prob) for t in reply.log_probs)
    assert chat.complete(["hi"], sampling=Sampling(max_tokens=2))[0].log_probs is None


def test_replies_end_at_the_end_token_at_stop_texts_and_at_the_limit(parts):
    model, _ = parts
    model.train()
    long = Sampling(temperature=2.0, max_tokens=40, seed=1)
    replies = local(parts, sampling=long).complete([f"x{c}" for c in "abcdefghij"])
    assert {r.finish_reason for r in replies} == {"stop", "length"}
    assert all(r.completion_tokens == 40 for r in replies if r.finish_reason == "length")
    assert all("[end]" not in r.text for r in replies)
    whole = next(r.text for r in replies if len(r.text) > 8)
    position = [r.text for r in replies].index(whole)
    stop = whole[4:6]
    cut = local(parts, sampling=Sampling(temperature=2.0, max_tokens=40, seed=1, stop=(stop,))).complete([f"x{'abcdefghij'[position]}"])
    assert cut[0].text == whole[: whole.index(stop)]
    assert cut[0].finish_reason == "stop"
    assert cut[0].completion_tokens <= whole.index(stop) + 2
    assert model.training
    model.eval()


def test_a_models_own_defaults_do_not_mix_in(parts):
    model, words = parts
    before = local(parts).complete(["hello"])[0].text
    own = model.generation_config
    model.generation_config = transformers.GenerationConfig(repetition_penalty=5.0, do_sample=True, top_k=3, eos_token_id=0)
    try:
        assert local((model, words)).complete(["hello"])[0].text == before
        assert model.generation_config.repetition_penalty == 5.0
    finally:
        model.generation_config = own


def test_too_long_conversations_are_named_and_the_others_answered(parts):
    with pytest.raises(ChatError, match=r"1 of 3 conversations.*Conversation 1: it has 114 tokens, and the context .* is 64") as caught:
        local(parts).complete(["a", "b" * 97, "c"])
    assert [r is None for r in caught.value.replies] == [False, True, False]
    unbounded = local(parts).complete(["a"], sampling=Sampling(temperature=0, max_tokens=None))[0]
    assert unbounded.prompt_tokens + unbounded.completion_tokens <= 64


def test_templates_may_be_absent_or_refuse(parts):
    model, _ = parts
    plain = TransformersChat(model, tokenizer(None), sampling=Sampling(max_tokens=2))
    assert plain.complete(["hi"])[0].prompt_tokens == len("user: hi\nassistant:")
    strict = TransformersChat(model, tokenizer("{{ raise_exception('no system') }}"), name="strict")
    with pytest.raises(DataError, match=r"Conversation 0: the chat template of 'strict' refuses it .*no system"):
        strict.complete(["hi"])
    with pytest.raises(OptionError, match="batch=0"):
        TransformersChat(model, tokenizer(), batch_size=0)


def test_a_folder_is_loaded_by_specification_from_safetensors_only(parts, tmp_path):
    model, words = parts
    model.save_pretrained(tmp_path / "m")
    words.save_pretrained(tmp_path / "m")
    chat = from_spec(f"hf-chat:{tmp_path / 'm'}?batch=3&max_tokens=5&temperature=1&seed=2")
    assert chat.batch_size == 3
    same = local(parts, sampling=Sampling(temperature=1.0, max_tokens=5, seed=2))
    assert [r.text for r in chat.complete(["hi", "you"])] == [r.text for r in same.complete(["hi", "you"])]
    assert chat.fingerprint == same.fingerprint != local(parts).fingerprint
    (tmp_path / "m" / "model.safetensors").rename(tmp_path / "m" / "pytorch_model.bin")
    with pytest.raises(Exception, match=r"no directory with a causal language model, its model\.safetensors"):
        from_spec(f"hf-chat:{tmp_path / 'm'}")
