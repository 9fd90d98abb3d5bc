from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from tutelage.errors import BudgetError, ChatError, DataError
from tutelage.models.chat import Cache, Message, OpenAIChat, Prices, Reply, Sampling, cache_key

PROGRAMS = Path(__file__).parents[2] / "programs"


def chat(server, path, **options):
    return OpenAIChat("m", base_url=server.url, **{"cache": path, "backoff": 0.01, "retries": 2, **options})


def test_what_was_answered_is_not_asked_again(serve, tmp_path):
    server, path = serve(), tmp_path / "folder" / "c.sqlite"
    first = chat(server, path, prices=Prices(1, 1)).complete(["a", "b", "a"])
    assert dict(server.asked) == {"a": 1, "b": 1}
    assert [r.cached for r in first] == [False, False, True]
    client = chat(server, path, prices=Prices(1, 1))
    again = client.complete(["b", "c", "a"])
    assert dict(server.asked) == {"a": 1, "b": 1, "c": 1}
    assert [(r.text, r.cached) for r in again] == [("you said b", True), ("you said c", False), ("you said a", True)]
    assert again[0].cost == first[1].cost > 0
    assert client.account.spent == again[1].cost
    assert (client.tally.answered, client.tally.cached) == (1, 2)
    assert len(Cache(path)) == 3


def test_other_sampling_is_another_question(serve, tmp_path):
    server = serve()
    client = chat(server, tmp_path / "c.sqlite")
    client.complete(["a"])
    client.complete(["a"], sampling=Sampling(seed=1))
    chat(server, tmp_path / "c.sqlite", extra={"k": 1}).complete(["a"])
    assert server.asked["a"] == 3


def test_without_a_cache_every_conversation_is_a_draw_of_its_own(serve):
    server = serve()
    chat(server, None).complete(["a", "a", "a"])
    assert server.asked["a"] == 3


def test_failures_are_not_kept_and_answers_are(serve, tmp_path):
    server = serve(faults={"b": [(400, {"error": {"message": "no"}}, {})]})
    with pytest.raises(ChatError, match=r"2 replies are kept in '.*c.sqlite': the same call asks only the rest"):
        chat(server, tmp_path / "c.sqlite").complete(["a", "b", "c"])
    chat(server, tmp_path / "c.sqlite").complete(["a", "b", "c"])
    assert dict(server.asked) == {"a": 1, "b": 2, "c": 1}


def test_a_spent_budget_keeps_what_was_answered(serve, tmp_path):
    server = serve()
    options = {"prices": Prices(10, 10), "sampling": Sampling(max_tokens=8), "concurrency": 2}
    with pytest.raises(BudgetError, match="are kept in"):
        chat(server, tmp_path / "c.sqlite", budget=0.002, **options).complete([f"p{i}" for i in range(90)])
    paid = sum(server.asked.values())
    assert 10 < paid < 80
    chat(server, tmp_path / "c.sqlite", budget=0.01, **options).complete([f"p{i}" for i in range(90)])
    assert set(server.asked.values()) == {1}


