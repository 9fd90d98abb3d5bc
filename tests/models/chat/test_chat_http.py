from __future__ import annotations

import json
import time

import pytest

from tutelage.errors import BudgetError, ChatError, DataError, OptionError
from tutelage.models.chat import Message, OpenAIChat, Prices, Sampling, from_spec
from tutelage.models.chat.limits import most_tokens

KEY = "sk-secret-0123456789abcdef"
BUSY = (429, {"error": {"message": "slow down", "type": "rate_limit"}}, {"Retry-After": "0.4"})


def chat(server, **options):
    given = {"cache": None, "backoff": 0.01, "retries": 3, **options}
    return OpenAIChat("m", base_url=server.url, **given)


def test_replies_come_in_the_order_of_prompts_and_concurrency_is_bounded(serve):
    server = serve(delay=0.02)
    prompts = [f"prompt {i}" for i in range(40)]
    replies = chat(server, concurrency=5).complete(prompts)
    assert [r.text for r in replies] == [f"you said {p}" for p in prompts]
    assert 2 <= server.most_at_once <= 5
    assert (replies[0].prompt_tokens, replies[0].completion_tokens, replies[0].model, replies[0].cost) == (2, 4, "m-0613", None)


def test_the_request_says_what_was_asked_and_nothing_else(serve):
    server = serve()
    sampling = Sampling(temperature=0.5, max_tokens=9, top_p=0.9, seed=3, stop=("END",), log_probs=2)
    said = [Message("system", "be brief"), {"role": "user", "content": "hi"}]
    client = chat(server, sampling=sampling, max_tokens_field="max_completion_tokens", extra={"reasoning_effort": "low"})
    (reply,) = client.complete([said])
    assert server.bodies[0] == {
        "model": "m",
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}],
        "temperature": 0.5,
        "max_completion_tokens": 9,
        "top_p": 0.9,
        "seed": 3,
        "stop": ["END"],
        "logprobs": True,
        "top_logprobs": 2,
        "reasoning_effort": "low",
    }
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    assert next((t.token, t.log_prob, t.top[1]) for t in reply.log_probs) == ("you", -0.5, ("x", -1.5))
    client.complete(["hi"], sampling=Sampling(temperature=None, max_tokens=None))
    assert server.bodies[1].keys() == {"model", "messages", "reasoning_effort"}


def test_what_may_succeed_later_is_tried_again(serve):
    faults = {"a": [(500, b"oops", {}), (503, {}, {})], "b": ["drop"], "c": ["half"], "d": ["slow"], "e": [(408, {}, {}), "drop"]}
    server = serve(faults=faults)
    replies = chat(server, timeout=2).complete(list("abcdef"))
    assert [r.text for r in replies] == [f"you said {p}" for p in "abcdef"]
    assert dict(server.asked) == {"a": 3, "b": 2, "c": 2, "d": 2, "e": 3, "f": 1}


def test_retry_after_is_honoured_by_all(serve):
    server = serve(faults={"a": [BUSY]})
    client = chat(server, concurrency=1)
    assert [r.text for r in client.complete(["a", "b"])] == ["you said a", "you said b"]
    assert server.times[1] - server.times[0] >= 0.4
    server = serve(faults={"a": [(429, {}, {"Retry-After": "3600"})]})
    with pytest.raises(ChatError, match=r"HTTP 429.*asks to wait 3600 seconds.*1 more were not asked"):
        chat(server, concurrency=1).complete(["a", "b"])
    assert sum(server.asked.values()) == 1


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (
            (401, {"error": {"message": f"Incorrect API key provided: {KEY}\x1b[2J"}}, {}),
            r"HTTP 401: Incorrect.*Set the environment variable",
        ),
        ((404, {"error": {"message": "no model 'm'"}}, {}), r"HTTP 404: no model 'm'\. Check the model's name and base_url"),
        ((429, {"error": {"message": "no credit", "code": "insufficient_quota"}}, {}), r"HTTP 429: no credit\. The account has no credit"),
    ],
)
def test_what_every_request_would_get_ends_the_call_at_once(serve, fault, message):
    server = serve(faults={"": [fault] * 9})
    with pytest.raises(ChatError, match=message) as caught:
        chat(server, concurrency=1).complete(["a", "b", "c"])
    assert sum(server.asked.values()) == 1
    assert list(caught.value.failures) == [0]
    assert KEY not in str(caught.value)
    assert "\x1b" not in str(caught.value)


