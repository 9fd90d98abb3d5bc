"""A local server that speaks the chat-completions protocol, for each test that asks for one."""

from __future__ import annotations

import importlib.util
from contextlib import ExitStack
from pathlib import Path

import pytest

pytest.importorskip("openai")

PROGRAMS = Path(__file__).parents[2] / "programs"
KEY = "sk-secret-0123456789abcdef"


@pytest.fixture
def serve(monkeypatch):
    """A function that starts a server with its options; the key that clients send is `KEY`."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    found = importlib.util.spec_from_file_location("chat_server", PROGRAMS / "chat_server.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    with ExitStack() as stack:
        yield lambda *given, **options: stack.enter_context(module.ChatServer(*given, **options))
