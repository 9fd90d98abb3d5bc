"""Sampling from a real server on this machine, behind the call that samples from a model."""

from __future__ import annotations

import importlib.util
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch

from tutelage.errors import ChatError, DataError, MissingExtra
from tutelage.models.chat import OpenAIChat
from tutelage.models.language import character_tokenizer, encode, log_probs, sample, tiny_decoder
from tutelage.models.language.servers import InProcessVLLM, ServedChat

pytest.importorskip("transformers")
pytest.importorskip("openai")

PROGRAM = Path(__file__).parents[2] / "programs" / "chat_server.py"


@pytest.fixture
def serve(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-0123456789abcdef")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    found = importlib.util.spec_from_file_location("chat_server", PROGRAM)
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    with ExitStack() as stack:
        yield lambda *given, **options: stack.enter_context(module.ChatServer(*given, **options))


TOKENIZER = character_tokenizer("abcdefgh ", context=64)


@pytest.fixture(scope="module")
def model():
    made = tiny_decoder(len(TOKENIZER), width=16, heads=2, context=64)
    with torch.no_grad():
        made.lm_head.weight.mul_(20)
        made.lm_head.weight[2] = 0  # the unknown character is never the likeliest
    return made


def answering(model, pieces=1):
    """A server's answer: the model's likeliest continuation with its log-probabilities, of so many characters a token."""

    def reply(prompt):
        drawn = sample(model, encode(TOKENIZER, [prompt]), max_new_tokens=8, temperature=0)
        text, ended = drawn.texts(TOKENIZER)[0], bool(drawn.ended[0])
        entries = [
            {"token": text[at : at + pieces], "logprob": float(drawn.log_probs[0, at : at + pieces].sum())}
            for at in range(0, len(text), pieces)
        ]
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": text},
            "finish_reason": "stop" if ended else "length",
            "logprobs": {"content": entries},
        }
        return {"id": "1", "object": "chat.completion", "model": "tiny", "choices": [choice]}

    return reply


PROMPTS = encode(TOKENIZER, ["abc", "hg fe", "abc"])


def test_a_served_model_gives_what_it_gives_here(serve, model):
    server = serve(answering(model))
    served = ServedChat(OpenAIChat("tiny", base_url=server.url, cache=None), TOKENIZER)
    far = sample(served, PROMPTS, max_new_tokens=8, temperature=0)
    here = sample(model, PROMPTS, max_new_tokens=8, temperature=0)
    assert far.lists() == here.lists()
    assert torch.equal(far.tokens, here.tokens)
    assert torch.equal(far.ended, here.ended)
    ends = torch.zeros_like(far.mask)
    ends[far.ended, far.lengths[far.ended] - 1] = True
    with torch.no_grad():
        expected = log_probs(model, far)
    torch.testing.assert_close(far.log_probs[~ends], expected[~ends], atol=1e-4, rtol=1e-4)
    assert far.log_probs[ends].isnan().all()
    assert all(body["temperature"] == 0 and body["max_tokens"] == 8 and body["logprobs"] for body in server.bodies)


def test_equal_prompts_are_asked_apart(serve, model):
    server = serve(answering(model))
    served = ServedChat(OpenAIChat("tiny", base_url=server.url), TOKENIZER)  # with a cache
    sample(served, PROMPTS + PROMPTS[:1], max_new_tokens=8, temperature=0.9, top_p=0.8, seed=4)
    assert server.answered == {"abc": 3, "hg fe": 1}
    assert len({body["seed"] for body in server.bodies if body["messages"][0]["content"] == "abc"}) == 3
    assert all(body["top_p"] == 0.8 for body in server.bodies)
    sample(served, PROMPTS + PROMPTS[:1], max_new_tokens=8, temperature=0.9, top_p=0.8, seed=4)
    assert server.answered == {"abc": 3, "hg fe": 1}  # paid once


def test_other_tokens_than_ours_have_no_log_probabilities(serve, model):
    served = ServedChat(OpenAIChat("tiny", base_url=serve(answering(model, pieces=2)).url, cache=None), TOKENIZER)
    far = sample(served, PROMPTS[:1], max_new_tokens=8, temperature=0)
    assert far.lists() == sample(model, PROMPTS[:1], max_new_tokens=8, temperature=0).lists()
    assert far.log_probs[far.mask].isnan().all()


def test_failures_are_named_and_what_was_answered_is_kept(serve, model):
    server = serve(answering(model), faults={"abc": [(400, {"error": {"message": "no"}}, {})]})
    served = ServedChat(OpenAIChat("tiny", base_url=server.url, retries=0), TOKENIZER)
    with pytest.raises(ChatError, match="1 of 2 conversations"):
        sample(served, PROMPTS[:2], max_new_tokens=8, seed=9)
    assert len(sample(served, PROMPTS[:2], max_new_tokens=8, seed=9)) == 2
    assert server.answered["hg fe"] == 1
    strange = ServedChat(OpenAIChat("tiny", base_url=serve(lambda _: "ab\x1b[31m!").url, cache=None), TOKENIZER)
    with pytest.raises(DataError, match=r"no token for '\\x1b'"):
        sample(strange, PROMPTS[:1], max_new_tokens=8)


def test_vllm_that_is_absent_is_asked_for():
    if importlib.util.find_spec("vllm") is not None:
        pytest.skip("vllm is here")
    with pytest.raises(MissingExtra, match="pip install vllm"):
        InProcessVLLM("somewhere")