def message_of(**changes):
    return {"choices": [{"message": {"content": "fine", **changes.pop("message", {})}, "finish_reason": "stop", **changes}]}


MALFORMED = {
    "not json": ((200, b"<html>busy</html>", {}), "not JSON"),
    "a list": ((200, [], {}), "the response is a list"),
    "deep": ((200, b"[" * 100_000, {}), "not JSON"),
    "no choices": ((200, {"object": "chat.completion"}, {}), "'choices' is missing"),
    "empty choices": ((200, {"choices": []}, {}), "'choices' is a list"),
    "error inside": ((200, {"error": {"message": "overloaded"}}, {}), "holds an error: overloaded"),
    "no message": ((200, {"choices": [{}]}, {}), "'message' is missing"),
    "empty": ((200, message_of(message={"content": ""}), {}), r"the reply is empty \(finish_reason 'stop'\)"),
    "too short": ((200, message_of(message={"content": None}, finish_reason="length"), {}), "a higher max_tokens may help"),
    "refusal": ((200, message_of(message={"content": None, "refusal": "never"}), {}), "the model refused: never"),
    "number": ((200, message_of(message={"content": 3}), {}), "'content' is a int"),
    "logprobs": ((200, message_of(logprobs={"content": [{"token": "a"}]}), {}), "'logprobs' does not hold"),
    "logprob nan": ((200, message_of(logprobs={"content": [{"token": "a", "logprob": float("nan")}]}), {}), "nan is no finite number"),
    "usage": ((200, {**message_of(), "usage": {"prompt_tokens": "3", "completion_tokens": 1}}, {}), "'usage' counts '3'"),
    "too long": ((400, {"error": {"message": "context length is 4096"}}, {}), r"HTTP 400: context length is 4096\. .*look at its length"),
}


def test_malformed_replies_are_named_and_the_others_stay(serve):
    server = serve(faults={prompt: [fault] for prompt, (fault, _) in MALFORMED.items()})
    prompts = ["first", *MALFORMED, "last"]
    client = chat(server)
    with pytest.raises(ChatError, match=f"{len(MALFORMED)} of {len(prompts)} conversations.*Conversation 1: HTTP 200, but") as caught:
        client.complete(prompts)
    replies = caught.value.replies
    assert [replies[0].text, replies[-1].text] == ["you said first", "you said last"]
    assert set(server.asked.values()) == {1}
    for position, (_, message) in enumerate(MALFORMED.values(), 1):
        assert replies[position] is None
        with pytest.raises(AssertionError, match=message):
            raise AssertionError(caught.value.failures[position])
    assert client.tally.failed == len(MALFORMED)


def test_parts_of_content_are_joined_and_missing_log_probs_are_counted(serve):
    parts = [{"type": "text", "text": "two "}, {"type": "image"}, {"type": "text", "text": "parts"}]
    client = chat(serve(lambda prompt: message_of(message={"content": parts})), sampling=Sampling(log_probs=3))
    (reply,) = client.complete(["x"])
    assert (reply.text, reply.log_probs, reply.prompt_tokens) == ("two parts", None, None)
    assert client.tally.without_log_probs == 1


def test_a_server_that_does_not_recover_is_left_alone(serve):
    server = serve(faults={"": [(500, b"", {})] * 999})
    with pytest.raises(ChatError, match=r"HTTP 500: no explanation.*Tried 2 times.*7 more were not asked"):
        chat(server, concurrency=1, retries=1).complete([f"p{i}" for i in range(10)])
    assert sum(server.asked.values()) == 6
    server.__exit__()
    with pytest.raises(ChatError, match=r"no connection .*Is a server listening at http://127.0.0.1"):
        chat(server, retries=0).complete(["x"])


