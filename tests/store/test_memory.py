from __future__ import annotations

import hashlib
import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.errors import StoreError
from tutelage.store.memory import Memory

PROGRAM = Path(__file__).parents[1] / "programs" / "memory_killed.py"


def run(*arguments: object) -> str:
    done = subprocess.run([sys.executable, str(PROGRAM), *map(str, arguments)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_records_events_and_counters(tmp_path):
    with Memory(tmp_path / "deep" / "m.sqlite") as memory:
        assert memory.get("pamphlet", "a") is None
        assert memory.get("pamphlet", "a", 3) == 3
        memory.put("pamphlet", "b", {"student": "x", "n": [1, 2.5, None, True]})
        memory.put("pamphlet", "a", 1)
        memory.put("pamphlet", "a", 2)
        memory.put("other", "a", "elsewhere")
        numbers = [memory.append("session", {"reward": r}, key=k) for r, k in ((0.1, "a"), (0.2, "b"), (0.3, "a"))]
        memory.add("tokens", "student", prompt=10, completion=1)
        memory.add("tokens", "student", prompt=0.5)
    again = Memory(tmp_path / "deep" / "m.sqlite")
    assert again.items("pamphlet") == {"a": 2, "b": {"student": "x", "n": [1, 2.5, None, True]}}
    assert numbers == sorted(numbers)
    assert [event.value["reward"] for event in again.events("session")] == [0.1, 0.2, 0.3]
    assert [event.number for event in again.events("session", key="a")] == [numbers[0], numbers[2]]
    assert [event.value["reward"] for event in again.events("session", last=2)] == [0.2, 0.3]
    assert again.events("session", last=0) == []
    assert (again.count("session"), again.count("session", key="b"), again.count("none")) == (3, 1, 0)
    assert again.counters("tokens") == {"student": {"prompt": 10.5, "completion": 1.0}}
    assert again.delete("pamphlet", "a")
    assert not again.delete("pamphlet", "a")
    assert again.get("other", "a") == "elsewhere"


@settings(max_examples=25)
@given(st.dictionaries(st.text(st.characters()), st.text(st.characters()), max_size=4))
def test_texts_come_back_exactly(tmp_path_factory, texts):
    texts |= {"'; DROP TABLE records; --": "\x00 \ud800 \u202e \r\n ' \"", "\\u0041": "A", "": ""}
    memory = Memory(tmp_path_factory.mktemp("m") / "m.sqlite")
    with memory.transaction():
        for key, text in texts.items():
            memory.put(key, key, text)
            memory.append(key, [text], key=key)
            memory.add("n", key, one=1)
    for key, text in texts.items():
        assert memory.get(key, key) == text
        assert memory.items(key) == {key: text}
        assert memory.events(key, key=key)[0].value == [text]
    assert memory.counters("n") == {key: {"one": 1.0} for key in texts}
    memory.close()


def test_a_transaction_is_all_or_nothing(tmp_path):
    memory = Memory(tmp_path / "m.sqlite")
    memory.put("k", "a", 1)

    def fail() -> None:
        with memory.transaction():
            memory.put("k", "a", 2)
            with memory.transaction():
                memory.append("e", 1)
                memory.add("c", "a", n=1)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert (memory.get("k", "a"), memory.count("e"), memory.counters("c")) == (1, 0, {})
    with memory.transaction():
        memory.put("k", "a", 3)
        assert Memory(tmp_path / "m.sqlite").get("k", "a") == 1  # nobody else sees it yet
    assert memory.get("k", "a") == 3


def test_what_json_cannot_hold_is_refused(tmp_path):
    memory = Memory(tmp_path / "m.sqlite")
    for value in ({1, 2}, float("nan"), b"x"):
        with pytest.raises(StoreError, match="keeps what JSON can hold"):
            memory.put("k", "a", value)
    with pytest.raises(StoreError, match="finite"):
        memory.add("k", "a", n=float("inf"))
    assert memory.items("k") == {}


def test_reading_leaves_every_byte(tmp_path):
    path = tmp_path / "m.sqlite"
    with Memory(path) as memory:
        memory.put("k", "a", "text")
        memory.append("e", 1)
    before = digest(path)
    for read_only in (True, False):
        with Memory(path, read_only=read_only) as memory, memory.transaction():
            assert memory.get("k", "a") == "text"
            assert memory.count("e") == 1
    assert digest(path) == before
    with Memory(path, read_only=True) as memory:
        for change in (lambda: memory.put("k", "a", 1), lambda: memory.append("e", 1), lambda: memory.add("c", "a", n=1)):
            with pytest.raises(StoreError, match="read only"):
                change()
    assert digest(path) == before
    with pytest.raises(StoreError, match="no memory"):
        Memory(tmp_path / "absent.sqlite", read_only=True)
    assert not (tmp_path / "absent.sqlite").exists()


def _foreign(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE accounts (name TEXT)")
    connection.commit()
    connection.close()


def _newer(path: Path) -> None:
    Memory(path).close()
    content = bytearray(path.read_bytes())
    content[60:64] = (7).to_bytes(4, "big")
    path.write_bytes(content)


def _filled(path: Path) -> bytearray:
    with Memory(path) as memory, memory.transaction():
        for i in range(300):
            memory.put("k", str(i), "x" * 100)
    return bytearray(path.read_bytes())


def _without_tables(path: Path) -> None:
    Memory(path).close()
    connection = sqlite3.connect(path)
    connection.execute("DROP TABLE events")
    connection.close()


def _truncated(path: Path) -> None:
    path.write_bytes(_filled(path)[: -3 * 4096])


def _scribbled(path: Path) -> None:
    content = _filled(path)
    content[4096 * 5 : 4096 * 6] = os.urandom(4096)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (_foreign, "an SQLite file of something else"),
        (_newer, "is of version 7: expected a memory of agents of version 1"),
        (_without_tables, "tables are missing"),
        (_truncated, "is damaged"),
        (_scribbled, "is damaged"),
        (lambda path: path.write_text("not a database, but long enough to have a whole header: " + "x" * 200), "is no SQLite file"),
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: path.mkdir(), "cannot be read"),
    ],
)
@pytest.mark.parametrize("read_only", [False, True])
def test_damaged_and_foreign_files_are_refused_and_left(tmp_path, make, said, read_only):
    path = tmp_path / "m.sqlite"
    make(path)
    before = None if path.is_dir() else digest(path)
    with pytest.raises(StoreError, match=said):
        Memory(path, read_only=read_only)
    assert path.is_dir() or digest(path) == before


def test_a_file_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be made"):
        Memory(tmp_path / "file" / "m.sqlite")


def test_threads_share_one(tmp_path):
    memory = Memory(tmp_path / "m.sqlite")

    def work() -> None:
        for _ in range(25):
            with memory.transaction():
                memory.put("k", "n", memory.get("k", "n", 0) + 1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert memory.get("k", "n") == 100


def test_a_fork_gets_its_own_connection(tmp_path):
    memory = Memory(tmp_path / "m.sqlite")
    memory.put("k", "a", 1)
    child = os.fork()
    if child == 0:
        try:
            memory.put("k", "b", 2)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert memory.items("k") == {"a": 1, "b": 2}


@pytest.mark.parametrize("seed", [0, 1])
def test_kills_at_any_moment_lose_nothing_that_was_promised(tmp_path, seed):
    assert "kills 12" in run(tmp_path, seed)


def test_processes_write_together(tmp_path):
    assert run(tmp_path, "--together").strip() == "together"