def run(*arguments):
    """Run the program that asks in child processes; it imports everything once."""
    command = [sys.executable, str(PROGRAMS / "chat_killed.py"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_killed_process_pays_again_for_requests_on_their_way_only(serve, tmp_path):
    server = serve(delay=0.02)
    kills = int(run(tmp_path, server.url, 0).split()[1])
    assert kills >= 3
    assert len(server.asked) == 120
    assert sum(server.asked.values()) - 120 <= kills * 4
    before = Counter(server.asked)
    replies = chat(server, tmp_path / "chat.sqlite").complete([f"prompt {i}" for i in range(120)])
    assert [r.text for r in replies] == [f"you said prompt {i}" for i in range(120)]
    assert server.asked == before
    assert sqlite3.connect(tmp_path / "chat.sqlite").execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_processes_share_one_cache_and_pay_once(serve, tmp_path):
    server = serve(delay=0.005)
    run(tmp_path, server.url, "--together")
    assert dict(server.asked) == {f"prompt {i}": 1 for i in range(120)}


def test_the_first_reply_stays(tmp_path):
    one, other = Cache(tmp_path / "c"), Cache(tmp_path / "c")
    assert one.put("k", Reply("first")) == Reply("first")
    assert other.put("k", Reply("second")) == Reply("first", cached=True)
    assert one.get(["k", "gone", "k"]) == {"k": Reply("first", cached=True)}
    many = [f"{i}" for i in range(1200)]
    for key in many[::100]:
        one.put(key, Reply(key))
    assert list(other.get(many)) == many[::100]


@pytest.mark.parametrize(("answers", "said"), [(True, "from the other"), (False, "you said a")])
def test_what_somebody_else_is_asking_is_waited_for(serve, tmp_path, answers, said):
    server = serve()
    client = chat(server, tmp_path / "c")
    key = cache_key("m", server.url, [Message("user", "a")], Sampling())
    (told, tell), (go, let) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        try:
            other = Cache(tmp_path / "c")
            os.write(tell, b"1" if other.claim(key) else b"0")
            os.read(go, 1)
            if answers:
                other.put(key, Reply("from the other"))
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.read(told, 1) == b"1"
    assert not client.cache.claim(key)
    found = []
    thread = threading.Thread(target=lambda: found.extend(client.complete(["a"])))
    thread.start()
    thread.join(0.2)
    assert not found
    os.write(let, b"1")
    thread.join(10)
    os.waitpid(child, 0)
    assert found[0].text == said
    assert sum(server.asked.values()) == (not answers)


def test_two_threads_pay_once(serve, tmp_path):
    server = serve(delay=0.05)
    clients = [chat(server, tmp_path / "c") for _ in range(4)]
    threads = [threading.Thread(target=client.complete, args=(["x", "y"],)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert dict(server.asked) == {"x": 1, "y": 1}


def test_a_fork_opens_the_file_itself(tmp_path):
    cache = Cache(tmp_path / "c")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            cache.put("child", Reply("from the child"))
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert cache.get(["child"])["child"].text == "from the child"
    cache.close()
    assert len(cache) == 1


def test_processes_may_make_the_file_together(tmp_path):
    def opened(path, at):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                while time.time() < at:
                    pass
                Cache(path)
                code = 0
            finally:
                os._exit(code)
        return child

    for attempt in range(20):
        at = time.time() + 0.02
        children = [opened(tmp_path / f"{attempt}", at) for _ in range(6)]
        assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 6


def test_what_is_no_cache_is_refused(tmp_path):
    (tmp_path / "text").write_text("this is no database, but long enough to be looked at as one" * 9)
    with pytest.raises(DataError, match=r"text' is no SQLite file: expected a cache of replies\. It was left as it is; .*move it away"):
        Cache(tmp_path / "text")
    with sqlite3.connect(tmp_path / "other") as other:
        other.execute("CREATE TABLE mine (x)")
    with pytest.raises(DataError, match=r"other' is an SQLite file of something else .*expected a cache of replies of version 1"):
        Cache(tmp_path / "other")
    Cache(tmp_path / "future").close()
    with sqlite3.connect(tmp_path / "future") as future:
        future.execute("PRAGMA user_version=2")
    with pytest.raises(DataError, match=r"of version 2: expected a cache of replies of version 1"):
        Cache(tmp_path / "future")
    with pytest.raises(DataError, match="cannot be read"):
        Cache(tmp_path)
    cache = Cache(tmp_path / "c")
    cache.put("k", Reply("x"))
    with sqlite3.connect(tmp_path / "c") as altered:
        altered.execute("UPDATE replies SET reply = '{}'")
    with pytest.raises(DataError, match=r"reply k\.\.\. in the cache .* is damaged"):
        cache.get(["k"])


def test_a_full_disk_ends_the_call_with_the_replies_in_hand(serve, tmp_path):
    server = serve(lambda prompt: "word " * 20_000)
    client = chat(server, tmp_path / "c.sqlite", concurrency=1)
    pages = client.cache._open().execute("PRAGMA page_count").fetchone()[0]
    client.cache._open().execute(f"PRAGMA max_page_count={pages + 60}")
    with pytest.raises(ChatError, match=r"database or disk is full.*Free the disk.*more were not asked") as caught:
        client.complete([f"p{i}" for i in range(10)])
    asked = sum(server.asked.values())
    assert asked < 10
    assert sum(reply is not None for reply in caught.value.replies) == asked