def test_money_is_counted_and_the_budget_is_not_passed(serve):
    server = serve(lambda prompt: "one two three four")
    prices, sampling = Prices(2.0, 10.0), Sampling(max_tokens=4)
    client = chat(server, prices=prices, sampling=sampling)
    replies = client.complete(["three words here", "one"])
    assert replies[0].cost == pytest.approx((2 * 3 + 10 * 4) / 1e6)
    assert client.account.spent == pytest.approx((2 * 4 + 10 * 8) / 1e6)

    prompts = [f"p{i}" for i in range(50)]
    most, real = prices.cost(most_tokens([Message("user", "p10")]), 4), prices.cost(1, 4)
    budget = 10 * real + most
    for concurrency in (1, 6):
        client = chat(server, prices=prices, sampling=sampling, budget=budget, concurrency=concurrency)
        with pytest.raises(
            BudgetError, match=r"budget of .* would be passed: .* was spent.*were not asked.*in this error's `replies`"
        ) as caught:
            client.complete(prompts)
        paid = sum(reply is not None for reply in caught.value.replies)
        assert 10 <= paid <= 11
        assert client.account.spent == pytest.approx(paid * real)
        assert client.account.spent <= budget


def test_a_request_that_may_have_been_billed_counts_at_its_most(serve):
    server = serve(faults={"a": ["drop", "half"], "b": [(500, b"", {})]})
    prices = Prices(2.0, 10.0)
    client = chat(server, prices=prices, budget=1.0)
    client.complete(["a", "b"])
    assert client.account.uncertain == pytest.approx(2 * prices.cost(most_tokens([Message("user", "a")]), 256))
    server = serve(lambda prompt: message_of(message={"content": ""}) | {"usage": {"prompt_tokens": 5, "completion_tokens": 7}})
    client = chat(server, prices=prices)
    with pytest.raises(ChatError):
        client.complete(["a"])
    assert client.account.spent == pytest.approx(prices.cost(5, 7))


def test_requests_keep_to_the_rate(serve):
    server = serve()
    started = time.perf_counter()
    chat(server, rpm=1200).complete([f"p{i}" for i in range(10)])
    assert time.perf_counter() - started >= 9 * 0.05


def test_the_transcript_tells_all_but_the_key(serve, tmp_path):
    leak = (500, {"error": {"message": f"who sent {KEY}?"}}, {})
    server = serve(lambda prompt: f"your key is {KEY} \x1b[31m", faults={"a": [leak]})
    path = tmp_path / "logs" / "t.jsonl"
    with pytest.raises(ChatError):
        chat(serve(faults={"": [leak] * 9}), transcript=path, retries=1).complete(["a"])
    chat(server, transcript=path).complete(["a", "b"])
    written = path.read_bytes()
    assert KEY.encode() not in written
    assert b"\x1b" not in written
    lines = [json.loads(line) for line in written.splitlines()]
    assert sorted(line.get("status") for line in lines) == [200, 200, 500, 500, 500]
    assert lines[0]["error"].startswith("HTTP 500: who sent [OPENAI_API_KEY]?")
    good = next(line for line in lines if line["status"] == 200)
    assert good["messages"][0]["role"] == "user"
    assert good["reply"]["text"].startswith("your key is [OPENAI_API_KEY]")
    assert path.stat().st_mode & 0o077 == 0


def test_keys_come_from_the_environment_and_stay_secret(serve, monkeypatch):
    server = serve()
    assert KEY not in repr(vars(chat(server))) + repr(chat(server)) + repr(chat(server).endpoint)
    monkeypatch.setenv("OTHER", "sk-other-key")
    chat(server, key_env="OTHER").complete(["x"])
    assert server.headers[-1]["authorization"] == "Bearer sk-other-key"
    monkeypatch.delenv("OPENAI_API_KEY")
    chat(server).complete(["x"])
    assert server.headers[-1]["authorization"] == "Bearer none"
    for options, message in {
        (("key_env", "GONE"),): "GONE holds no key",
        (("base_url", "https://api.openai.com/v1"),): "OPENAI_API_KEY holds no key",
        (("base_url", "localhost:8000"),): "expected an address",
        (("base_url", f"http://me:{KEY}@localhost/v1"),): "holds a user, password or query",
    }.items():
        with pytest.raises(OptionError, match=message) as caught:
            OpenAIChat("m", cache=None, **{"base_url": server.url, **dict(options)})
        assert KEY not in str(caught.value)
    monkeypatch.setenv("BENT", "sk-one\nHost: evil")
    with pytest.raises(OptionError, match="BENT holds characters"):
        chat(server, key_env="BENT")


