"""The Python that the page on agents shows runs as it stands, against a server that speaks the chat-completions protocol."""

from __future__ import annotations

import importlib.util
import json
import re
import sqlite3
from pathlib import Path

import pytest

from tutelage.environments.security_logs import SecurityLogs
from tutelage.methods.agents.atlas import Atlas
from tutelage.models.chat import Scripted

ROOT = Path(__file__).parents[3]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "agents.md").read_text(), flags=re.DOTALL)
PROGRAM = ROOT / "tests" / "programs" / "chat_server.py"


def test_five_lines_with_two_servers(tmp_path, monkeypatch):
    pytest.importorskip("openai")
    found = importlib.util.spec_from_file_location("chat_server", PROGRAM)
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-0123456789abcdef")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.chdir(tmp_path)
    with module.ChatServer() as server:
        example = re.sub(r"chat:([\w-]+)", rf"chat:\1?base_url={server.url}&cache=none", BLOCKS[0])
        names = {"questions": [f"question {i}" for i in range(3)]}
        exec(example, names)
    assert all(answer.startswith("you said") for answer in names["answers"])
    # The server repeats what it is asked, so nobody can judge or write: each is counted, and the answers are there.
    memory = names["atlas"].memory.memory
    assert memory.count("session") == 3
    assert memory.count("failure") == 3
    assert json.loads((tmp_path / "lessons" / "report.json").read_text())


def test_a_student_with_sql(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    logs = SecurityLogs(5, devices=5)
    copy = sqlite3.connect("logs.sqlite")
    logs.sql._connection.set_authorizer(None)
    logs.sql._connection.backup(copy)
    copy.close()
    turns = ["USE sql: DROP TABLE emails", "USE sql: SELECT sender FROM emails WHERE clicked = 1 ORDER BY sender LIMIT 1"]

    def small(messages):
        return turns[len(messages) // 2] if len(messages) // 2 < len(turns) else f"ANSWER: {messages[-1].content.splitlines()[0]}"

    def large(messages):
        return json.dumps({"valid": True, "guidance": "", "score": 0.9, "uncertainty": 0.1, "student": "look at clicked", "entries": []})

    exec(BLOCKS[1], {"small_model": Scripted(small), "large_model": Scripted(large), "Atlas": Atlas})
    assert re.search(r"s[0-9a-f]{4}@mail.example paired 0\.9", capsys.readouterr().out)


def test_the_benchmarks_files(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("questions").mkdir()
    rows = [{"context": "It happened.", "question": "Who?", "answer": "an answer", "solution": []}]
    Path("questions/incident_5_qa_incident_o1-ga_c42.json").write_text(json.dumps(rows))
    folder = Path("data_anonymized/incidents/incident_5")
    folder.mkdir(parents=True)
    (folder / "SigninLogs.csv").write_text("Time❖User\n1❖a\n")
    exec(BLOCKS[2], {})
    assert capsys.readouterr().out == "It happened. Who? 1.0\n"