def test_a_key_is_not_sent_in_the_clear_to_other_machines(monkeypatch):
    from tutelage.models.chat.endpoint import Endpoint

    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    sent = {
        url: Endpoint(url)._secret for url in ("http://10.0.0.7:8000/v1", "http://[::1]:8000/v1", "http://localhost/v1", "https://x.org/v1")
    }
    assert list(sent.values()) == ["", KEY, KEY, KEY]
    assert Endpoint("http://10.0.0.7:8000/v1", key_env="OPENAI_API_KEY")._secret == KEY


def test_progress_is_told_and_its_exceptions_stop_the_work(serve):
    server = serve(delay=0.01)
    seen = []
    chat(server, progress=lambda done, total, tally: seen.append((done, total, tally.answered))).complete(list("abcd"))
    assert len(seen) == 5
    assert (seen[0], seen[-1]) == ((0, 4, 0), (4, 4, 4))
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)  # workers may answer between two calls

    def stop(done, total, tally):
        if done >= 2:
            raise KeyboardInterrupt

    before = sum(server.asked.values())
    with pytest.raises(KeyboardInterrupt):
        chat(server, progress=stop, concurrency=2).complete([f"p{i}" for i in range(100)])
    assert sum(server.asked.values()) - before < 50


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"concurrency": 0}, "concurrency=0"),
        ({"retries": -1}, "retries=-1"),
        ({"timeout": 0}, "timeout=0"),
        ({"rpm": 0}, "rpm=0"),
        ({"budget": 1.0}, "needs prices"),
        ({"budget": -1.0, "prices": Prices(1, 1)}, "budget=-1"),
        ({"backoff": -1}, "backoff=-1"),
    ],
)
def test_options_out_of_range_are_refused(serve, options, message):
    with pytest.raises(OptionError, match=message):
        chat(serve(), **options)


def test_a_budget_needs_a_bound_on_replies(serve):
    with pytest.raises(OptionError, match="needs max_tokens"):
        chat(serve(), prices=Prices(1, 1), budget=1.0).complete(["x"], sampling=Sampling(max_tokens=None))
    with pytest.raises(OptionError, match="at least 0"):
        Prices(-1, 1)


def test_a_transcript_that_cannot_be_written_is_refused(serve, tmp_path):
    with pytest.raises(DataError, match=r"transcript .* cannot be written"):
        chat(serve(), transcript=tmp_path)


def test_a_specification_becomes_a_client(serve, tmp_path):
    server = serve()
    client = from_spec(
        f"chat:org/model:free?base_url={server.url}/&concurrency=3&temperature=0.7&max_tokens=12&price_in=0.15&price_out=0.6&budget=5"
        f"&rpm=6000&tpm=1e9&log_probs=5&seed=4&stop=END&cache={tmp_path}/c.sqlite&transcript={tmp_path}/t.jsonl&timeout=9"
    )
    (reply,) = client.complete(["hi"])
    assert reply.cost == pytest.approx((0.15 * 1 + 0.6 * 3) / 1e6)
    body = server.bodies[0]
    assert (body["model"], body["temperature"], body["max_tokens"], body["top_logprobs"]) == ("org/model:free", 0.7, 12, 5)
    assert (body["seed"], body["stop"]) == (4, ["END"])
    assert (client.concurrency, client.account.budget, client.endpoint.base_url) == (3, 5.0, server.url)
    assert (tmp_path / "c.sqlite").exists()
    assert (tmp_path / "t.jsonl").exists()
    assert from_spec(f"chat:m?base_url={server.url}&cache=none").cache is None


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("chat:", "names no model"),
        ("chta:m", "Did you mean 'chat'"),
        ("chat:m?concurency=3", "no option 'concurency'. Did you mean 'concurrency'"),
        ("chat:m?concurrency=many", "should be like concurrency=8"),
        ("chat:m?price_in=1", "price_in alone"),
        ("chat:m?temperature=-1", "'chat:m.temperature=-1': Sampling option temperature=-1"),
        ("chat:m?key=sk-1", "no option 'key'. Did you mean 'key_env'"),
        ("hf-chat:./gone", "no directory with a causal language model"),
        ("hf-chat:./gone?rpm=3", "no option 'rpm'"),
        ("hf-chat:./gone?dtype=int8", "dtype=int8"),
    ],
)
def test_mistyped_specs_say_what_is_wrong(spec, message, monkeypatch):
    from tutelage.errors import TutelageError

    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with pytest.raises(TutelageError, match=message):
        from_spec(spec)
